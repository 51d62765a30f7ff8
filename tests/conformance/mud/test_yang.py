"""Strict mode and the YANG modules of RFC 8520 agree: on published files, and on damaged ones."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from mud import MudError, parse_mud
from tests.conformance.mud.yang import refusal
from tests.unit.mud.builders import ACLS, MUD, ace, document, eq, octets, published
from tests.unit.mud.damage import damage

FILES = published()


def strict_accepts(data: bytes) -> bool:
    try:
        parse_mud(data)
    except MudError:
        return False
    return True


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_published_files(path: Path) -> None:
    data = path.read_bytes()
    assert strict_accepts(data) == (refusal(data) is None)


def test_the_judge_accepts_and_refuses() -> None:
    verdicts = [refusal(path.read_bytes()) is None for path in FILES]
    assert (verdicts.count(True), verdicts.count(False)) == (26, 26)


# Entries with members that the published files lack.
VALID: list[tuple[str, dict[str, Any]]] = [
    ("ipv4-acl-type", {"ipv4": {"dscp": 63, "ecn": 3, "length": 65535, "ttl": 0, "protocol": 0}}),
    ("ipv4-acl-type", {"ipv4": {"ihl": 5, "flags": "reserved fragment more", "offset": 20, "identification": 1}}),
    ("ipv4-acl-type", {"ipv4": {"source-ipv4-network": "10.0.0.1/8", "destination-ipv4-network": "0.0.0.0/0"}}),
    ("ipv4-acl-type", {"ipv4": {"ietf-acldns:dst-dnsname": "192.0.2.1", "ietf-acldns:src-dnsname": "_a.example."}}),
    ("ipv6-acl-type", {"ipv6": {"flow-label": 1048575, "destination-ipv6-network": "::/0", "protocol": 255}}),
    ("ipv6-acl-type", {"ipv6": {"source-ipv6-network": "2001:db8::1/64", "ietf-acldns:dst-dnsname": "2001:db8::1"}}),
    ("ipv4-acl-type", {"tcp": {"source-port": {}, "destination-port": {"port": 1}}}),
    ("ipv4-acl-type", {"tcp": {"source-port": {"operator": "neq", "port": 0}, "flags": "syn ack"}}),
    ("ipv4-acl-type", {"tcp": {"destination-port": {"lower-port": 1, "upper-port": 1}, "options": "AQ=="}}),
    ("ipv4-acl-type", {"tcp": {"sequence-number": 4294967295, "acknowledgement-number": 0, "data-offset": 15}}),
    ("ipv4-acl-type", {"tcp": {"reserved": 0, "window-size": 1, "urgent-pointer": 65535}}),
    ("ipv4-acl-type", {"udp": {"length": 8, "source-port": {"operator": "lte", "port": 65535}}}),
    ("ipv4-acl-type", {"icmp": {"type": 255, "code": 0, "rest-of-header": "AAAA"}}),
    ("eth-acl-type", {"eth": {"ethertype": "arp", "source-mac-address": "AA:bb:00:11:22:33"}}),
    ("mixed-eth-ipv4-ipv6-acl-type", {"eth": {"destination-mac-address": "ff:ff:ff:ff:ff:ff"}, "ipv6": {}, "udp": {}}),
    ("mixed-eth-ipv4-acl-type", {"eth": {"ethertype": 2048, "destination-mac-address-mask": "ff:ff:ff:00:00:00"}}),
    ("ipv4-acl-type", {"mud": {"manufacturer": "a.example", "model": "https://a.example/m", "controller": "urn:x"}}),
    ("ipv4-acl-type", {"mud": {"same-manufacturer": [None], "local-networks": [None], "my-controller": [None]}}),
    ("ipv4-acl-type", {}),
]


@pytest.mark.parametrize(("acl_type", "matches"), VALID)
def test_valid_entries(acl_type: str, matches: dict[str, Any]) -> None:
    for name in (acl_type, f"ietf-access-control-list:{acl_type}"):
        data = octets(document([ace("a", **copy.deepcopy(matches))], acl_type=name))
        assert refusal(data) is None
        assert strict_accepts(data)


def test_valid_containers() -> None:
    entry = {**ace("a"), "actions": {"forwarding": "ietf-access-control-list:reject", "logging": "log-syslog"}}
    data = document([entry], cache_validity=1, extensions=["a", "b"], mud_signature="a.p7s")
    for change in ({"last-update": "2026-01-31T12:00:00.123456789-09:30"}, {"firmware-rev": "1"}, {"systeminfo": ""}):
        data[MUD].update(change)
        assert refusal(octets(data)) is None
        assert strict_accepts(octets(data))


@pytest.mark.parametrize("seed", range(12))
def test_what_strict_mode_accepts_yang_accepts(seed: int) -> None:
    """The other direction need not hold: this reader is stricter about URLs, names, lengths and control characters."""
    chance = random.Random(seed)
    bases = [
        json.loads(path.read_bytes())
        for path in FILES
        if path.stat().st_size < 6000 and strict_accepts(path.read_bytes())
    ]
    bases += [
        document([ace("a", **copy.deepcopy(matches))], [ace("b", udp={"source-port": eq(53)})], acl_type=acl_type)
        for acl_type, matches in VALID
    ]
    accepted = refused = 0
    for _ in range(400):
        data = copy.deepcopy(chance.choice(bases))
        damage(data, chance)
        # A file without the MUD container is valid YANG, and no MUD file.
        if strict_accepts(octets(data)):
            accepted += 1
            assert refusal(octets(data)) is None, json.dumps(data)
        else:
            refused += 1
    assert accepted > 20
    assert refused > 100
    assert ACLS in bases[0]
