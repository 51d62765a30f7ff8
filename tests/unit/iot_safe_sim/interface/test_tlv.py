"""TLV parsing: accepted forms, and errors for overrun and leftover bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_safe_sim.interface import Fields, Tlv, TlvError, encode_tlv, parse_tlv


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("", []),
        ("8401 04".replace(" ", ""), [Tlv(0x84, b"\x04")]),
        ("8400", [Tlv(0x84, b"")]),
        ("84810105", [Tlv(0x84, b"\x05")]),
        ("8482000105", [Tlv(0x84, b"\x05")]),
        ("840104850105", [Tlv(0x84, b"\x04"), Tlv(0x85, b"\x05")]),
        ("33000101", [Tlv(0x33, b"\x01")]),
        ("330101", [Tlv(0x33, b"\x01")]),
    ],
)
def test_accepted_forms(raw: str, expected: list[Tlv]) -> None:
    assert parse_tlv(bytes.fromhex(raw)) == expected


@pytest.mark.parametrize(
    "raw",
    ["84", "8402 04", "840104 85", "8481", "84 80", "84 83 000001 05", "84 FF", "33 00", "33 00 02 01", "84 82 00"],
)
def test_overrun_and_leftover_are_errors(raw: str) -> None:
    with pytest.raises(TlvError):
        parse_tlv(bytes.fromhex(raw))


def test_fields_refuse_unknown_repeated_and_missing_tags() -> None:
    with pytest.raises(TlvError, match="86 is not expected"):
        Fields.parse(bytes.fromhex("860101"), {0x84})
    with pytest.raises(TlvError, match="twice"):
        Fields.parse(bytes.fromhex("840101840102"), {0x84})
    fields = Fields.parse(bytes.fromhex("840101"), {0x84, 0x85})
    assert fields.require(0x84, 1) == b"\x01"
    assert fields.get(0x85) is None
    with pytest.raises(TlvError, match="85 is missing"):
        fields.require(0x85)
    with pytest.raises(TlvError, match="1 bytes, expected 2"):
        fields.number(0x84, 2)


@given(st.lists(st.tuples(st.integers(0, 255).filter(lambda tag: tag != 0x33), st.binary(max_size=400)), max_size=5))
def test_what_is_encoded_parses_back(items: list[tuple[int, bytes]]) -> None:
    raw = b"".join(encode_tlv(tag, value) for tag, value in items)
    assert [(element.tag, element.value) for element in parse_tlv(raw)] == items


@given(st.binary(max_size=64))
def test_any_bytes_parse_whole_or_raise(raw: bytes) -> None:
    try:
        elements = parse_tlv(raw)
    except TlvError:
        return
    assert sum(len(element.value) + 2 for element in elements) <= len(raw)
