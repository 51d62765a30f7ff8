"""Random rules, ACLs and packets from a small world, in which rules often meet."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from mud import (
    Action,
    Controller,
    DeviceAcl,
    Direction,
    DnsName,
    Family,
    LocalNetworks,
    MacMatch,
    Manufacturer,
    Model,
    MyController,
    Network,
    Packet,
    Peer,
    PeerFacts,
    Rule,
    TlsProfile,
)  # fmt: skip
from mud.acl import port_set

URL = "https://maker.example/camera.json"
URLS = (URL, "https://maker.example/lamp.json", "https://other.example/lamp.json")
NAMES = ("a.example", "b.example")
CLASSES = ("urn:ietf:params:mud:dns", "urn:ietf:params:mud:ntp")
PORTS = (0, 1, 79, 80, 81, 443, 8080, 65534, 65535)
NETWORKS = {
    Family.IPV4: [ip_network(text) for text in ("192.0.2.0/24", "192.0.2.0/25", "192.0.2.128/25", "198.51.100.0/24")],
    Family.IPV6: [ip_network(text) for text in ("2001:db8::/32", "2001:db8::/64", "2001:db8:1::/48")],
}
ADDRESSES = {
    Family.IPV4: [ip_address(text) for text in ("192.0.2.1", "192.0.2.129", "198.51.100.1", "203.0.113.1")],
    Family.IPV6: [ip_address(text) for text in ("2001:db8::1", "2001:db8:1::1", "2001:db9::1")],
}
MACS = (0x010203040506, 0x010203040507, 0xFFFFFFFFFFFF)
PROFILES = (TlsProfile(name="one"), TlsProfile(name="two"))
_PEERS: tuple[Peer, ...] = (
    *(DnsName(name) for name in NAMES),
    LocalNetworks(),
    *(Controller(uri) for uri in CLASSES),
    MyController(URL),
    Manufacturer("maker.example"),
    Manufacturer("other.example"),
    *(Model(url) for url in URLS),
)


def maybe(chance: random.Random, value: Any, probability: float = 0.4) -> Any:
    return value if chance.random() < probability else None


def some_ports(chance: random.Random) -> tuple[tuple[int, int], ...]:
    ends = sorted(chance.sample(PORTS, 2))
    return port_set([(ends[0], ends[1])] if chance.random() < 0.6 else [(end, end) for end in ends])


def some_peers(chance: random.Random, family: Family) -> tuple[Peer, ...]:
    choices = [*_PEERS, *(Network(network) for network in NETWORKS[family])]
    count = chance.choice((0, 1, 1, 1, 2))
    return tuple(sorted(chance.sample(choices, count), key=repr))


def some_rule(chance: random.Random, accept: float = 0.8) -> Rule:
    action = Action.ACCEPT if chance.random() < accept else Action.DROP
    direction = chance.choice(list(Direction))
    if chance.random() < 0.05:
        mac = maybe(chance, MacMatch(chance.choice(MACS)))
        return Rule(direction, Family.ETHERNET, action, ethertype=chance.choice((0x0806, 0x888E, None)), peer_mac=mac)
    family = chance.choice((Family.IPV4, Family.IPV4, Family.IPV6))
    rule = Rule(
        direction,
        family,
        action,
        peers=some_peers(chance, family),
        device=maybe(chance, chance.choice(NETWORKS[family]), 0.1),
        peer_mac=maybe(chance, MacMatch(chance.choice(MACS), chance.choice((0xFFFFFFFFFFFF, 0xFFFFFFFFFFFE))), 0.1),
    )
    protocol = chance.choice((6, 6, 17, 1, None))
    if protocol == 1:
        kind = maybe(chance, chance.choice((0, 8)))
        return replace(rule, protocol=1, icmp_type=kind, icmp_code=maybe(chance, 0))
    if protocol is None:
        return rule
    rule = replace(
        rule,
        protocol=protocol,
        peer_ports=maybe(chance, some_ports(chance), 0.6),
        device_ports=maybe(chance, some_ports(chance), 0.3),
        tls_profiles=maybe(chance, (chance.choice(PROFILES),), 0.1) or (),
    )
    return replace(rule, initiated=maybe(chance, chance.choice(list(Direction)))) if protocol == 6 else rule


def some_acl(chance: random.Random, accept: float = 0.8) -> DeviceAcl:
    return as_acl([some_rule(chance, accept) for _ in range(chance.randint(0, 6))])


def as_acl(rules: list[Rule]) -> DeviceAcl:
    return DeviceAcl(
        URL,
        tuple(rule for rule in rules if rule.direction is Direction.FROM_DEVICE),
        tuple(rule for rule in rules if rule.direction is Direction.TO_DEVICE),
    )


def rules_of(acl: DeviceAcl) -> list[Rule]:
    return [*acl.from_device, *acl.to_device]


def mutated(chance: random.Random, acl: DeviceAcl) -> DeviceAcl:
    """A later version of an ACL: rules removed, added, moved, narrowed or made wider, one condition at a time."""
    rules = rules_of(acl)
    for _ in range(chance.randint(1, 3)):
        kind = chance.randrange(6)
        at = chance.randrange(len(rules)) if rules else 0
        if kind == 0 and rules:
            del rules[at]
        elif kind == 1:
            rules.insert(at, some_rule(chance))
        elif kind == 2:
            chance.shuffle(rules)
        elif rules:
            rules[at] = _other(chance, rules[at])
    return as_acl(rules)


def _other(chance: random.Random, rule: Rule) -> Rule:
    """The rule with one condition of another rule of its kind."""
    for _ in range(50):
        donor = some_rule(chance)
        if donor.family is rule.family and donor.protocol == rule.protocol:
            name = chance.choice(
                ("peers", "device", "peer_ports", "device_ports", "icmp_type", "icmp_code", "initiated", "peer_mac",
                 "tls_profiles", "action", "ethertype")
            )  # fmt: skip
            return replace(rule, **{name: getattr(donor, name)})
    return rule


def some_facts(chance: random.Random, family: Family) -> PeerFacts:
    return PeerFacts(
        address=chance.choice(ADDRESSES[family]) if family in ADDRESSES else None,
        mac=chance.choice(MACS),
        local=chance.random() < 0.5,
        names=frozenset(chance.sample(NAMES, chance.randint(0, 2))),
        classes=frozenset(chance.sample(CLASSES, chance.randint(0, 2))),
        controls=frozenset({URL} if chance.random() < 0.5 else ()),
        mud_url=maybe(chance, chance.choice(URLS), 0.7),
    )


def some_packet(chance: random.Random, family: Family | None = None, protocol: int | None = None) -> Packet:
    family = family or chance.choice((Family.IPV4, Family.IPV4, Family.IPV6, Family.ETHERNET))
    packet = Packet(chance.choice(list(Direction)), family, some_facts(chance, family))
    if family is Family.ETHERNET:
        return replace(packet, ethertype=chance.choice((0x0806, 0x888E, 0x88CC)))
    protocol = chance.choice((6, 6, 17, 1, 47)) if protocol is None else protocol
    packet = replace(packet, protocol=protocol, device_address=chance.choice(ADDRESSES[family]))
    if protocol == 1:
        return replace(packet, icmp_type=chance.choice((0, 8, 3)), icmp_code=chance.choice((0, 1)))
    if protocol not in (6, 17):
        return packet
    packet = replace(packet, device_port=chance.choice(PORTS), peer_port=chance.choice(PORTS))
    return replace(packet, initiated=chance.choice(list(Direction))) if protocol == 6 else packet


def packet_of(chance: random.Random, rule: Rule) -> Packet:
    """A packet that probably matches a rule, at a border of its ports if it has some."""
    packet = some_packet(chance, rule.family, rule.protocol)
    changes: dict[str, Any] = {"direction": rule.direction}
    for name, ports in (("peer_port", rule.peer_ports), ("device_port", rule.device_ports)):
        if ports is not None:
            changes[name] = chance.choice([end for ends in ports for end in ends])
    for name in ("icmp_type", "icmp_code", "initiated", "ethertype"):
        if getattr(rule, name) is not None:
            changes[name] = getattr(rule, name)
    if rule.device is not None:
        changes["device_address"] = rule.device[0]
    changes["peer"] = _facts_of(packet.peer, rule)
    return replace(packet, **changes)


def _facts_of(facts: PeerFacts, rule: Rule) -> PeerFacts:
    for peer in rule.peers:
        match peer:
            case Network(network):
                facts = replace(facts, address=network[0])
            case DnsName(name):
                facts = replace(facts, names=facts.names | {name})
            case LocalNetworks():
                facts = replace(facts, local=True)
            case Controller(uri):
                facts = replace(facts, classes=facts.classes | {uri})
            case MyController(url):
                facts = replace(facts, controls=facts.controls | {url})
            case Model(url):
                facts = replace(facts, mud_url=url)
            case Manufacturer(authority):
                facts = replace(facts, mud_url=f"https://{authority}/camera.json")
    return facts if rule.peer_mac is None else replace(facts, mac=rule.peer_mac.address)
