"""Storms: a building's devices at once, after a power cut, names in no cache; the first try counts."""

from __future__ import annotations

from typing import Any

from tests.bench import report
from tests.bench.arms import Arm, module_arm, plain_arm, tuned_arm
from tests.bench.load import Outcome, storm
from tests.bench.stand import Settings, Stand, ZoneWish, stand

ZONE = "iot.example"
_ORDER = ("plain", "tuned", "module")


def run(settings: Settings) -> dict[str, Any]:
    sizes = settings.pick((100, 300, 1000), (100, 300))
    round_trips = settings.pick((0, 10, 30, 100), (0, 30))
    rounds = settings.rounds or settings.pick(3, 1)
    rows: list[dict[str, Any]] = []
    bars: list[report.Bar] = []
    strict: list[report.Bar] = []
    refused = 0
    with stand(settings, [ZoneWish(ZONE, max(sizes))], [plain_arm(), tuned_arm(), module_arm()]) as here:
        for milliseconds in round_trips:
            here.distance(milliseconds / 1000)
            for size in sizes:
                by_round = []
                for number in range(rounds):
                    found, outcomes = _round(here, size, number)
                    for row in found.values():
                        row |= {"round_trip_ms": milliseconds, "round": number + 1}
                        settings.say(_line(row))
                    rows += found.values()
                    by_round.append(found)
                    refused += report.refused_beyond_plain(outcomes["plain"], outcomes["module"])
                case = f"storm of {size}, {milliseconds} ms away"
                for other, kind, name in (("plain", bars, case), ("tuned", strict, f"{case}, against tuned plain")):
                    pairs = [(found[other], found["module"]) for found in by_round]
                    kind.append(report.storm_bar(name, pairs, milliseconds / 1000))
    bars.append(report.nothing_more_refused_bar(refused))
    return {"rows": rows, "bars": report.bars_as_dicts(bars), "stricter": report.bars_as_dicts(strict)}


def _round(here: Stand, size: int, number: int) -> tuple[dict[str, dict[str, Any]], dict[str, list[Outcome]]]:
    """A storm on each server, who is first changing from round to round: rows and outcomes by server."""
    turn = number % len(here.arms)
    found = {arm.name: _storm(here, arm, size) for arm in (*here.arms[turn:], *here.arms[:turn])}
    return {name: row for name, (row, _) in found.items()}, {name: outcomes for name, (_, outcomes) in found.items()}


def _storm(here: Stand, arm: Arm, size: int) -> tuple[dict[str, Any], list[Outcome]]:
    here.cold(arm)
    devices = here.fleets[ZONE].devices[:size]
    done, taken = here.measured(arm, lambda: storm(here.load(arm), devices))
    times = sorted(round(outcome.ended, 4) for outcome in done.outcomes if outcome.accepted)
    row = {"arm": arm.name, "size": size, **report.summary(done.outcomes), **taken}
    return row | {"admitted_at": times}, done.outcomes


def _line(row: dict[str, Any]) -> str:
    last = "nobody in" if row["last_in"] is None else f"the last one in after {row['last_in']:.2f} s"
    return (
        f"storm of {row['size']}, {row['round_trip_ms']} ms away, round {row['round']}, {row['arm']}: "
        f"{report.accepted_of(row)} accepted, {last}"
    )


def text(figures: dict[str, Any]) -> str:
    columns: list[report.Column] = [
        ("devices", report.key("size")),
        ("DNS ms", report.key("round_trip_ms")),
        ("server", report.key("arm")),
        ("accepted", report.accepted_of),
        ("last in s", report.key("last_in", 2)),
        ("(from to)", report.key("spread")),
        ("p50 ms", report.key("p50_ms", 0)),
        ("p95 ms", report.key("p95_ms", 0)),
        ("p99 ms", report.key("p99_ms", 0)),
        ("resent", report.key("retransmissions", 0)),
        ("server CPU ms", report.key("server_cpu_ms", 2)),
        ("DNS CPU ms", report.key("dns_cpu_ms", 2)),
    ]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in figures["rows"]:
        groups.setdefault((row["size"], row["round_trip_ms"], _ORDER.index(row["arm"])), []).append(row)
    shown = []
    for _, rows in sorted(groups.items()):
        last = [row["last_in"] for row in rows if row["last_in"] is not None]
        spread = f"{min(last):.2f} {max(last):.2f}" if last else "-"
        shown.append(report.medians(rows) | {"spread": spread})
    return (
        f"{report.table(columns, shown)}\n  medians of the rounds; counts of all rounds together\n"
        "  tuned: Debian's site with the limits and buffers that this package sets; for comparison, not the bar:\n"
        + report.bars_text(figures["stricter"])
        + "\n  the bar, against plain:"
    )
