"""Decision log lines, of which the device chooses much."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.core.decisions import MAX_DETAIL, MAX_RECORDS, parse_batch, parse_line, station_of
from operations.core.intake import MAX_COUNTED, MAX_KEPT, MAX_PART, by_device, parts_of, refusals_kept
from tests.unit.operations.conftest import CAMERA, NOW, admitted, refused


def line(fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_an_admission_proves_the_name() -> None:
    found = parse_line(line(admitted(name=CAMERA.upper() + ".")), NOW)
    assert found is not None
    assert (found.name, found.proven, found.zone, found.rule) == (CAMERA, True, "appliance", "cameras")
    assert (found.station, found.nas, found.ssid) == ("02-00-00-00-00-01", "ap-1", "Home")
    assert found.records == ("3 1 1 00ff",)


@pytest.mark.parametrize(
    "fields",
    [
        refused(),
        # Monitor mode admits what enforcement would refuse.
        admitted(monitored=True, reason="tlsa_mismatch"),
    ],
)
def test_what_proves_nothing(fields: Any) -> None:
    found = parse_line(line(fields), NOW)
    assert found is not None
    assert not found.proven


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{",
        b"[1]",
        b"7",
        b"\xff\xfe",
        b"[" * 100_000,
        line({**admitted(), "event": "policy.loaded"}),
        line({**admitted(), "name": None}),
        line({**admitted(), "name": "*.example.net"}),
        line({**admitted(), "name": "a b.example.net"}),
        line({**admitted(), "name": "\u212aamera.example.net"}),
        line({**admitted(), "name": "192.0.2.1"}),
        line({**admitted(), "name": "a." * 130 + "net"}),
        line({**admitted(), "verdict": True}),
        line({**admitted(), "timestamp": "yesterday"}),
        line({**admitted(), "timestamp": 5}),
        line({**admitted(), "timestamp": "0001-01-01T00:00:00+23:59"}),
        line({**admitted(), "reason": 5}),
    ],
)
def test_what_is_no_decision_about_a_name_is_skipped(broken: bytes) -> None:
    assert parse_line(broken, NOW) is None
    found = parse_batch([broken, line(admitted())], NOW)
    assert (len(found.decisions), found.skipped) == (1, 1)


def test_texts_are_cut_and_cleaned() -> None:
    long = refused(detail="\x1b[31m\0" + "x" * 5000, ssid="y" * 500, evidence={"records": ["3 1 1 " + "a" * 900] * 99})
    found = parse_line(line(long), NOW)
    assert found is not None
    assert found.detail is not None
    assert len(found.detail) == MAX_DETAIL
    assert found.detail.isprintable()
    assert found.ssid is not None
    assert len(found.ssid) == 64
    assert len(found.records) == MAX_RECORDS


def test_a_clock_that_is_ahead_is_not_believed() -> None:
    found = parse_line(line(admitted(at=NOW + dt.timedelta(days=400))), NOW)
    assert found is not None
    assert found.at == NOW


def test_a_stranger_cannot_push_admissions_out() -> None:
    lines = [line(admitted())] + [line(refused(detail=str(number))) for number in range(3 * MAX_KEPT)]
    (news,) = by_device(parse_batch(lines, NOW).decisions)
    assert (news.admissions, news.refusals) == (1, 3 * MAX_KEPT)
    assert len(news.kept_admissions) == 1


def test_refusals_are_kept_as_far_as_a_rule_counts_them() -> None:
    assert refusals_kept(True, 0) == MAX_KEPT
    assert refusals_kept(True, 500) == 500
    assert refusals_kept(True, 10**6) == MAX_COUNTED
    assert refusals_kept(False, 10**6) < MAX_KEPT


def test_devices_come_in_the_order_of_their_names() -> None:
    names = [f"{label}.camera._device.example.net" for label in ("b", "c", "a")]
    batch = parse_batch([line(admitted(name=name)) for name in names], NOW)
    assert [news.name for news in by_device(batch.decisions)] == sorted(names)


def test_a_batch_has_the_same_parts_again() -> None:
    lines = [line(admitted(name=f"d{number % 250}.example.net")) for number in range(600)] + [b"junk"]
    parts = parts_of(parse_batch(lines, NOW))
    assert parts_of(parse_batch(lines, NOW)) == parts
    assert [len({decision.name for decision in part.decisions}) for part in parts] == [MAX_PART, MAX_PART, 50]
    assert (sum(len(part.decisions) for part in parts), sum(part.skipped for part in parts)) == (600, 1)
    # The decisions of a device are in one part, in their order.
    assert len({decision.name for part in parts for decision in part.decisions}) == 250
    assert len(parts_of(parse_batch([b"junk"], NOW))) == 1


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
trees = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(st.dictionaries(st.sampled_from([*admitted(), "monitored", "standing"]), trees))
def test_no_line_raises_and_every_text_can_be_stored(changes: dict[str, Any]) -> None:
    found = parse_line(json.dumps({**admitted(), **changes}).encode(), NOW)
    if found is not None:
        for text in (found.name, found.reason, found.zone, found.rule, found.station, found.nas, found.ssid):
            assert text is None or (text.isprintable() and len(text) <= 253)
        found_at = found.at
        assert found_at <= NOW


@pytest.mark.parametrize(
    ("text", "station"),
    [
        ("02-00-00-00-00-0a", "02-00-00-00-00-0A"),
        ("02:00:00:00:00:0a", "02-00-00-00-00-0A"),
        ("0200.0000.000a", "02-00-00-00-00-0A"),
        (" 02000000000A ", "02-00-00-00-00-0A"),
        ("02-00-00-00-00", "02-00-00-00-00"),
        ("02-00-00-00-00-0a-0b", "02-00-00-00-00-0a-0b"),
        ("port 7", "port 7"),
        ("", None),
        (7, None),
    ],
)
def test_a_mac_address_has_one_form_and_other_texts_stay(text: object, station: str | None) -> None:
    assert station_of(text) == station
