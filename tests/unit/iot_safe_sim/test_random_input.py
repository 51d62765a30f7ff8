"""Random commands and random lines, in a number that a unit test can afford (see tests/fuzz/test_iot_safe_fuzz.py)."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iot_safe_sim.card import Applet
from iot_safe_sim.interface import StatusWord
from iot_safe_sim.modem import Modem, Tracer
from tests.fuzz.test_iot_safe_fuzz import STATUS_WORDS, run_apdus, run_lines

QUICK = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def test_thousands_of_random_apdus(tmp_path: Path) -> None:
    run = run_apdus(tmp_path, seed=42, cases=8000)
    assert not run.faults
    assert StatusWord.UNKNOWN_ERROR not in run.statuses
    assert {StatusWord.OK, StatusWord.WRONG_LENGTH, StatusWord.INCORRECT_DATA, StatusWord.NOT_FOUND} <= set(
        run.statuses
    )


def test_thousands_of_random_lines(tmp_path: Path) -> None:
    run = run_lines(tmp_path, seed=43, cases=4000)
    assert not run.faults
    assert run.answers > 2000


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
