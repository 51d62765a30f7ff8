"""Record what a command prints on a terminal, and draw it as an animated SVG for README.md and the documentation site.

The picture is one file without scripts or fonts. It has its own background, so it is readable on light and dark pages.
"""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import click

COLUMNS, ROWS = 104, 24
# Pixels of one character cell, and of the frame around all of them.
CELL_WIDTH, CELL_HEIGHT, MARGIN, TITLE = 7.8, 18, 14, 30
# Seconds: a longer pause is shortened to this, and the last picture stays for that long.
LONGEST_PAUSE, LAST_PICTURE = 1.0, 8.0
# Select Graphic Rendition codes (ECMA-48), and the class of text that each one turns on.
_CLASSES = {"1": "b", "2": "d", "31": "r", "32": "g", "33": "y", "34": "u", "36": "c"}
_CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")
_STYLE = """\
.t{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#d8dee9;white-space:pre}
.b{font-weight:bold;fill:#fff}.d{fill:#8f9bb0}.r{fill:#ff7b85}.g{fill:#8ed08a}.y{fill:#f0c674}.u{fill:#82aaff}\
.c{fill:#7fdbca}"""


@dataclass(frozen=True)
class Line:
    """A line of output with its control sequences, and the seconds after the start at which it was complete."""

    seconds: float
    text: str


def record(command: Sequence[str], limit: float) -> Iterator[Line]:
    """Run a command on a terminal. Raises click.ClickException if it fails, or takes more than `limit` seconds."""
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "LINES": str(ROWS), "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        began = time.monotonic()
        pending = b""
        while (left := began + limit - time.monotonic()) > 0:
            if not select.select([master], [], [], left)[0]:
                continue
            try:
                octets = os.read(master, 65536)
            except OSError:  # how Linux reports the end of a terminal
                break
            if not octets:
                break
            *lines, pending = (pending + octets).split(b"\n")
            for line in lines:
                yield Line(time.monotonic() - began, line.decode(errors="replace").rstrip("\r"))
        else:
            process.kill()
            raise click.ClickException(f"{command[0]} was not finished after {limit:.0f} s")
        os.close(master)
    if process.returncode:
        raise click.ClickException(f"{command[0]} failed with code {process.returncode}")


def spans(text: str, columns: int = COLUMNS) -> list[tuple[str, str]]:
    """A line as pieces of text, each with its classes. What does not fit ends with an ellipsis."""
    pieces: list[tuple[str, str]] = []
    classes: list[str] = []
    place = 0
    for found in [*_CONTROL.finditer(text), None]:
        piece = text[place : found.start()] if found else text[place:]
        if piece:
            pieces.append((" ".join(classes), piece))
        if found is None:
            break
        place = found.end()
        if found[2] == "m":
            for code in found[1].split(";"):
                if code in ("", "0"):
                    classes = []
                elif code in _CLASSES:
                    classes = [*classes, _CLASSES[code]]
    return _cut(pieces, columns)


def _cut(pieces: list[tuple[str, str]], columns: int) -> list[tuple[str, str]]:
    if sum(len(piece) for _, piece in pieces) <= columns:
        return pieces
    kept: list[tuple[str, str]] = []
    left = columns - 1
    for classes, piece in pieces:
        if left > 0:
            kept.append((classes, piece[:left] + ("…" if len(piece) >= left else "")))
        left -= len(piece)
    return kept


def moments(lines: Sequence[Line]) -> list[float]:
    """When each line appears in the picture: as recorded, with long pauses shortened."""
    shown: list[float] = []
    before = now = 0.0
    for line in lines:
        now += min(line.seconds - before, LONGEST_PAUSE)
        before = line.seconds
        shown.append(now)
    return shown


def draw(lines: Sequence[Line], title: str) -> str:
    """The SVG. It moves the text up by a line whenever one appears: lines to come are below the visible part.

    Viewers that do not animate show the end.
    """
    width = round(COLUMNS * CELL_WIDTH + 2 * MARGIN)
    height = TITLE + ROWS * CELL_HEIGHT + MARGIN
    when = moments(lines)
    total = (when[-1] if when else 0.0) + LAST_PICTURE
    steps: dict[str, int] = {"0": 0}
    for number, moment in enumerate(when, 1):
        # Lines that appear at the same time need one step only.
        steps[f"{100 * moment / total:.2f}".rstrip("0").rstrip(".")] = number
    frames = "".join(f"{at}%{{transform:translateY({-number * CELL_HEIGHT}px)}}" for at, number in steps.items())
    frames += f"100%{{transform:translateY({-len(lines) * CELL_HEIGHT}px)}}"
    bottom = TITLE + ROWS * CELL_HEIGHT
    texts = "".join(
        f'<text x="{MARGIN}" y="{bottom + number * CELL_HEIGHT + 13}">{_tspans(line.text)}</text>\n'
        for number, line in enumerate(lines)
        if line.text.strip()
    )
    dots = "".join(
        f'<circle cx="{MARGIN + 6 + 18 * number}" cy="15" r="5" fill="{fill}"/>'
        for number, fill in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    end = -len(lines) * CELL_HEIGHT
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">
<title>{escape(title)}</title>
<style>{_STYLE}
.s{{animation:s {total:.1f}s step-end infinite}}
@keyframes s{{{frames}}}
@media (prefers-reduced-motion:reduce){{.s{{animation:none;transform:translateY({end}px)}}}}</style>
<rect width="{width}" height="{height}" rx="8" fill="#1b2130"/>
{dots}<text class="t d" x="{width / 2:.0f}" y="19" text-anchor="middle">{escape(title)}</text>
<svg y="{TITLE}" width="{width}" height="{ROWS * CELL_HEIGHT}" viewBox="0 {TITLE} {width} {ROWS * CELL_HEIGHT}">
<g class="t s" transform="translate(0 {end})" xml:space="preserve">
{texts}</g></svg></svg>
"""


def _tspans(text: str) -> str:
    return "".join(
        f'<tspan class="{classes}">{escape(piece, quote=False)}</tspan>' if classes else escape(piece, quote=False)
        for classes, piece in spans(text)
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"], "ignore_unknown_options": True})
@click.option("--title", default="script/demo", show_default=True, help="The title of the picture.")
@click.option("--limit", default=240.0, show_default=True, help="Seconds that the command may take.")
@click.argument("picture", type=click.Path(dir_okay=False, writable=True, path_type=Path))
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def main(title: str, limit: float, picture: Path, command: tuple[str, ...]) -> None:
    """Run COMMAND and draw what it prints as PICTURE, an animated SVG.

    \b
    Example:
      .venv/bin/python script/cast.py docs/images/demo.svg script/demo --part network

    Exit codes: 0 drawn, 1 the command failed (the picture stays as it was), 2 wrong usage.
    """
    prompt = Line(0.0, f"\x1b[32m#\x1b[0m \x1b[1m{title}\x1b[0m")
    lines = [prompt, *record(command, limit)]
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(draw(lines, title), encoding="utf-8")
    click.echo(f"{picture}: {len(lines)} lines, {picture.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
