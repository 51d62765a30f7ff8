"""Black hole: a healthy zone beside one dead zone, and beside two hundred.

A dead zone's authoritative server has fallen silent. Unbound, set up for admission, notices that within a second, and
refuses most further names at once. So the same is measured with a resolver that never answers for a dead zone: then
each of its lookups takes the module's whole deadline.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

from tests.bench import report
from tests.bench.arms import Arm, module_arm, plain_arm
from tests.bench.eap_client import Device
from tests.bench.load import Outcome, open_loop, poisson
from tests.bench.stand import Settings, Stand, ZoneWish, stand

HEALTHY, DEAD = "iot.example", "dead.example"
AUTHORITY, RESOLVER = "authority", "resolver"
_ROUND_TRIP = 0.01
_HEALTHY_RATE = _DEAD_RATE = 50
_WARM_DEVICES = 100
_MANY = 200
# A name of its own for every device of the one dead zone; the many have a few each, which come again.
_DEVICES_OF_EACH_OF_MANY = 5
_SEED = 34

Arrivals = list[tuple[float, Device]]


def run(settings: Settings) -> dict[str, Any]:
    seconds = settings.pick(20.0, 5.0)
    # A device a second for each of the dead zones.
    many = settings.pick(_MANY, 40)
    healthy_times = poisson(_HEALTHY_RATE, seconds, _SEED)
    dead_times = poisson(_DEAD_RATE, seconds, _SEED + 1)
    wishes = [ZoneWish(HEALTHY, len(healthy_times)), ZoneWish(f"zone0.{DEAD}", len(dead_times), dead=True)]
    wishes += [ZoneWish(f"zone{n}.{DEAD}", _DEVICES_OF_EACH_OF_MANY, dead=True) for n in range(1, many + 1)]
    rows: list[dict[str, Any]] = []
    admitted: dict[str, list[Outcome]] = {"plain": [], "module": []}
    with stand(settings, wishes, [plain_arm(), module_arm()]) as here:
        here.distance(_ROUND_TRIP)
        one = list(zip(dead_times, here.fleets[f"zone0.{DEAD}"].devices, strict=True))
        for case in _cases(one, _many(here, [wish.name for wish in wishes[2:]], seconds)):
            for arm in here.arms:
                here.cold(arm)
                here.before_resolver.set(silent_below=DEAD if case["silent"] == RESOLVER else None)
                healthy = _healthy(here, arm, case["cache"] == "warm", healthy_times)
                row, outcomes = _measure(here, arm, healthy, case["arrivals"])
                row = {name: case[name] for name in ("cache", "dead_zones", "silent")} | row
                settings.say(_line(row))
                rows.append(row)
                admitted[arm.name] += outcomes
    bars = [*_bars(rows), report.nothing_more_refused_bar(report.refused_beyond_plain(*admitted.values()))]
    return {"rows": rows, "bars": report.bars_as_dicts(bars)}


def _cases(one: Arrivals, many: tuple[int, Arrivals]) -> Iterator[dict[str, Any]]:
    for cache in ("warm", "cold"):
        yield {"cache": cache, "dead_zones": 0, "silent": None, "arrivals": []}
        for silent in (AUTHORITY, RESOLVER):
            yield {"cache": cache, "dead_zones": 1, "silent": silent, "arrivals": one}
            yield {"cache": cache, "dead_zones": many[0], "silent": silent, "arrivals": many[1]}


def _many(here: Stand, zones: Sequence[str], seconds: float) -> tuple[int, Arrivals]:
    """A device a second of each zone, for all zones in turn."""
    turns = zip(*(here.fleets[zone].devices for zone in zones), strict=True)
    devices = itertools.cycle([device for turn in turns for device in turn])
    return len(zones), list(zip(poisson(len(zones), seconds, _SEED + 2), devices, strict=False))


def _healthy(here: Stand, arm: Arm, warm: bool, times: Sequence[float]) -> Arrivals:
    """The healthy zone's devices: new ones, or a few that the server has admitted and that come again at random."""
    devices = here.fleets[HEALTHY].devices
    if not warm:
        return list(zip(times, devices, strict=True))
    regulars = devices[:_WARM_DEVICES]
    here.admit(arm, regulars)
    chance = random.Random(_SEED)
    return [(time, chance.choice(regulars)) for time in times]


def _measure(here: Stand, arm: Arm, healthy: Arrivals, dead: Arrivals) -> tuple[dict[str, Any], list[Outcome]]:
    arrivals = list(heapq.merge(healthy, dead, key=lambda arrival: arrival[0]))
    load = here.load(arm)
    done, taken = here.measured(arm, lambda: open_loop(load, arrivals))
    ours = {device.station for _, device in healthy}
    mine = [outcome for outcome in done.outcomes if outcome.device.station in ours]
    others = [outcome for outcome in done.outcomes if outcome.device.station not in ours]
    row = {"arm": arm.name, **report.summary(mine), **taken, "dead": report.summary(others)}
    return row, mine


def _bars(rows: list[dict[str, Any]]) -> list[report.Bar]:
    module = [row for row in rows if row["arm"] == "module"]
    alone = {row["cache"]: row for row in module if not row["dead_zones"]}
    return [
        report.p99_bar(f"{row['cache']}, {_beside(row)}", alone[row["cache"]], row)
        for row in module
        if row["dead_zones"]
    ]


def _beside(row: dict[str, Any]) -> str:
    return f"{row['dead_zones']} dead, silent {row['silent']}" if row["dead_zones"] else "alone"


def _line(row: dict[str, Any]) -> str:
    p99 = "-" if row["p99_ms"] is None else f"{row['p99_ms']:.1f} ms"
    return f"{row['cache']}, {_beside(row)}, {row['arm']}: {report.accepted_of(row)} accepted, p99 {p99}"


def text(figures: dict[str, Any]) -> str:
    columns: list[report.Column] = [
        ("names", report.key("cache")),
        ("beside", _beside),
        ("server", report.key("arm")),
        ("accepted", report.accepted_of),
        ("p50 ms", report.key("p50_ms", 1)),
        ("p95 ms", report.key("p95_ms", 1)),
        ("p99 ms", report.key("p99_ms", 1)),
        ("max ms", report.key("max_ms", 0)),
        ("dead: refused", lambda row: f"{row['dead']['rejected']}/{row['dead']['authentications']}"),
        ("after ms", lambda row: report.key("rejected_p50_ms", 0)(row["dead"])),
        ("server CPU ms", report.key("server_cpu_ms", 2)),
        ("others %", lambda row: f"{100 * row['others_share']:.0f}"),
    ]
    return report.table(columns, figures["rows"])
