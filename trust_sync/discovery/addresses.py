"""The addresses to which untrusted input may cause a connection: public and configured ones. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from trust_sync.shared import IpNetwork

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# NAT64 (RFC 6052): the destination is the embedded IPv4 address.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# RFC 4291 section 2.4, as far as IANA assigns addresses. Python also calls fec0::/10 global.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")


def refusal(text: str, allowed: Sequence[IpNetwork] = ()) -> str | None:
    """Say why a connection to the address `text` is refused. None: it is allowed."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return f"{text!r} is no IP address"
    if any(address in network for network in allowed):
        return None
    inner = embedded(address)
    if inner is not None:
        return refusal(str(inner), allowed)
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return f"{address} is not a public address"
    if address.is_global and not address.is_multicast and not address.is_reserved:
        return None
    return f"{address} is not a public address"


def embedded(address: IpAddress) -> ipaddress.IPv4Address | None:
    """Extract the IPv4 address to which an IPv6 address leads. None: it leads to none."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None
