"""Networks, as a policy file writes them: whether one lies within another, and requests that come from one."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from policy.analysis.patterns import glob_covers
from policy.facts import RequestFacts
from policy.matching.networks import Network, port_type_number

_WIRED = "15"


def network_covers(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> bool:
    """Whether every request that comes from `inner` comes from `outer`, too. Both are mappings of `networks`.

    A claim is always true; for two networks that differ in an unusual way, the answer may be False without reason.
    """
    if "wired" in outer and outer["wired"] != inner.get("wired") and not _wired_by_port(outer, inner):
        return False
    if "ssid" in outer and not _each(outer["ssid"], inner.get("ssid"), glob_covers):
        return False
    if "nas" in outer and not _each(outer["nas"], inner.get("nas"), _nas_covers):
        return False
    if "port_types" in outer and not _port_types(inner) <= _port_types(outer) - {""}:
        return False
    return "realms" not in outer or _each(outer["realms"], inner.get("realms"), lambda a, b: a.lower() == b.lower())


def _wired_by_port(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> bool:
    types = _port_types(inner)
    return "" not in types and all((kind == _WIRED) == outer["wired"] for kind in types)


def _port_types(network: Mapping[str, Any]) -> set[str]:
    """The numbers of the port types; an empty text stands for any."""
    if "port_types" in network:
        return {port_type_number(str(entry)) for entry in network["port_types"]}
    return {_WIRED} if network.get("wired") is True else {""}


def _each(outer: list[Any], inner: list[Any] | None, covers: Any) -> bool:
    return inner is not None and all(any(covers(str(o), str(i)) for o in outer) for i in inner)


def _nas_covers(outer: str, inner: str) -> bool:
    outer_network, inner_network = _address(outer), _address(inner)
    if outer_network is None or inner_network is None:
        return outer_network is inner_network and glob_covers(outer, inner)
    return outer_network.version == inner_network.version and inner_network.subnet_of(outer_network)  # type: ignore[arg-type]


def _address(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def never_matches(network: Mapping[str, Any]) -> bool:
    """Whether no request can come from a network, because its keys contradict each other."""
    types = _port_types({key: value for key, value in network.items() if key == "port_types"})
    if "" in types or "wired" not in network:
        return False
    return all((kind == _WIRED) != network["wired"] for kind in types)


def request_from(network: Network | None, written: Mapping[str, Any]) -> RequestFacts | None:
    """A request that comes from this network; None if none was found.

    `written` is the mapping of the file that `network` was compiled from. Without `network`, which no rule then uses,
    the request is not compared with it.
    """
    port_types = [str(entry) for entry in written.get("port_types") or ()] or (
        ["Ethernet"] if written.get("wired") else ["Wireless-802.11"]
    )
    wired = written.get("wired")
    if wired is not None:
        port_types = [kind for kind in port_types if (port_type_number(kind) == _WIRED) == wired] or port_types
    ssid = next((_example(str(glob)) for glob in written.get("ssid") or ()), None)
    realm = next((str(realm).lower() for realm in written.get("realms") or ()), None)
    entries: list[str | None] = [str(entry) for entry in written.get("nas") or ()]
    for nas in entries or [None]:
        address = _address(nas) if nas is not None else None
        request = RequestFacts(
            ssid=ssid,
            nas_identifier=_example(nas) if nas is not None and address is None else None,
            nas_address=str(next(iter(address.hosts()), address.network_address)) if address is not None else None,
            nas_port_type=port_types[0],
            realm=realm,
        )
        if network is None or network.matches(request):
            return request
    return None


def _example(glob: str) -> str:
    return glob.replace("*", "1") if glob != "*" else "any"
