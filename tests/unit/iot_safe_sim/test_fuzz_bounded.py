"""A short form of the fuzz run, and properties by hypothesis. The long form: tests/fuzz/test_iot_safe_fuzz.py."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iot_safe_sim.apdu import AppletError, Command, StatusWord
from iot_safe_sim.applet import Applet
from iot_safe_sim.modem import Modem
from iot_safe_sim.trace import Tracer
from tests.fuzz.test_iot_safe_fuzz import STATUS_WORDS, run_apdus, run_lines

QUICK = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def test_some_thousand_apdus(tmp_path: Path) -> None:
    seen = run_apdus(tmp_path, seed=42, cases=8000)
    assert StatusWord.UNKNOWN_ERROR not in seen
    assert {StatusWord.OK, StatusWord.WRONG_LENGTH, StatusWord.INCORRECT_DATA, StatusWord.NOT_FOUND} <= set(seen)


def test_some_thousand_lines(tmp_path: Path) -> None:
    assert run_lines(tmp_path, seed=43, cases=4000) > 2000


@QUICK
@given(st.binary(max_size=300))
def test_any_bytes_get_a_known_status_word(applet: Applet, raw: bytes) -> None:
    applet.process(bytes.fromhex("00A4040007A0000005590010"))
    response = applet.process(raw)
    status = int.from_bytes(response[-2:], "big")
    assert status in STATUS_WORDS or status >> 8 == 0x61
    assert Tracer().describe(raw, response)


@QUICK
@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_on_the_line_in_any_pieces_are_taken(applet: Applet, pieces: list[bytes]) -> None:
    whole, apart = Modem(applet), Modem(applet)
    expected = whole.feed(b"".join(pieces))
    assert b"".join(apart.feed(piece) for piece in pieces) == expected


@QUICK
@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=255), st.one_of(st.none(), st.integers(0, 255)))
def test_commands_parse_back(ins: int, p1: int, data: bytes, le: int | None) -> None:
    command = Command(0x81, ins, p1, 0, data, le)
    assert Command.from_bytes(command.to_bytes()) == command


@QUICK
@given(st.binary(max_size=270))
def test_a_parsed_command_encodes_to_the_same_bytes(raw: bytes) -> None:
    try:
        command = Command.from_bytes(raw)
    except AppletError:
        return
    assert command.to_bytes() == raw
