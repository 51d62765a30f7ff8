"""The picture of a terminal: what it shows, when, and that no output breaks it."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "script"))

from cast import COLUMNS, LONGEST_PAUSE, Line, draw, moments, record, spans  # noqa: E402  # a script, not a package

SVG = "{http://www.w3.org/2000/svg}"


def test_colours_become_classes_and_end() -> None:
    assert spans("\x1b[32mheld\x1b[0m   \x1b[1;33mtitle\x1b[0m end") == [
        ("g", "held"),
        ("", "   "),
        ("b y", "title"),
        ("", " end"),
    ]


def test_other_control_sequences_are_left_out() -> None:
    assert spans("\x1b[2Ka\x1b[?25lc\x1b[4md") == [("", "a"), ("", "c"), ("", "d")]


@pytest.mark.parametrize("text", ["x" * (COLUMNS + 1), "x" * COLUMNS + "\x1b[32mgreen", "\x1b[1m" + "x" * 500])
def test_a_long_line_ends_with_an_ellipsis(text: str) -> None:
    shown = "".join(piece for _, piece in spans(text))
    assert len(shown) == COLUMNS
    assert shown.endswith("x…")


def test_a_line_that_fits_is_whole() -> None:
    assert spans("x" * COLUMNS) == [("", "x" * COLUMNS)]


def test_long_pauses_are_shortened() -> None:
    assert moments([Line(0.0, ""), Line(0.5, ""), Line(60.0, ""), Line(60.25, "")]) == [
        0.0,
        0.5,
        0.5 + LONGEST_PAUSE,
        0.75 + LONGEST_PAUSE,
    ]


def test_the_picture_is_well_formed_and_shows_each_line() -> None:
    lines = [Line(0.0, "a <b> & 'c' \"d\""), Line(1.0, ""), Line(2.0, "\x1b[32m</text>\x1b[0m")]
    picture = ElementTree.fromstring(draw(lines, 'a "title" & more'))  # noqa: S314  # made here
    texts = ["".join(text.itertext()) for text in picture.iter(f"{SVG}text")]
    assert texts == ['a "title" & more', "a <b> & 'c' \"d\"", "</text>"]
    # Nothing in it is fetched or executed.
    assert {element.tag.removeprefix(SVG) for element in picture.iter()} <= {
        *("svg", "title", "style", "rect", "circle", "text", "tspan", "g"),
    }


def test_a_command_is_recorded_as_on_a_terminal() -> None:
    lines = list(record(["sh", "-c", "test -t 1 && echo terminal; printf 'a\\nb\\n'"], limit=20))
    assert [line.text for line in lines] == ["terminal", "a", "b"]


@pytest.mark.parametrize(("command", "limit"), [(["false"], 20.0), (["sleep", "60"], 0.2)])
def test_a_command_that_fails_or_hangs_makes_no_picture(command: list[str], limit: float) -> None:
    with pytest.raises(click.ClickException):
        list(record(command, limit))


def test_the_picture_of_the_demo_is_small_and_complete() -> None:
    path = ROOT / "docs" / "images" / "demo.svg"
    assert path.stat().st_size < 30_000
    shown = "".join(ElementTree.parse(path).getroot().itertext())  # noqa: S314  # our own file
    assert "12 of 12 observations held" in shown
    assert "FAILED" not in shown
