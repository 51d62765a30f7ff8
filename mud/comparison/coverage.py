"""Whether one ACL accepts every packet that another accepts: exact enough to be useful, and never wrongly yes.

Names, classes and local networks are opaque: nothing is assumed about the addresses behind two different ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mud.acl import (
    ALL_PORTS,
    Action,
    DeviceAcl,
    Direction,
    MacMatch,
    Manufacturer,
    Model,
    Network,
    Peer,
    PortSet,
    Rule,
    is_subset,
    overlap,
    port_set,
)
from mud.document import IpNetwork, authority_of


def widens(old: DeviceAcl, new: DeviceAcl) -> bool:
    """Whether a packet could pass under `new` that could not pass under `old`.

    False is certain. True can be wrong where only the addresses behind names or classes would tell.
    """
    return any(next(uncovered(old, new, direction), None) is not None for direction in Direction)


def uncovered(old: DeviceAcl, new: DeviceAcl, direction: Direction) -> Iterator[Rule]:
    """The rules of `new` that accept, and of which `old` may not accept every packet."""
    old_rules = old.rules(direction)
    # Without drops, the order does not matter, and an equal rule settles the question at once.
    equal = set() if any(rule.action is Action.DROP for rule in old_rules) else set(old_rules)
    drops: list[Rule] = []
    for rule in new.rules(direction):
        if rule.action is Action.DROP:
            drops.append(rule)
        elif (
            rule not in equal
            and not any(covers(drop, rule) for drop in drops)
            and not _is_covered(rule, drops, old_rules)
        ):
            yield rule


def _is_covered(rule: Rule, drops: Sequence[Rule], old_rules: Sequence[Rule]) -> bool:
    """Whether `old_rules` accept every packet of `rule` that none of `drops` matches.

    One old rule may cover the whole of it, or several together its ports.
    """
    peer_ports: list[tuple[int, int]] = []
    device_ports: list[tuple[int, int]] = []
    for old in old_rules:
        if old.action is Action.DROP:
            # The packets that both match are not accepted from here on, unless the new ACL drops them, too.
            if may_overlap(old, rule) and not any(covers(drop, old) for drop in drops):
                return False
        elif _covers_beside_ports(old, rule):
            if _ports_cover(old.device_ports, rule.device_ports):
                peer_ports += old.peer_ports or ALL_PORTS
                if is_subset(rule.peer_ports or ALL_PORTS, port_set(peer_ports)):
                    return True
            if _ports_cover(old.peer_ports, rule.peer_ports):
                device_ports += old.device_ports or ALL_PORTS
                if is_subset(rule.device_ports or ALL_PORTS, port_set(device_ports)):
                    return True
    return False


def covers(outer: Rule, inner: Rule) -> bool:
    """Whether `outer` certainly matches every packet that `inner` matches. The actions do not count."""
    return (
        _covers_beside_ports(outer, inner)
        and _ports_cover(outer.peer_ports, inner.peer_ports)
        and _ports_cover(outer.device_ports, inner.device_ports)
    )


def _covers_beside_ports(outer: Rule, inner: Rule) -> bool:
    return (
        outer.direction is inner.direction
        and outer.family is inner.family
        and outer.protocol in (None, inner.protocol)
        and outer.icmp_type in (None, inner.icmp_type)
        and outer.icmp_code in (None, inner.icmp_code)
        and outer.initiated in (None, inner.initiated)
        and outer.ethertype in (None, inner.ethertype)
        and all(any(implies(given, peer) for given in inner.peers) for peer in outer.peers)
        and (outer.device is None or (inner.device is not None and _is_within(inner.device, outer.device)))
        and (outer.peer_mac is None or (inner.peer_mac is not None and _mac_covers(outer.peer_mac, inner.peer_mac)))
        and _tls_covers(outer, inner)
    )


def implies(given: Peer, peer: Peer) -> bool:
    """Whether everyone who is `given` is certainly `peer`, too."""
    if given == peer:
        return True
    match given, peer:
        case Network(inner), Network(outer):
            return _is_within(inner, outer)
        case Model(url), Manufacturer(authority):
            return authority_of(url) == authority
    return False


def may_overlap(one: Rule, other: Rule) -> bool:
    """Whether a packet could match both rules. False is certain."""
    if one.direction is not other.direction or one.family is not other.family:
        return False
    for name in ("protocol", "icmp_type", "icmp_code", "initiated", "ethertype"):
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine is not None and theirs is not None and mine != theirs:
            return False
    for mine, theirs in ((one.peer_ports, other.peer_ports), (one.device_ports, other.device_ports)):
        if mine is not None and theirs is not None and not overlap(mine, theirs):
            return False
    if one.device is not None and other.device is not None and not one.device.overlaps(other.device):
        return False
    networks = [peer.network for rule in (one, other) for peer in rule.peers if isinstance(peer, Network)]
    return all(first.overlaps(second) for first in networks for second in networks)


def _ports_cover(outer: PortSet | None, inner: PortSet | None) -> bool:
    return outer is None or (inner is not None and is_subset(inner, outer))


def _is_within(inner: IpNetwork, outer: IpNetwork) -> bool:
    return inner.version == outer.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def _mac_covers(outer: MacMatch, inner: MacMatch) -> bool:
    return inner.mask & outer.mask == outer.mask and outer.matches(inner.address)


def _tls_covers(outer: Rule, inner: Rule) -> bool:
    """A rule without profile permits every use of TLS. One with profiles permits what one of them describes."""
    if not outer.tls_profiles:
        return True
    return bool(inner.tls_profiles) and set(inner.tls_profiles) <= set(outer.tls_profiles)
