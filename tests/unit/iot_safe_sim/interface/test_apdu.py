"""Parsing and encoding of command APDUs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_safe_sim.interface import AppletError, Command


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=255), st.one_of(st.none(), st.integers(0, 255)))
def test_commands_parse_back(ins: int, p1: int, data: bytes, le: int | None) -> None:
    command = Command(0x81, ins, p1, 0, data, le)
    assert Command.from_bytes(command.to_bytes()) == command


@given(st.binary(max_size=270))
def test_a_parsed_command_encodes_to_the_same_bytes(raw: bytes) -> None:
    try:
        command = Command.from_bytes(raw)
    except AppletError:
        return
    assert command.to_bytes() == raw


@pytest.mark.parametrize(
    ("raw", "command"),
    [
        ("00840000", Command(0x00, 0x84, 0, 0)),
        ("0084000010", Command(0x00, 0x84, 0, 0, le=0x10)),
        ("00B0010203830102", Command(0x00, 0xB0, 1, 2, b"\x83\x01\x02")),
        ("81B001020383010200", Command(0x81, 0xB0, 1, 2, b"\x83\x01\x02", 0)),
    ],
)
def test_the_four_cases_of_iso_7816(raw: str, command: Command) -> None:
    assert Command.from_bytes(bytes.fromhex(raw)) == command


@pytest.mark.parametrize("raw", ["", "008400", "00B0000004830102", "00B00000028301020000", "00B000000000"])
def test_a_length_that_is_wrong_is_refused(raw: str) -> None:
    with pytest.raises(AppletError, match="WRONG_LENGTH"):
        Command.from_bytes(bytes.fromhex(raw))


def test_data_that_a_short_command_cannot_carry() -> None:
    assert len(Command(0, 0, 0, 0, bytes(255)).to_bytes()) == 260
    with pytest.raises(ValueError, match="256 bytes of data"):
        Command(0, 0, 0, 0, bytes(256)).to_bytes()
