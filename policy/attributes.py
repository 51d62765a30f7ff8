"""The RADIUS attributes of a grant. Names are those of FreeRADIUS's dictionary, values are text."""

from __future__ import annotations

from policy.matching import Grant

# One reply attribute: name, FreeRADIUS assignment operator, value as text. rlm_python3 accepts only plain tuples.
Attribute = tuple[str, str, str]


def grant_attributes(grant: Grant, *, user_name: str, rule: str, cui: str | None) -> tuple[Attribute, ...]:
    """The reply for an accepted device, without its Session-Timeout.

    `user_name` is the device's DNS name (RFC 2865 section 5.1: the NAS uses it in accounting). `cui` is the
    Chargeable-User-Identity (RFC 4372), if the NAS asked for one.
    """
    attributes: list[Attribute] = [
        ("User-Name", ":=", user_name),
        # RFC 3580 section 3.19: at the Session-Timeout, RADIUS-Request re-authenticates and Default ends the session.
        ("Termination-Action", ":=", "RADIUS-Request" if grant.reauthenticate else "Default"),
        ("Class", ":=", grant.class_ or f"rule={rule}"),
    ]
    if grant.vlan is not None:
        # RFC 3580 section 3.31, RFC 2868: one tunnel, tag 0.
        attributes += [
            ("Tunnel-Type:0", ":=", "VLAN"),
            ("Tunnel-Medium-Type:0", ":=", "IEEE-802"),
            ("Tunnel-Private-Group-Id:0", ":=", str(grant.vlan)),
        ]
    if grant.filter_id is not None:
        attributes.append(("Filter-Id", ":=", grant.filter_id))
    attributes += [("NAS-Filter-Rule", "+=", text) for text in grant.nas_filter_rules]
    if grant.idle_timeout is not None:
        attributes.append(("Idle-Timeout", ":=", str(grant.idle_timeout)))
    if cui is not None:
        attributes.append(("Chargeable-User-Identity", ":=", cui))
    return tuple(attributes)
