"""Refresh: 2,000 names in use with a TTL of 10 s, their devices coming back at random, at rising rates."""

from __future__ import annotations

import random
from typing import Any

from tests.bench import report
from tests.bench.arms import module_arm, plain_arm
from tests.bench.load import open_loop, poisson
from tests.bench.stand import Settings, ZoneWish, stand

ZONE = "iot.example"
_TTL = 10
_ROUND_TRIP = 0.03
_SEED = 56
# Sustained: everybody is in, and nineteen of twenty within this time.
_SUSTAINED_P95_MS = 250.0


def run(settings: Settings) -> dict[str, Any]:
    seconds = settings.pick(20.0, 5.0)
    names = settings.pick(2000, 300)
    rates = settings.pick((50, 100, 200, 300, 400), (50, 200))
    rows: list[dict[str, Any]] = []
    refused = 0
    with stand(settings, [ZoneWish(ZONE, names, ttl=_TTL)], [plain_arm(), module_arm()]) as here:
        here.distance(_ROUND_TRIP)
        devices = here.fleets[ZONE].devices
        for rate in rates:
            chance = random.Random(_SEED)
            arrivals = [(time, chance.choice(devices)) for time in poisson(rate, seconds, _SEED)]
            outcomes = []
            for arm in here.arms:
                here.cold(arm)
                here.admit(arm, devices)
                load = here.load(arm)
                done, taken = here.measured(arm, lambda load=load, arrivals=arrivals: open_loop(load, arrivals))  # type: ignore[misc]
                row = {"arm": arm.name, "rate": rate, "names": names}
                row |= {**report.summary(done.outcomes), **taken}
                settings.say(
                    f"{rate}/s, {arm.name}: {report.accepted_of(row)} accepted, p95 {row['p95_ms'] or 0:.1f} ms"
                )
                rows.append(row)
                outcomes.append(done.outcomes)
            refused += report.refused_beyond_plain(*outcomes)
    module = [row for row in rows if row["arm"] == "module"]
    bars = [report.all_accepted_bar(f"{row['rate']}/s", row) for row in module if _plain_sustains(rows, row["rate"])]
    bars.append(report.nothing_more_refused_bar(refused))
    sustained = {arm: _sustained(rows, arm) for arm in ("plain", "module")}
    return {"rows": rows, "bars": report.bars_as_dicts(bars), "sustained_per_second": sustained}


def _sustains(row: dict[str, Any]) -> bool:
    return bool(row["accepted"] == row["authentications"] and row["p95_ms"] <= _SUSTAINED_P95_MS)


def _plain_sustains(rows: list[dict[str, Any]], rate: int) -> bool:
    return any(_sustains(row) for row in rows if row["arm"] == "plain" and row["rate"] == rate)


def _sustained(rows: list[dict[str, Any]], arm: str) -> int:
    """The highest rate which this server carried; 0 when it carried none."""
    return max((row["rate"] for row in rows if row["arm"] == arm and _sustains(row)), default=0)


def text(figures: dict[str, Any]) -> str:
    columns: list[report.Column] = [
        ("a second", report.key("rate")),
        ("names", report.key("names")),
        ("server", report.key("arm")),
        ("accepted", report.accepted_of),
        ("p50 ms", report.key("p50_ms", 1)),
        ("p95 ms", report.key("p95_ms", 1)),
        ("p99 ms", report.key("p99_ms", 1)),
        ("server CPU ms", report.key("server_cpu_ms", 2)),
        ("others %", lambda row: f"{100 * row['others_share']:.0f}"),
    ]
    both = figures["sustained_per_second"]
    return (
        report.table(columns, figures["rows"])
        + f"\n  sustained (all accepted, p95 at most {_SUSTAINED_P95_MS:g} ms): "
        + f"plain {both['plain']}/s, module {both['module']}/s"
    )
