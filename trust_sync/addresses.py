"""Which addresses may be connected to on a stranger's say-so: public ones, and what the operator allows. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# IPv4 inside IPv6: NAT64 (RFC 6052), whose target is the embedded address.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# RFC 4291 section 2.4, as far as IANA hands addresses out; Python calls more than this global (fec0::/10).
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")


def refusal(text: str, allowed: Sequence[IpNetwork] = ()) -> str | None:
    """Why `text` may not be connected to; None when it may."""
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
    """The IPv4 address that an IPv6 one leads to, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None
