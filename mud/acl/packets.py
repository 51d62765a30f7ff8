"""Packets, and what an abstract ACL says about them: the reference for whatever enforces an ACL.

Fragments count as the packet that they are part of.
"""

from __future__ import annotations

from dataclasses import dataclass

from mud.acl.ports import contains
from mud.acl.rules import (
    Action,
    Controller,
    DeviceAcl,
    Direction,
    DnsName,
    Family,
    LocalNetworks,
    Manufacturer,
    Model,
    MyController,
    Network,
    Peer,
    Rule,
)
from mud.document import IpAddress, authority_of


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """What the network knows about the other end of a packet.

    `names`: DNS names for which the network's resolver gave this address. `classes`: the controller classes that it is
    a member of. `controls`: the MUD URLs of the devices whose controller it is. `mud_url`: its own, if it is a device.
    """

    address: IpAddress | None = None
    mac: int = 0
    local: bool = False
    names: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    controls: frozenset[str] = frozenset()
    mud_url: str | None = None


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet, from or to the device. `initiated` says who opened its TCP connection."""

    direction: Direction
    family: Family
    peer: PeerFacts
    device_address: IpAddress | None = None
    protocol: int | None = None
    device_port: int | None = None
    peer_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    initiated: Direction | None = None
    ethertype: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to a packet, and by which rule. `rule` is None if none matched, and the packet is dropped."""

    action: Action
    rule: Rule | None


def decide(acl: DeviceAcl, packet: Packet) -> Decision:
    """Apply the rules in their order. TLS profiles do not count, because a packet does not show them."""
    for rule in acl.rules(packet.direction):
        if matches(rule, packet):
            return Decision(rule.action, rule)
    return Decision(acl.default, None)


def matches(rule: Rule, packet: Packet) -> bool:
    """Whether every condition of a rule holds for a packet."""
    return (
        rule.direction is packet.direction
        and rule.family is packet.family
        and rule.protocol in (None, packet.protocol)
        and rule.icmp_type in (None, packet.icmp_type)
        and rule.icmp_code in (None, packet.icmp_code)
        and rule.initiated in (None, packet.initiated)
        and rule.ethertype in (None, packet.ethertype)
        and _has_port(rule.device_ports, packet.device_port)
        and _has_port(rule.peer_ports, packet.peer_port)
        and (rule.device is None or (packet.device_address is not None and packet.device_address in rule.device))
        and (rule.peer_mac is None or rule.peer_mac.matches(packet.peer.mac))
        and all(is_peer(peer, packet.peer) for peer in rule.peers)
    )


def _has_port(ports: tuple[tuple[int, int], ...] | None, port: int | None) -> bool:
    return ports is None or (port is not None and contains(ports, port))


def is_peer(peer: Peer, facts: PeerFacts) -> bool:
    """Whether the other end of a packet is what a rule says."""
    match peer:
        case Network(network):
            return facts.address is not None and facts.address in network
        case DnsName(name):
            return name in facts.names
        case LocalNetworks():
            return facts.local
        case Controller(uri):
            return uri in facts.classes
        case MyController(url):
            return url in facts.controls
        case Model(url):
            return facts.mud_url == url
        case Manufacturer(authority):
            return facts.mud_url is not None and authority_of(facts.mud_url) == authority
