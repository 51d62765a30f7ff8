"""Rules in sentences that a person can answer yes or no to."""

from __future__ import annotations

from mud.acl.entry_conditions import ARP, EAPOL, ICMP, ICMPV6, TCP, UDP
from mud.acl.ports import in_words
from mud.acl.rules import (
    Action,
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
    Rule,
)

_CLASSES = {
    "urn:ietf:params:mud:dns": "the network's DNS servers",
    "urn:ietf:params:mud:ntp": "the network's time servers",
    "urn:ietf:params:mud:gateway": "the network's gateway",
}
_PROTOCOLS = {ICMP: "ICMP", 2: "IGMP", TCP: "TCP", UDP: "UDP", ICMPV6: "ICMPv6"}
_FAMILIES = {Family.IPV4: "IPv4", Family.IPV6: "IPv6", Family.ETHERNET: "Ethernet"}
_FRAMES = {ARP: "ARP", EAPOL: "EAPOL"}
# Echo request and reply, the ones that people know (RFC 792, RFC 4443).
_PING = {
    (ICMP, 8): "ping requests",
    (ICMP, 0): "ping replies",
    (ICMPV6, 128): "ping requests",
    (ICMPV6, 129): "ping replies",
}
_EVERYONE = "any address, here and in the Internet"


def describe_peer(peer: Peer) -> str:
    """Who is meant, as in `the network's DNS servers`."""
    match peer:
        case Network(network):
            return str(network.network_address) if network.num_addresses == 1 else f"the network {network}"
        case DnsName(name):
            return name
        case LocalNetworks():
            return "the local networks"
        case Controller(uri):
            return _CLASSES.get(uri, f"controllers of the class {uri}")
        case MyController():
            return "this device's controller"
        case Model(url):
            return f"devices of the model {url}"
        case Manufacturer(authority, same):
            return f"devices of {'the same maker, ' if same else 'the maker '}{authority}"


def describe_rule(rule: Rule, families: tuple[Family, ...] = ()) -> str:
    """One sentence about what a rule permits or forbids. `families`: all that it stands for, if not only its own."""
    peer = _peers(rule)
    what = _traffic(rule, families or (rule.family,))
    verb = "may" if rule.action is Action.ACCEPT else "must not"
    outbound, opener = rule.direction is Direction.FROM_DEVICE, rule.initiated
    if opener is None:
        sentence = (
            f"The device {verb} send {what} to {peer}" if outbound else f"From {peer}, the device {verb} get {what}"
        )
    elif opener is rule.direction:
        sender, other = ("The device", peer) if outbound else (f"From {peer}, others", "the device")
        sentence = f"{sender} {verb} open connections to {other}: {what}"
    else:
        other = f"to {peer}" if outbound else f"from {peer}"
        opened = peer if outbound else "the device"
        answers = "send answers" if outbound else "get answers"
        sentence = f"The device {verb} {answers} {other} on connections that {opened} opened: {what}"
    if rule.device is not None:
        sentence += f", if the device has an address of {rule.device}"
    return f"{sentence}."


def _peers(rule: Rule) -> str:
    if rule.family is Family.ETHERNET:
        return "the local link"
    words = [describe_peer(peer) for peer in rule.peers]
    if not words:
        return _EVERYONE
    return words[0] + "".join(f", only if that is also {word}" for word in words[1:])


def _traffic(rule: Rule, families: tuple[Family, ...]) -> str:
    if rule.family is Family.ETHERNET:
        return "any frame without IP" if rule.ethertype is None else f"{_FRAMES.get(rule.ethertype, 'other')} frames"
    parts = [_protocol(rule)]
    # The peer's ports first: they name the service, unless the device offers it.
    if rule.peer_ports is not None:
        parts.append(in_words(rule.peer_ports))
    if rule.device_ports is not None:
        parts.append(f"the device's {in_words(rule.device_ports)}")
    if rule.peer_mac is not None:
        broadcast = rule.peer_mac.address == rule.peer_mac.mask == 0xFFFF_FFFF_FFFF
        parts.append("as a broadcast" if broadcast else f"MAC address {_mac(rule.peer_mac)}")
    if rule.tls_profiles:
        parts.append(f"TLS as in {', '.join(profile.name for profile in rule.tls_profiles)}")
    return f"{', '.join(parts)} ({' and '.join(_FAMILIES[family] for family in families)})"


def _protocol(rule: Rule) -> str:
    if rule.protocol is None:
        return "anything"
    name = _PROTOCOLS.get(rule.protocol, f"protocol {rule.protocol}")
    if rule.icmp_type is None:
        return name if rule.icmp_code is None else f"{name} code {rule.icmp_code}"
    code = "" if rule.icmp_code is None else f" code {rule.icmp_code}"
    return _PING.get((rule.protocol, rule.icmp_type), f"{name} type {rule.icmp_type}{code}")


def _mac(match: MacMatch) -> str:
    address, mask = (number.to_bytes(6, "big").hex(":") for number in (match.address, match.mask))
    return address if match.mask == 0xFFFF_FFFF_FFFF else f"{address} under the mask {mask}"
