"""Plots of storms as SVG: when the last device was admitted, and how many were admitted by when."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from tests.bench.report import STORM_FACTOR, STORM_ROUND_TRIPS

Points = Sequence[tuple[float, float]]

_COLOURS = {"plain": "#777777", "tuned": "#3f8f4f", "module": "#0b62a4", "limit": "#c2410c"}
_TITLES = {
    "plain": "plain EAP-TLS",
    "tuned": "plain, with this package's limits and buffers",
    "module": "with the module",
    "limit": "the bar: 1.3 × plain + 3 DNS round trips",
}
_SERVERS = ("plain", "tuned", "module")
_WIDTH, _HEIGHT = 300, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 30, 40
_HEAD = 46


def nice_step(highest: float, steps: int = 5) -> float:
    """A step of 1, 2 or 5 times a power of ten that divides 0 to `highest` into at most `steps` parts."""
    if highest <= 0:
        return 1.0
    size = 10.0**-9
    while True:
        for factor in (1, 2, 5):
            if factor * size * steps >= highest * (1 - 1e-9):
                return factor * size
        size *= 10


@dataclass
class Panel:
    """One diagram. Both axes begin at 0. A line: its name, its points, whether it has steps."""

    title: str
    x_title: str
    lines: list[tuple[str, Points, bool]] = field(default_factory=list)
    notes: list[tuple[float, float, str]] = field(default_factory=list)

    def svg(self, left: float, top: float) -> str:
        points = [point for _, line, _ in self.lines for point in line]
        highest_x = max((x for x, _ in points), default=1.0) or 1.0
        highest_y = max((y for _, y in points), default=1.0) or 1.0
        step_x, step_y = nice_step(highest_x), nice_step(highest_y)
        limit_x, limit_y = _up(highest_x, step_x), _up(highest_y, step_y)

        def at(x: float, y: float) -> tuple[float, float]:
            return (
                _LEFT + x / limit_x * (_WIDTH - _LEFT - _RIGHT),
                _HEIGHT - _BOTTOM - y / limit_y * (_HEIGHT - _TOP - _BOTTOM),
            )

        parts = [f'<g transform="translate({left:g} {top:g})">', _text(_LEFT, 18, self.title, weight="bold")]
        for number in range(round(limit_y / step_y) + 1):
            x, y = at(0, number * step_y)
            parts.append(f'<path d="M{x:.1f} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#dddddd"/>')
            parts.append(_text(x - 5, y + 4, f"{number * step_y:g}", anchor="end"))
        for number in range(round(limit_x / step_x) + 1):
            x, y = at(number * step_x, 0)
            parts.append(f'<path d="M{x:.1f} {y:.1f}v4" stroke="#333333"/>')
            parts.append(_text(x, y + 16, f"{number * step_x:g}", anchor="middle"))
        parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, self.x_title, anchor="middle"))
        parts += [_line(name, [at(x, y) for x, y in line], steps) for name, line, steps in self.lines]
        for x, y, note in self.notes:
            place = at(x, y)
            anchor = "start" if x < limit_x / 2 else "end"
            parts.append(_text(place[0], place[1] - 7, note, anchor=anchor, colour=_COLOURS["module"]))
        return "\n".join([*parts, "</g>"])


def _up(value: float, step: float) -> float:
    """The next multiple of a step."""
    count = round(value / step)
    return step * (count if count * step >= value * (1 - 1e-9) else count + 1)


def _line(name: str, points: Points, steps: bool) -> str:
    if not points:
        return ""
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    path += "".join(f"H{x:.1f}V{y:.1f}" if steps else f"L{x:.1f} {y:.1f}" for x, y in points[1:])
    dashes = ' stroke-dasharray="5 4"' if name == "limit" else ""
    drawn = f'<path d="{path}" fill="none" stroke="{_COLOURS[name]}" stroke-width="2"{dashes}/>'
    if steps or name == "limit":
        return drawn
    return drawn + "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_COLOURS[name]}"/>' for x, y in points)


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", colour: str = "#222") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">'
        f"{escape(text)}</text>"
    )


def figure(title: str, panels: Sequence[Panel], names: Iterable[str], columns: int = 2) -> str:
    """Panels side by side, with a title and a legend."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    width, height = columns * _WIDTH, _HEAD + rows * _HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(12, 18, title, weight="bold"),
    ]
    x = 12.0
    for name in names:
        parts += [_line(name, [(x, 36), (x + 24, 36)], steps=True), _text(x + 30, 40, _TITLES[name])]
        x += 54 + 5.6 * len(_TITLES[name])
    parts += [p.svg(n % columns * _WIDTH, _HEAD + n // columns * _HEIGHT) for n, p in enumerate(panels)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def completion(rows: Sequence[dict[str, Any]]) -> str:
    """When the last device was accepted, over the distance of the DNS: a panel for each size. Medians of rounds."""
    panels = []
    for size in sorted({row["size"] for row in rows}):
        panel = Panel(f"{size} devices at once: seconds", "DNS round trip, ms")
        of_size = [row for row in rows if row["size"] == size]
        distances = sorted({row["round_trip_ms"] for row in of_size})
        last = {arm: _last_in(of_size, arm, distances) for arm in _SERVERS}
        limit = [(ms, STORM_FACTOR * s + STORM_ROUND_TRIPS * ms / 1000) for ms, s in last["plain"]]
        panel.lines = [("limit", limit, False), *((arm, line, False) for arm, line in last.items())]
        for ms, seconds in last["module"]:
            chosen = [row for row in of_size if row["arm"] == "module" and row["round_trip_ms"] == ms]
            accepted, total = sum(r["accepted"] for r in chosen), sum(r["authentications"] for r in chosen)
            if accepted < total:
                panel.notes.append((ms, seconds, f"{100 * accepted // total} % in"))
        panels.append(panel)
    return figure("After a power cut: the last device is in", panels, (*_SERVERS, "limit"), columns=3)


def _last_in(rows: Sequence[dict[str, Any]], arm: str, distances: Iterable[float]) -> Points:
    line = []
    for ms in distances:
        times = [
            r["last_in"] for r in rows if r["arm"] == arm and r["round_trip_ms"] == ms and r["last_in"] is not None
        ]
        if times:
            line.append((ms, statistics.median(times)))
    return line


def admissions(rows: Sequence[dict[str, Any]]) -> str:
    """How many devices of the largest storm were accepted by when: a panel for each distance. The median round."""
    size = max(row["size"] for row in rows)
    of_size = [row for row in rows if row["size"] == size]
    panels = []
    for ms in sorted({row["round_trip_ms"] for row in of_size}):
        panel = Panel(f"DNS {ms:g} ms away: devices", "seconds after the begin")
        for arm in _SERVERS:
            times = _middle_round([r for r in of_size if r["arm"] == arm and r["round_trip_ms"] == ms])
            panel.lines.append((arm, [(0, 0), *thin([(time, n) for n, time in enumerate(times, 1)])], True))
        panels.append(panel)
    return figure(f"{size} devices at once: how many are in", panels, _SERVERS)


def thin(points: Points, most: int = 200) -> Points:
    """Every n-th point, and the last one: no more than there are pixels to tell them apart."""
    step = -(-len(points) // most) or 1
    return [*points[step - 1 : -1 : step], *points[-1:]]


def _middle_round(rows: Sequence[dict[str, Any]]) -> list[float]:
    ordered = sorted(rows, key=lambda row: row["last_in"] or 0.0)
    times: list[float] = ordered[(len(ordered) - 1) // 2]["admitted_at"] if ordered else []
    return times


def write(storms: dict[str, Any], folder: Path) -> list[Path]:
    """Both plots, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in (("storm-completion", completion), ("storm-admissions", admissions)):
        path = folder / f"{name}.svg"
        path.write_text(draw(storms["rows"]))
        written.append(path)
    return written
