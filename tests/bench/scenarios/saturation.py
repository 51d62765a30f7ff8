"""Saturation: as many authentications as two cores give, 1, 4, 16 and 64 at once, of devices that are known."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from tests.bench import report
from tests.bench.arms import Arm, bare_arm, module_arm, plain_arm
from tests.bench.load import Outcome, closed_loop
from tests.bench.stand import Settings, Stand, ZoneWish, stand

ZONE = "iot.example"
AT_ONCE = (1, 4, 16, 64)
_BAR_AT_ONCE = 4


def run(settings: Settings) -> dict[str, Any]:
    rounds = settings.rounds or settings.pick(5, 1)
    authentications = settings.pick(600, 200)
    rows: list[dict[str, Any]] = []
    outcomes: dict[str, list[Outcome]] = {"plain": [], "bare": [], "module": []}
    with stand(settings, [ZoneWish(ZONE, max(AT_ONCE))]) as here:
        for number in range(rounds):
            with ExitStack() as stack:
                # Two processes of one server differ by some percent for as long as they live.
                here.start_arms([plain_arm(), bare_arm(), module_arm()], stack)
                for at_once in AT_ONCE:
                    for arm in here.arms:
                        row, ended = _measure(here, arm, at_once, authentications)
                        rows.append(row | {"round": number + 1})
                        outcomes[arm.name] += ended
                        settings.say(
                            f"round {number + 1}, {at_once} at once, {arm.name}: {row['per_second']:.0f}/s, "
                            f"{row['server_cpu_ms']:.2f} ms"
                        )
    bars = [
        report.cpu_bar(f"server CPU, warm, {_BAR_AT_ONCE} at once", _ratios(rows, _BAR_AT_ONCE)),
        report.nothing_more_refused_bar(report.refused_beyond_plain(outcomes["plain"], outcomes["module"])),
    ]
    return {"rows": rows, "bars": report.bars_as_dicts(bars)}


def _measure(here: Stand, arm: Arm, at_once: int, authentications: int) -> tuple[dict[str, Any], list[Outcome]]:
    devices = here.fleets[ZONE].devices
    here.admit(arm, devices)
    load = here.load(arm)
    done, taken = here.measured(arm, lambda: closed_loop(load, devices[:at_once], at_once, authentications))
    row = {"arm": arm.name, "at_once": at_once, **report.summary(done.outcomes), **taken}
    row["per_second"] = row["accepted"] / done.seconds
    return row, done.outcomes


def _ratios(rows: list[dict[str, Any]], at_once: int, arm: str = "module") -> list[float]:
    """CPU of an arm to plain's of the same round."""
    chosen = [row for row in rows if row["at_once"] == at_once]
    plain = {row["round"]: row["server_cpu_ms"] for row in chosen if row["arm"] == "plain"}
    return [row["server_cpu_ms"] / plain[row["round"]] for row in chosen if row["arm"] == arm]


def text(figures: dict[str, Any]) -> str:
    rows = figures["rows"]
    columns: list[report.Column] = [
        ("at once", report.key("at_once")),
        ("server", report.key("arm")),
        ("a second", report.key("per_second", 0)),
        ("server CPU ms", report.key("server_cpu_ms", 2)),
        ("to plain", report.key("ratio", 2)),
        ("p50 ms", report.key("p50_ms", 1)),
        ("p95 ms", report.key("p95_ms", 1)),
        ("accepted", report.accepted_of),
    ]
    shown = []
    for at_once in AT_ONCE:
        for arm in ("plain", "bare", "module"):
            chosen = [row for row in rows if row["at_once"] == at_once and row["arm"] == arm]
            middle = report.medians(chosen)
            shown.append(middle | {"ratio": report.percentile(_ratios(rows, at_once, arm), 0.5)})
    return report.table(columns, shown) + "\n  medians of the rounds; counts of all rounds together"
