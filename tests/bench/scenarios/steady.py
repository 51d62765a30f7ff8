"""Steady: devices whose names no cache holds arrive one after the other, 50 and 200 a second."""

from __future__ import annotations

from typing import Any

from tests.bench import report
from tests.bench.arms import module_arm, plain_arm
from tests.bench.load import open_loop, poisson
from tests.bench.stand import Settings, ZoneWish, stand

ZONE = "iot.example"
_SEED = 12


def run(settings: Settings) -> dict[str, Any]:
    seconds = settings.pick(15.0, 4.0)
    rates = settings.pick((50, 200), (50,))
    cases = [
        (rate, milliseconds, think)
        for rate in rates
        for milliseconds in settings.pick((10, 30), (10,))
        for think in (0, 20)
    ]
    times = {rate: poisson(rate, seconds, _SEED) for rate in rates}
    rows: list[dict[str, Any]] = []
    bars = []
    refused = 0
    with stand(settings, [ZoneWish(ZONE, max(map(len, times.values())))], [plain_arm(), module_arm()]) as here:
        for rate, milliseconds, think in cases:
            here.distance(milliseconds / 1000)
            arrivals = list(zip(times[rate], here.fleets[ZONE].devices, strict=False))
            outcomes = []
            for arm in here.arms:
                here.cold(arm)
                load = here.load(arm, think=think / 1000)
                done, taken = here.measured(arm, lambda load=load, arrivals=arrivals: open_loop(load, arrivals))  # type: ignore[misc]
                row = {"arm": arm.name, "rate": rate, "round_trip_ms": milliseconds, "think_ms": think}
                row |= {**report.summary(done.outcomes), **taken}
                settings.say(f"{_case(row)}, {arm.name}: {report.accepted_of(row)} accepted")
                rows.append(row)
                outcomes.append(done.outcomes)
            bars.append(report.all_accepted_bar(_case(rows[-1]), rows[-1]))
            refused += report.refused_beyond_plain(*outcomes)
    bars.append(report.nothing_more_refused_bar(refused))
    return {"rows": rows, "bars": report.bars_as_dicts(bars)}


def _case(row: dict[str, Any]) -> str:
    return f"{row['rate']}/s, {row['round_trip_ms']} ms away, {row['think_ms']} ms think time"


def text(figures: dict[str, Any]) -> str:
    columns: list[report.Column] = [
        ("a second", report.key("rate")),
        ("DNS ms", report.key("round_trip_ms")),
        ("think ms", report.key("think_ms")),
        ("server", report.key("arm")),
        ("accepted", report.accepted_of),
        ("p50 ms", report.key("p50_ms", 1)),
        ("p95 ms", report.key("p95_ms", 1)),
        ("p99 ms", report.key("p99_ms", 1)),
        ("max ms", report.key("max_ms", 0)),
        ("server CPU ms", report.key("server_cpu_ms", 2)),
        ("DNS CPU ms", report.key("dns_cpu_ms", 2)),
        ("others %", lambda row: f"{100 * row['others_share']:.0f}"),
        ("late ms", report.key("generator_lag_ms", 0)),
    ]
    return report.table(columns, figures["rows"])
