"""The abstract access control list of one device: what a gateway turns into its own rules.

The rules of a direction apply from the first to the last, and the first one that matches decides. A packet that no rule
matches is dropped (`DeviceAcl.default`). Peers are abstract: the place where packets pass decides who is behind a name
or a class.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from mud.acl.ports import PortSet
from mud.document import IpNetwork, TlsProfile
from mud.findings import Finding


class Direction(StrEnum):
    """Which way a packet goes, seen from the device."""

    FROM_DEVICE = "from-device"
    TO_DEVICE = "to-device"


class Action(StrEnum):
    """What happens to a packet."""

    ACCEPT = "accept"
    DROP = "drop"


class Family(StrEnum):
    """The kind of packet. ETHERNET stands for frames that carry neither IPv4 nor IPv6."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    ETHERNET = "ethernet"


@dataclass(frozen=True, slots=True, order=True)
class Network:
    """Addresses of a network."""

    network: IpNetwork


@dataclass(frozen=True, slots=True, order=True)
class DnsName:
    """Addresses that the network's resolver gives for this name, in lower case and without final dot."""

    name: str


@dataclass(frozen=True, slots=True, order=True)
class LocalNetworks:
    """Addresses that the operator considers local."""


@dataclass(frozen=True, slots=True, order=True)
class Controller:
    """Members of a class, by its URI. The operator says who they are; there may be none."""

    class_uri: str


@dataclass(frozen=True, slots=True, order=True)
class MyController:
    """Controllers that the operator configured for devices with this MUD URL."""

    mud_url: str


@dataclass(frozen=True, slots=True, order=True)
class Manufacturer:
    """Devices whose MUD URL has this authority. `same`: the file said same-manufacturer."""

    authority: str
    same: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, order=True)
class Model:
    """Devices with exactly this MUD URL."""

    mud_url: str


Peer = Network | DnsName | LocalNetworks | Controller | MyController | Manufacturer | Model


@dataclass(frozen=True, slots=True)
class MacMatch:
    """A MAC address of the peer under a mask, both as numbers."""

    address: int
    mask: int = 0xFFFF_FFFF_FFFF

    def matches(self, address: int) -> bool:
        return address & self.mask == self.address & self.mask


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Every condition that is given must hold. None and () stand for "any".

    Two rules are equal if they mean the same; the names of the ACL and of its entry do not count.
    """

    direction: Direction
    family: Family
    action: Action
    # All of them must hold for the other end of the packet.
    peers: tuple[Peer, ...] = ()
    # The device's own address.
    device: IpNetwork | None = None
    # The number in the IPv4 header, or of the upper-layer header in IPv6.
    protocol: int | None = None
    device_ports: PortSet | None = None
    peer_ports: PortSet | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    # TCP only: who sent the SYN.
    initiated: Direction | None = None
    ethertype: int | None = None
    peer_mac: MacMatch | None = None
    # Shown to people and monitors. A packet filter cannot see them.
    tls_profiles: tuple[TlsProfile, ...] = ()
    acl: str = field(default="", compare=False)
    entry: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class DeviceAcl:
    """What may pass from and to a device. `findings` says which entries are not here, and why."""

    default: ClassVar[Action] = Action.DROP

    mud_url: str
    from_device: tuple[Rule, ...] = ()
    to_device: tuple[Rule, ...] = ()
    findings: tuple[Finding, ...] = ()

    def rules(self, direction: Direction) -> tuple[Rule, ...]:
        """The rules of a direction, in their order."""
        return self.from_device if direction is Direction.FROM_DEVICE else self.to_device

    @property
    def dns_names(self) -> tuple[str, ...]:
        """Every name in a rule, sorted: what a resolver of the network must answer for this device."""
        peers = (peer for rule in (*self.from_device, *self.to_device) for peer in rule.peers)
        return tuple(sorted({peer.name for peer in peers if isinstance(peer, DnsName)}))
