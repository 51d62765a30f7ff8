"""Networks: where a request comes from, by what the NAS says."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

from policy.facts import RequestFacts
from policy.facts import port_type_number as port_type_number

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Network:
    """A named network, compiled from the policy file. Of what it names, everything must match.

    realms: the realms of outer identities, in lower case. port_types: as `port_type_number` returns them.
    ssid_patterns, nas_patterns: `ssids` and `nas_identifiers` as text.
    """

    name: str
    ssids: tuple[re.Pattern[str], ...] | None
    nas_identifiers: tuple[re.Pattern[str], ...]
    nas_networks: tuple[IpNetwork, ...]
    checks_nas: bool
    wired: bool | None
    port_types: frozenset[str] | None = None
    realms: frozenset[str] | None = None
    ssid_patterns: tuple[str, ...] | None = None
    nas_patterns: tuple[str, ...] = ()

    def matches(self, request: RequestFacts) -> bool:
        """Whether a request comes from this network."""
        return self.matches_place(request) and (self.realms is None or request.realm in self.realms)

    def matches_place(self, request: RequestFacts) -> bool:
        """`matches`, without the realm, which the device chooses."""
        if self.wired is not None and request.wired != self.wired:
            return False
        if self.port_types is not None and not (
            request.nas_port_type and port_type_number(request.nas_port_type) in self.port_types
        ):
            return False
        # `*` matches any SSID, but not a missing one.
        if self.ssids is not None and not (request.ssid and any(p.match(request.ssid) for p in self.ssids)):
            return False
        return not self.checks_nas or self._matches_nas(request)

    def _matches_nas(self, request: RequestFacts) -> bool:
        if request.nas_identifier and any(p.match(request.nas_identifier) for p in self.nas_identifiers):
            return True
        if not request.nas_address or not self.nas_networks:
            return False
        address = parse_address(request.nas_address)
        return address is not None and any(address in network for network in self.nas_networks)


@lru_cache(maxsize=4096)
def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IP address, or None for text that is none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
