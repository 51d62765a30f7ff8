"""The conditions of one entry for one family: source and destination become device and peer."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from mud.acl.ports import ALL_PORTS, PortSet, by_operator
from mud.acl.rules import (
    Controller,
    Direction,
    DnsName,
    Family,
    LocalNetworks,
    MacMatch,
    Manufacturer,
    Model,
    MyController,
    Network,
    Peer,
)
from mud.document import Eth, Icmp, IpNetwork, Ipv4, Ipv6, Matches, MudFile, MudMatches, Port, Tcp, TlsProfile, Udp

ARP, EAPOL = 0x0806, 0x888E
# Frames that end at the next hop and carry no packets of others. PPPoE or MACsec, for example, would carry some.
SUPPORTED_ETHERTYPES = frozenset({ARP, EAPOL})
_ETHERTYPE_OF = {Family.IPV4: 0x0800, Family.IPV6: 0x86DD}
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
# IPv6 extension headers. RFC 8519 says that `protocol` is that of the upper-layer header, which these never are.
_EXTENSION_HEADERS = frozenset({0, 43, 44, 60, 135, 139, 140})
_UNSUPPORTED_IP = ("dscp", "ecn", "length", "ttl", "ihl", "flags", "offset", "identification", "flow_label")
_UNSUPPORTED_TCP = (
    "sequence_number",
    "acknowledgement_number",
    "data_offset",
    "reserved",
    "flags",
    "window_size",
    "urgent_pointer",
    "options",
)


class Contradiction(Exception):
    """No packet can meet the conditions of an entry."""


@dataclass(slots=True)
class Conditions:
    """The conditions as a rule has them, and the parts of the entry that are not among them."""

    peers: set[Peer] = field(default_factory=set)
    device: IpNetwork | None = None
    protocol: int | None = None
    device_ports: PortSet | None = None
    peer_ports: PortSet | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    initiated: Direction | None = None
    ethertype: int | None = None
    peer_mac: MacMatch | None = None
    tls_profiles: tuple[TlsProfile, ...] = ()
    not_understood: list[str] = field(default_factory=list)


def conditions_of(matches: Matches, direction: Direction, family: Family, file: MudFile) -> Conditions:
    """The conditions of an entry for packets of one family. Raises Contradiction."""
    made = Conditions()
    outbound = direction is Direction.FROM_DEVICE
    header = matches.ipv4 or matches.ipv6
    if header is not None:
        _ip(header, outbound, family, made)
    for number, transport in ((TCP, matches.tcp), (UDP, matches.udp)):
        if transport is not None:
            _require_protocol(number, made)
            _ports(transport, outbound, made)
    if matches.tcp is not None:
        _tcp(matches.tcp, made)
    if matches.udp is not None:
        _unsupported(matches.udp, "udp", ("length",), made)
    if matches.icmp is not None:
        _require_protocol(ICMPV6 if family is Family.IPV6 else ICMP, made)
        _icmp(matches.icmp, made)
    if family is Family.IPV6 and made.protocol in _EXTENSION_HEADERS:
        raise Contradiction(f"protocol {made.protocol} is an extension header of IPv6, no upper-layer protocol")
    if matches.mud is not None:
        _abstractions(matches.mud, file, made)
    if matches.eth is not None:
        _ethernet(matches.eth, outbound, family, made)
    if matches.client_profiles is not None:
        made.tls_profiles = matches.client_profiles.tls_dtls_profile
    if family is Family.ETHERNET:
        _frame(made)
    return made


def _unsupported(part: object, name: str, members: tuple[str, ...], made: Conditions) -> None:
    for member in members:
        if getattr(part, member, None) is not None:
            made.not_understood.append(f"{name}.{member.replace('_', '-')} is not supported")


def _ip(header: Ipv4 | Ipv6, outbound: bool, family: Family, made: Conditions) -> None:
    _unsupported(header, family, _UNSUPPORTED_IP, made)
    made.protocol = header.protocol
    source: IpNetwork | None
    destination: IpNetwork | None
    if isinstance(header, Ipv4):
        source, destination = header.source_ipv4_network, header.destination_ipv4_network
    else:
        source, destination = header.source_ipv6_network, header.destination_ipv6_network
    device, peer = (source, destination) if outbound else (destination, source)
    device_name, peer_name = header.src_dnsname, header.dst_dnsname
    if not outbound:
        device_name, peer_name = peer_name, device_name
    if device is not None and device.prefixlen:
        made.device = device
    if peer is not None and peer.prefixlen:
        made.peers.add(Network(peer))
    if peer_name is not None:
        made.peers.add(_named_peer(peer_name, family))
    if device_name is not None:
        made.not_understood.append(f"the name {device_name} for the device itself is not supported")


def _named_peer(name: str, family: Family) -> Peer:
    """RFC 6991 permits an address where a name is expected."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return DnsName(name)
    if address.version != (4 if family is Family.IPV4 else 6):
        raise Contradiction(f"{name} is no {family} address")
    return Network(ipaddress.ip_network(address))


def _require_protocol(number: int, made: Conditions) -> None:
    if made.protocol not in (None, number):
        raise Contradiction(f"protocol {made.protocol} beside conditions for protocol {number}")
    made.protocol = number


def _ports(transport: Tcp | Udp, outbound: bool, made: Conditions) -> None:
    source, destination = _port_set(transport.source_port), _port_set(transport.destination_port)
    made.device_ports, made.peer_ports = (source, destination) if outbound else (destination, source)


def _port_set(port: Port | None) -> PortSet | None:
    """The ports, or None for all."""
    made = ALL_PORTS
    if port is not None and port.port is not None:
        made = by_operator(port.operator or "eq", port.port)
    elif port is not None and port.lower_port is not None and port.upper_port is not None:
        made = ((port.lower_port, port.upper_port),)
    return None if made == ALL_PORTS else made


def _tcp(tcp: Tcp, made: Conditions) -> None:
    _unsupported(tcp, "tcp", _UNSUPPORTED_TCP, made)
    if tcp.direction_initiated is not None:
        made.initiated = Direction(tcp.direction_initiated)


def _icmp(icmp: Icmp, made: Conditions) -> None:
    _unsupported(icmp, "icmp", ("rest_of_header",), made)
    made.icmp_type, made.icmp_code = icmp.type, icmp.code


def _abstractions(mud: MudMatches, file: MudFile, made: Conditions) -> None:
    if mud.manufacturer is not None:
        made.peers.add(Manufacturer(mud.manufacturer))
    if mud.same_manufacturer:
        made.peers.add(Manufacturer(file.authority, same=True))
    if mud.model is not None:
        made.peers.add(Model(mud.model))
    if mud.local_networks:
        made.peers.add(LocalNetworks())
    if mud.controller is not None:
        made.peers.add(Controller(mud.controller))
    if mud.my_controller:
        made.peers.add(MyController(file.mud.mud_url))


def _ethernet(eth: Eth, outbound: bool, family: Family, made: Conditions) -> None:
    expected = _ETHERTYPE_OF.get(family)
    if expected is None:
        made.ethertype = eth.ethertype
    elif eth.ethertype not in (None, expected):
        raise Contradiction(f"ethertype 0x{eth.ethertype:04x} beside {family}")
    source = (eth.source_mac_address, eth.source_mac_address_mask)
    destination = (eth.destination_mac_address, eth.destination_mac_address_mask)
    device, (address, mask) = (source, destination) if outbound else (destination, source)
    if device != (None, None):
        made.not_understood.append("a MAC address of the device itself is not supported")
    if address is not None:
        made.peer_mac = MacMatch(_mac(address)) if mask is None else MacMatch(_mac(address), _mac(mask))
    elif mask is not None:
        made.not_understood.append("a MAC address mask without an address")


def _mac(text: str) -> int:
    return int(text.replace(":", ""), 16)


def _frame(made: Conditions) -> None:
    """Frames without IP: they stay in the local network, and have no address that another condition could mean."""
    made.peers.discard(LocalNetworks())
    if made.ethertype not in SUPPORTED_ETHERTYPES:
        found = "any ethertype" if made.ethertype is None else f"ethertype 0x{made.ethertype:04x}"
        made.not_understood.append(f"{found} is not supported (ARP and EAPOL are)")
        made.ethertype = None
    if made.peers:
        made.not_understood.append("a peer by name, address or class in an entry for frames without IP")
        made.peers.clear()
    if made.protocol is not None:
        raise Contradiction("a transport protocol in frames without IP")
