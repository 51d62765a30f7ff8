"""Compile a MUD file into the abstract ACL of a device.

An entry that accepts and is not understood completely becomes no rule. An entry that drops loses the conditions that
are not understood, and therefore drops more. So the rules never accept a packet that the file does not accept.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from mud.acl.entry_conditions import SUPPORTED_ETHERTYPES, Conditions, Contradiction, conditions_of
from mud.acl.rules import Action, Controller, DeviceAcl, Direction, Family, Network, Rule
from mud.document import Entry, EntryList, MudFile
from mud.findings import Code, Findings, found

_REGISTERED_CLASSES = frozenset({"urn:ietf:params:mud:dns", "urn:ietf:params:mud:ntp"})
_CLASS_PREFIX = "urn:ietf:params:mud:"
_EVERY_FAMILY = (Family.IPV4, Family.IPV6, Family.ETHERNET)
_BROADCAST = ipaddress.ip_network("255.255.255.255/32")


class _Entry(NamedTuple):
    """An entry where a policy applies it."""

    file: MudFile
    acl: EntryList
    entry: Entry
    direction: Direction
    findings: Findings

    @property
    def action(self) -> Action:
        return Action.ACCEPT if self.entry.action == "accept" else Action.DROP

    def report(self, code: Code, text: str) -> None:
        self.findings.add(code, self.entry.place, f"entry {found(self.entry.name)}, {self.direction}: {text}")


def compile_acl(file: MudFile) -> DeviceAcl:
    """The ACL of a device with this MUD file.

    The ACLs of a direction apply in the order in which the policy names them.
    """
    findings = Findings(limit=None)
    return DeviceAcl(
        mud_url=file.mud.mud_url,
        from_device=_direction(file, Direction.FROM_DEVICE, file.mud.from_device_policy.names, findings),
        to_device=_direction(file, Direction.TO_DEVICE, file.mud.to_device_policy.names, findings),
        findings=findings.all(),
    )


def _direction(file: MudFile, direction: Direction, names: tuple[str, ...], findings: Findings) -> tuple[Rule, ...]:
    acls = [acl for acl in map(file.acl, names) if acl is not None]
    entries = (_Entry(file, acl, entry, direction, findings) for acl in acls for entry in acl.entries)
    return tuple(rule for entry in entries for rule in _rules(entry))


def _rules(at: _Entry) -> list[Rule]:
    """The rules of one entry: at most one for each family."""
    if at.entry.action == "reject":
        # RFC 8520 section 2: a manufacturer does not know whether an ICMP error is welcome in this network.
        at.report(Code.REJECT_AS_DROP, "reject, compiled as drop")
    if at.entry.not_understood:
        return _without_conditions(at, Code.INVALID_ENTRY, "; ".join(at.entry.not_understood))
    families = _families(at)
    if not families:
        return _without_conditions(
            at, Code.UNSUPPORTED_MATCH, "frames of this kind are not supported (ARP and EAPOL are)"
        )
    made: list[Rule] = []
    for family in families:
        try:
            conditions = conditions_of(at.entry.matches, at.direction, family, at.file)
        except Contradiction as reason:
            at.report(Code.CONTRADICTION, f"skipped, because no {family} packet can match: {reason}")
            continue
        if conditions.tls_profiles and at.action is Action.DROP:
            conditions.not_understood.append("a TLS profile cannot be seen in a packet")
            conditions.tls_profiles = ()
        said = "; ".join(conditions.not_understood)
        if said and at.action is Action.ACCEPT:
            at.report(Code.UNSUPPORTED_MATCH, f"skipped: {said}")
            continue
        if said:
            at.report(Code.WIDENED_DROP, f"drops more than the file says: {said}")
        made.append(_rule(at, family, conditions))
    if at.action is Action.ACCEPT:
        _remark(at, made)
    return made


def _without_conditions(at: _Entry, code: Code, text: str) -> list[Rule]:
    """Nothing for an entry that accepts. For one that drops, a drop of everything: it may have meant anything."""
    if at.action is Action.ACCEPT:
        at.report(code, f"skipped: {text}")
        return []
    at.report(Code.WIDENED_DROP, f"drops everything: {text}")
    return [_rule(at, family, Conditions()) for family in _EVERY_FAMILY]


def _families(at: _Entry) -> tuple[Family, ...]:
    """The families of an entry: by its headers, else by the type of its ACL. Empty if it is not supported."""
    matches = at.entry.matches
    if matches.ipv4 is not None:
        return (Family.IPV4,)
    if matches.ipv6 is not None:
        return (Family.IPV6,)
    if matches.eth is not None:
        return (Family.ETHERNET,) if matches.eth.ethertype in SUPPORTED_ETHERTYPES else ()
    parts = ("ipv4", "ipv6") if at.acl.type is None else tuple(at.acl.type.split("-"))
    families = tuple(family for family in (Family.IPV4, Family.IPV6) if family in parts)
    if at.action is Action.DROP and (at.acl.type is None or "eth" in parts) and families:
        return (*families, Family.ETHERNET)
    return families


def _rule(at: _Entry, family: Family, conditions: Conditions) -> Rule:
    return Rule(
        direction=at.direction,
        family=family,
        action=at.action,
        peers=tuple(sorted(conditions.peers, key=repr)),
        device=conditions.device,
        protocol=conditions.protocol,
        device_ports=conditions.device_ports,
        peer_ports=conditions.peer_ports,
        icmp_type=conditions.icmp_type,
        icmp_code=conditions.icmp_code,
        initiated=conditions.initiated,
        ethertype=conditions.ethertype,
        peer_mac=conditions.peer_mac,
        tls_profiles=conditions.tls_profiles,
        acl=at.acl.name,
        entry=at.entry.name,
    )


def _remark(at: _Entry, rules: list[Rule]) -> None:
    """What an administrator should know about rules that accept."""
    for peer in sorted({peer for rule in rules for peer in rule.peers}, key=repr):
        match peer:
            case Network(network) if not network.is_multicast and network != _BROADCAST:
                # RFC 8520 section 2: such a file should not be used without a look at it.
                at.report(Code.ADDRESS, f"{network} is an address, whose owner may change or differ in each network")
            case Controller(uri) if uri.startswith(_CLASS_PREFIX) and uri not in _REGISTERED_CLASSES:
                at.report(
                    Code.CONTROLLER_CLASS, f"{found(uri)} is not registered; it has no members until you name them"
                )
    if any(rule.tls_profiles for rule in rules):
        at.report(Code.TLS_NOT_ENFORCED, "the TLS profile is shown and not enforced; addresses and ports are")
