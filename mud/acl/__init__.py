"""The abstract ACL of one device: compiled from its MUD file, evaluated for a packet, and put into words."""

from mud.acl.compiler import compile_acl
from mud.acl.entry_conditions import ARP, EAPOL, ICMP, ICMPV6, TCP, UDP
from mud.acl.packets import Decision, Packet, PeerFacts, decide, is_peer, matches
from mud.acl.ports import ALL_PORTS, PortSet, is_subset, overlap, port_set
from mud.acl.rules import (
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
    Peer,
    Rule,
)
from mud.acl.wording import describe_peer, describe_rule

__all__ = [
    "ALL_PORTS",
    "ARP",
    "EAPOL",
    "ICMP",
    "ICMPV6",
    "TCP",
    "UDP",
    "Action",
    "Controller",
    "Decision",
    "DeviceAcl",
    "Direction",
    "DnsName",
    "Family",
    "LocalNetworks",
    "MacMatch",
    "Manufacturer",
    "Model",
    "MyController",
    "Network",
    "Packet",
    "Peer",
    "PeerFacts",
    "PortSet",
    "Rule",
    "compile_acl",
    "decide",
    "describe_peer",
    "describe_rule",
    "is_peer",
    "is_subset",
    "matches",
    "overlap",
    "port_set",
]
