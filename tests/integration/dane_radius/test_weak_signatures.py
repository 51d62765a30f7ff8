"""Zones whose signatures use SHA-1: Unbound validates them, and their records do not count (RFC 9905)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dane_radius.core.answers import Insecure, Secure
from dane_radius.dns.resolver import LoopbackResolver
from tests.harness.knot import Knot, Zone
from tests.harness.unbound import Unbound
from tests.harness.zones import signed_zone

pytestmark = pytest.mark.daemons

RECORDS = f"one._device TLSA 3 1 1 {'ab' * 32}\n"
ZONES = {"old.example": "RSASHA1_NSEC3", "older.example": "RSASHA1", "good.example": "RSASHA256"}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder: Path = tmp_path_factory.mktemp("weak")
    zones, anchors = [], ""
    for name, algorithm in ZONES.items():
        text, anchor = signed_zone(folder / name, name, RECORDS, algorithm=algorithm)
        zones.append(Zone(name, signed=False, verbatim=text))
        anchors += anchor
    with (
        Knot(folder / "knot", zones) as knot,
        Unbound(folder / "unbound", dict.fromkeys(ZONES, ("127.0.0.1", knot.port)), anchors) as unbound,
    ):
        yield unbound.port


@pytest.mark.parametrize(
    ("zone", "algorithm"), [("old.example", "RSASHA1-NSEC3-SHA1"), ("older.example", "RSASHA1"), ("good.example", None)]
)
def test_a_zone_signed_with_sha1_counts_only_where_it_is_allowed(port: int, zone: str, algorithm: str | None) -> None:
    name = f"one._device.{zone}"
    answer = LoopbackResolver("127.0.0.1", port).lookup(name)
    if algorithm is None:
        assert isinstance(answer, Secure)
    else:
        assert isinstance(answer, Insecure)
        assert answer.detail.startswith(f"{name} is signed with {algorithm}, ")
    # The resolver has validated it: nothing else stands against it.
    assert isinstance(LoopbackResolver("127.0.0.1", port, allow_sha1=True).lookup(name), Secure)
