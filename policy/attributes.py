"""The RADIUS attributes of a grant. Names are those of FreeRADIUS's dictionary, values are text."""

from __future__ import annotations

from policy.grants import Attribute, Grant

# The longest value of a RADIUS attribute (RFC 2865 section 5).
MAX_ATTRIBUTE_OCTETS = 253
# Type and length of an attribute; of a vendor-specific one, also vendor, vendor type and vendor length.
_HEADER_OCTETS, _VENDOR_HEADER_OCTETS = 2, 8


def grant_attributes(grant: Grant, *, user_name: str, rule: str, cui: str | None) -> tuple[Attribute, ...]:
    """The reply for an accepted device, without its Session-Timeout.

    `user_name` is the device's DNS name (RFC 2865 section 5.1: the NAS uses it in accounting). `cui` is the
    Chargeable-User-Identity (RFC 4372), or None for a reply without one.
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
    attributes += grant.attributes
    if cui is not None:
        attributes.append(("Chargeable-User-Identity", ":=", cui))
    return tuple(attributes)


def grant_octets(grant: Grant) -> int:
    """The octets that a grant's own attributes take up in a packet, or somewhat more.

    Without FreeRADIUS's dictionary, any of `attributes` may be vendor-specific, and a value has the length of its text.
    """
    octets = sum(_VENDOR_HEADER_OCTETS + max(4, len(value.encode())) for _, _, value in grant.attributes)
    for text in (grant.filter_id, grant.class_):
        octets += _HEADER_OCTETS + len(text.encode()) if text is not None else 0
    if grant.vlan is not None:
        # Tunnel-Type and Tunnel-Medium-Type, and a tag before the VLAN.
        octets += 6 + 6 + _HEADER_OCTETS + 1 + len(str(grant.vlan).encode())
    if grant.nas_filter_rules:
        # RFC 4849: the rules are joined with one NUL, and cut into attributes without regard to their ends.
        joined = sum(len(text.encode()) + 1 for text in grant.nas_filter_rules) - 1
        octets += joined + _HEADER_OCTETS * -(-joined // MAX_ATTRIBUTE_OCTETS)
    return octets + (6 if grant.idle_timeout is not None else 0)
