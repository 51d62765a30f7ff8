"""Damage to the structure of a MUD file: members that are missing, moved, doubled, or of another kind."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any


def places(value: Any, parent: Any = None, key: Any = None) -> Iterator[tuple[Any, Any]]:
    """Every member and item of a JSON value: its container, and its key there."""
    if parent is not None:
        yield parent, key
    for inner_key, inner in list(
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inner, value, inner_key)


JUNK: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 6.0, 255, 256, 65535, 65536, "", " ", "a", "A.example", "a..b", "a" * 300, [], [None],
    {}, "eq", "neq", "range", "accept", "drop", "ietf-access-control-list:accept", "ipv4", "ipv6-acl-type",
    "10.0.0.0/8", "10.0.0.0", "::/0", "::1/129", "2026-01-31T12:00:00Z", "2026-13-31T12:00:00Z", "https://a.example/b",
    "urn:x", [1],
    "from-device", "ff:ff:ff:ff:ff:ff", "*.example", "\u00e9.example", "1.2.3", "fe80::1%eth0", 1e300, 4294967296,
)  # fmt: skip
MEMBERS = (
    "name", "type", "protocol", "port", "operator", "lower-port", "upper-port", "ttl", "dscp", "flags", "eth", "ipv4",
    "ipv6", "tcp", "udp", "icmp", "ietf-mud:mud", "mud", "forwarding", "logging", "statistics", "local-networks",
    "ietf-mud:direction-initiated", "direction-initiated", "ietf-acldns:dst-dnsname", "systeminfo", "extensions",
    "cache-validity", "ingress-interface", "vendor:x", "attachment-points", "ethertype", "aces", "ace",
)  # fmt: skip


def damage(data: Any, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        everywhere = list(places(data))
        if not everywhere:
            return
        parent, key = chance.choice(everywhere)
        kind = chance.randrange(5)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, dict):
            parent[chance.choice(MEMBERS)] = copy.deepcopy(chance.choice(JUNK))
        elif kind == 2:
            other, other_key = chance.choice(everywhere)
            parent[key] = copy.deepcopy(other[other_key])
        elif kind == 3 and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        else:
            parent[key] = copy.deepcopy(chance.choice(JUNK))
