"""A MUD file as it was published: read, checked, and kept as immutable values."""

from mud.document.matches import Eth, Icmp, Ipv4, Ipv6, Matches, MudMatches, Port, Tcp, Udp
from mud.document.model import AclType, Entry, EntryList, Mode, MudContainer, MudFile
from mud.document.parser import parse_mud
from mud.document.tls_profile import TlsProfile
from mud.document.yang_types import IpAddress, IpNetwork, authority_of, normal_host

__all__ = [
    "AclType",
    "Entry",
    "EntryList",
    "Eth",
    "Icmp",
    "IpAddress",
    "IpNetwork",
    "Ipv4",
    "Ipv6",
    "Matches",
    "Mode",
    "MudContainer",
    "MudFile",
    "MudMatches",
    "Port",
    "Tcp",
    "TlsProfile",
    "Udp",
    "authority_of",
    "normal_host",
    "parse_mud",
]
