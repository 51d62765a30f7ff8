"""The networks that a request comes from, found without trying each network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from policy.facts import RequestFacts
from policy.matching.glob_index import GlobIndex
from policy.matching.networks import IpNetwork, Network, parse_address

# Places, that is SSID, NAS and port type, whose networks are remembered.
_MAX_PLACES = 16_384


class Place(NamedTuple):
    """The networks of a place: those that accept every realm, and those for one realm, by realm."""

    networks: tuple[int, ...]
    by_realm: dict[str, tuple[int, ...]]


class NetworkIndex:
    """Finds the numbers of networks. A network's number is its position in `networks`."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks
        self._by_nas = _GlobsOrText()
        self._by_ssid = _GlobsOrText()
        # By IP version and prefix length, then by the bits of the prefix.
        self._by_address: dict[tuple[int, int], dict[int, list[int]]] = {}
        self._others: list[int] = []
        for number, network in enumerate(networks):
            self._add(number, network)
        self._by_nas.freeze()
        self._by_ssid.freeze()
        self.is_empty = not networks
        # Without a reference to `self`, so that no cycle keeps an old policy alive.
        self._place_of = lru_cache(maxsize=_MAX_PLACES)(
            partial(_place, networks, self._by_nas, self._by_ssid, self._by_address, tuple(self._others))
        )

    def _add(self, number: int, network: Network) -> None:
        if network.checks_nas:
            for pattern in network.nas_patterns:
                self._by_nas.add(pattern, number)
            for address in network.nas_networks:
                self._add_address(address, number)
        elif network.ssid_patterns is not None:
            for pattern in network.ssid_patterns:
                self._by_ssid.add(pattern, number)
        else:
            self._others.append(number)

    def _add_address(self, address: IpNetwork, number: int) -> None:
        bits = int(address.network_address) >> (address.max_prefixlen - address.prefixlen)
        self._by_address.setdefault((address.version, address.prefixlen), {}).setdefault(bits, []).append(number)

    def at(self, request: RequestFacts) -> tuple[int, ...]:
        """The numbers of the networks that a request comes from."""
        place = self._place_of(request.ssid, request.nas_identifier, request.nas_address, request.nas_port_type)
        if place.by_realm and request.realm in place.by_realm:
            return place.networks + place.by_realm[request.realm]
        return place.networks


class _GlobsOrText:
    """Numbers by text, or by a pattern for it."""

    def __init__(self) -> None:
        self._text: dict[str, list[int]] = {}
        self._globs: GlobIndex[list[int]] = GlobIndex()
        self._any: list[int] = []

    def add(self, pattern: str, number: int) -> None:
        if pattern.strip("*") == "" and pattern:
            self._any.append(number)
        elif "*" in pattern:
            numbers = self._globs.get(pattern)
            if numbers is None:
                self._globs.put(pattern, [number])
            else:
                numbers.append(number)
        else:
            self._text.setdefault(pattern, []).append(number)

    def freeze(self) -> None:
        self._globs.freeze()

    def find(self, text: str) -> set[int]:
        found: list[list[int]] = [self._any, self._text.get(text, [])]
        self._globs.find(text, found)
        return {number for numbers in found for number in numbers}


def _place(
    networks: Sequence[Network],
    by_nas: _GlobsOrText,
    by_ssid: _GlobsOrText,
    by_address: dict[tuple[int, int], dict[int, list[int]]],
    others: tuple[int, ...],
    ssid: str | None,
    nas_identifier: str | None,
    nas_address: str | None,
    nas_port_type: str | None,
) -> Place:
    """The networks of a place. Those that its SSID or its NAS points to are few; each of them is tried."""
    possible = set(others)
    if nas_identifier:
        possible |= by_nas.find(nas_identifier)
    if ssid:
        possible |= by_ssid.find(ssid)
    address = parse_address(nas_address) if nas_address and by_address else None
    if address is not None:
        value, width = int(address), address.max_prefixlen
        for (version, length), by_bits in by_address.items():
            if version == address.version:
                possible.update(by_bits.get(value >> (width - length), ()))
    request = RequestFacts(ssid, nas_identifier, nas_address, nas_port_type)
    anyone: list[int] = []
    by_realm: dict[str, list[int]] = {}
    for number in sorted(possible):
        network = networks[number]
        if network.matches_place(request):
            for realm in network.realms or ():
                by_realm.setdefault(realm, []).append(number)
            if network.realms is None:
                anyone.append(number)
    return Place(tuple(anyone), {realm: tuple(numbers) for realm, numbers in by_realm.items()})
