"""The examination of what a policy lets FreeRADIUS send: attributes, their values, and the size of the reply."""

from __future__ import annotations

from collections.abc import Iterator

from policy.analysis.dictionary import Dictionary
from policy.analysis.document import Document
from policy.analysis.finding import Finding, Level, key_of
from policy.attributes import grant_attributes
from policy.grants import Grant
from policy.matching.policy import Policy

# What the module or FreeRADIUS sets in every reply, or a key of its own does, by the number of RFC 2865, 2868, 2869,
# 4372 and 4849. The loader refuses their usual names; FreeRADIUS's dictionaries also have others for some.
_SET_ELSEWHERE = {
    1: "User-Name", 11: "filter_id", 18: "Reply-Message", 24: "State", 25: "class", 27: "session.timeout",
    28: "session.idle_timeout", 29: "session.reauthenticate", 33: "Proxy-State", 64: "vlan", 65: "vlan",
    79: "EAP-Message", 80: "Message-Authenticator", 81: "vlan", 89: "cui", 92: "nas_filter_rules",
}  # fmt: skip
# Besides the attributes of a grant: header 20, the longest User-Name 253, Session-Timeout 6, CUI 34, EAP-Message 6,
# Message-Authenticator 18, two keys 116. The loader refuses what exceeds a packet.
_OTHER_OCTETS = 453
# Above this, with IP and UDP headers, a reply needs fragments, which many firewalls and some NASes drop.
_ONE_DATAGRAM_OCTETS = 1_400


def reply_findings(policy: Policy, document: Document, dictionary: Dictionary | None) -> Iterator[Finding]:
    """What FreeRADIUS or the NAS would not take as the file says it."""
    for name, zone in policy.zones.items():
        yield from _attributes(name, zone.grant, document, dictionary)
        yield from _size(("zones", name), f"the zone {name}", zone.grant, document.line("zones", name), dictionary)
    if policy.zones:
        return
    for position, rule in enumerate(policy.rules):
        if rule.grant is not None:
            path = ("rules", position, "grant")
            yield from _size(path, f"rule {rule.name}", rule.grant, rule.line, dictionary)


def _attributes(zone: str, grant: Grant, document: Document, dictionary: Dictionary | None) -> Iterator[Finding]:
    for name, _, value in grant.attributes if dictionary is not None else ():
        assert dictionary is not None
        path = ("zones", zone, "attributes", name)
        line, key = document.line(*path), key_of(*path)
        attribute = dictionary.find(name.partition(":")[0])
        problem = dictionary.problem(name, value)
        if problem is not None:
            code = "attribute-unknown" if attribute is None else "attribute-value"
            text = f"{problem.text}; FreeRADIUS would leave it out of the reply"
            yield Finding(code, Level.ERROR, line, key, text, problem.fix)
        elif attribute is not None and attribute.vendor is None and attribute.number[0] in _SET_ELSEWHERE:
            setter = _SET_ELSEWHERE[attribute.number[0]]
            text = f"{attribute.name} is another name of an attribute that the reply has anyway ({setter})"
            yield Finding("attribute-conflict", Level.ERROR, line, key, text, "remove it")


def reply_octets(grant: Grant, dictionary: Dictionary | None) -> int:
    """The octets of a reply with this grant, with the longest device name, EAP and keys."""
    known = dictionary or Dictionary()
    attributes = grant_attributes(grant, user_name="", rule="x" * 63, cui=None)
    filters = [value for name, _, value in attributes if name == "NAS-Filter-Rule"]
    octets = sum(known.octets(name, value) for name, _, value in attributes if name != "NAS-Filter-Rule")
    if filters:
        # RFC 4849: joined with NUL octets, and cut into attributes of 253.
        joined = sum(len(text.encode()) + 1 for text in filters) - 1
        octets += joined + 2 * -(-joined // 253)
    return octets + _OTHER_OCTETS


def _size(
    path: tuple[str | int, ...], what: str, grant: Grant, line: int | None, dictionary: Dictionary | None
) -> Iterator[Finding]:
    octets = reply_octets(grant, dictionary)
    if octets > _ONE_DATAGRAM_OCTETS:
        yield Finding(
            "packet-fragmented",
            Level.WARNING,
            line,
            key_of(*path),
            f"a reply with {what} can have {octets} octets, which needs IP fragments: some firewalls drop those",
            "use filter_id and keep the filter on the NAS, or write fewer rules",
        )
