"""Policy: a match by 100,000 rules and 1,000,000 listed devices, and a reload of them beside 100 devices a second."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench import report
from tests.bench.arms import machine_cpu, module_arm
from tests.bench.devices import policy as small_policy
from tests.bench.load import Outcome, open_loop, poisson
from tests.bench.scenarios.policy_sizes import write_policy
from tests.bench.stand import Settings, Stand, ZoneWish, stand
from tests.harness.freeradius import FreeRadius

ZONE = "iot.example"
_RATE = 100
_SEED = 91
_MATCH_P99_US = 20.0
_FLATNESS = 1.2
_LOAD_SECONDS = 30.0
# A stall is what nobody would notice up to here: the module's p99 with other work beside it.
_STALL_FACTOR = 2.0
_SIZES = ((1_000, 1_000), (1_000, 1_000_000), (10_000, 100_000), (100_000, 1_000), (100_000, 1_000_000))
_QUICK_SIZES = ((1_000, 1_000), (5_000, 20_000))


def run(settings: Settings) -> dict[str, Any]:
    sizes = settings.pick(_SIZES, _QUICK_SIZES)
    rows = [_measure(settings, rules, listed) for rules, listed in sizes]
    reloads = _reloads(settings, *sizes[-1])
    bars = [*_bars(rows), *_reload_bars(reloads)]
    return {"rows": rows, "reloads": reloads, "bars": report.bars_as_dicts(bars)}


def _measure(settings: Settings, rules: int, listed: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.scenarios.policy_sizes", str(rules), str(listed)]
    before, began = machine_cpu(), time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        output, _ = process.communicate(timeout=500)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")
    row: dict[str, Any] = json.loads(output)
    seconds = time.monotonic() - began
    row["others_share"] = max(0.0, (machine_cpu() - before - seconds) / seconds / 2)
    settings.say(f"{rules} rules, {listed} listed: p99 {row['p99_us']:.1f} us, loaded in {row['load_seconds']:.1f} s")
    return row


def _bars(rows: Sequence[dict[str, Any]]) -> list[report.Bar]:
    largest, smallest = rows[-1], rows[0]
    lists = [row for row in rows if row["rules"] == smallest["rules"]]
    return [
        report.Bar(
            f"a match by {largest['rules']} rules and {largest['listed']} listed devices",
            largest["p99_us"] <= _MATCH_P99_US,
            f"p99 {largest['p99_us']:.1f} us",
            f"at most {_MATCH_P99_US:g} us",
        ),
        _flat(f"{lists[0]['listed']} to {lists[-1]['listed']} listed devices", lists[0], lists[-1]),
        _flat(f"{smallest['rules']} to {largest['rules']} rules, and lists", smallest, largest),
        report.Bar(
            "loading the largest",
            largest["load_seconds"] <= _LOAD_SECONDS,
            f"{largest['load_seconds']:.1f} s",
            "seconds",
        ),
    ]


def _flat(what: str, small: dict[str, Any], large: dict[str, Any]) -> report.Bar:
    ratio = large["p50_us"] / small["p50_us"]
    p50, p99 = (f"{small[key]:.1f} to {large[key]:.1f} us" for key in ("p50_us", "p99_us"))
    found = f"x {ratio:.2f} (p50 {p50}, p99 {p99})"
    return report.Bar(f"flat, {what}", ratio <= _FLATNESS, found, f"p50 at most x {_FLATNESS:g}")


def _reloads(settings: Settings, rules: int, listed: int) -> list[dict[str, Any]]:
    """Devices at a steady rate, while the server's policy is replaced: by a large one, by another, and its list."""
    seconds = settings.pick(48.0, 15.0)
    with stand(settings, [ZoneWish(ZONE, settings.pick(500, 100))], [module_arm()]) as here:
        arm = here.arms[0]
        devices = here.fleets[ZONE].devices
        here.admit(arm, devices)
        chance = random.Random(_SEED)
        rows = []
        for what, change in _changes(arm.server, here, rules, listed):
            arrivals = [(at, chance.choice(devices)) for at in poisson(_RATE, seconds, _SEED)]
            thread = threading.Thread(target=change.run, args=(seconds / 6,))
            thread.start()
            load = here.load(arm)
            change.began = time.monotonic()
            done, taken = here.measured(arm, lambda load=load, arrivals=arrivals: open_loop(load, arrivals))  # type: ignore[misc]
            thread.join()
            rows.append({"what": what, "took": change.took, **_beside(done.outcomes, change), **taken})
            settings.say(f"reload of {what}: {change.took:.1f} s, p99 {rows[-1]['p99_ms'] or 0:.1f} ms")
    return rows


class _Change:
    """Files that take the place of the policy's in the middle of a run, and how long the server took to load them."""

    def __init__(self, server: FreeRadius, files: Sequence[tuple[Path, Path]]) -> None:
        self._server, self._files = server, files
        self.began = 0.0
        self.since = self.until = 0.0
        self.took = 0.0

    def run(self, delay: float) -> None:
        """Replace the files after `delay` seconds."""
        time.sleep(delay)
        before = self._server.policy_log_lines()
        for fresh, file in self._files:
            fresh.replace(file)
        self.since = time.monotonic() - self.began
        if not self._files:
            # The same share of the run, for comparison.
            self.until = self.since + delay
            return
        ends = time.monotonic() + 120
        while self._server.policy_log_lines() == before and time.monotonic() < ends:
            time.sleep(0.1)
        self.until = time.monotonic() - self.began
        self.took = self.until - self.since


def _changes(server: FreeRadius, here: Stand, rules: int, listed: int) -> Iterator[tuple[str, _Change]]:
    """The changes of a policy, each one's files written before its run begins."""
    policy_file, list_file = server.policy_file, server.policy_file.parent / "lost.txt"
    identity = small_policy(here.fleets).partition("identity: ")[2].partition("\n")[0]
    rule = f"  - {{name: cameras, identity: {identity}, zone: home}}\n"
    yield "nothing", _Change(server, ())
    for number, what in enumerate(("the first large policy", "another large policy")):
        folder = server.folder / f"new-policy-{number}"
        folder.mkdir()
        fresh = write_policy(folder, rules + number, listed, domain=ZONE, last_rules=rule)
        for path in folder.iterdir():
            path.chmod(0o644)
        yield what, _Change(server, ((folder / "lost.txt", list_file), (fresh, policy_file)))
    fresh_list = list_file.with_suffix(".new")
    fresh_list.write_text(list_file.read_text() + "another.gone._device.example.org\n")
    fresh_list.chmod(0o644)
    yield "one list", _Change(server, ((fresh_list, list_file),))


def _beside(outcomes: Sequence[Outcome], change: _Change) -> dict[str, Any]:
    """The devices that came while the server was loading, and two seconds later: then the old policy is freed."""
    beside = [outcome for outcome in outcomes if change.since <= outcome.ended and outcome.began <= change.until + 2]
    return {**report.summary(beside), "max_ms": max((1000 * o.seconds for o in beside), default=0.0)}


def _reload_bars(rows: Sequence[dict[str, Any]]) -> list[report.Bar]:
    alone, *others = rows
    limit = _STALL_FACTOR * (alone["p99_ms"] or 0)
    return [
        report.Bar(
            f"{_RATE} devices a second beside a reload of {row['what']}",
            row["accepted"] == row["authentications"] and (row["p99_ms"] or limit + 1) <= limit,
            f"p99 {row['p99_ms'] or 0:.1f} ms, {report.accepted_of(row)} accepted",
            f"at most {limit:.1f} ms, all accepted",
        )
        for row in others
    ]


def text(figures: dict[str, Any]) -> str:
    sizes: list[report.Column] = [
        ("rules", report.key("rules")),
        ("listed devices", report.key("listed")),
        ("load s", report.key("load_seconds", 1)),
        ("CPU s", report.key("load_cpu_seconds", 1)),
        ("MB", report.key("megabytes", 0)),
        ("p50 us", report.key("p50_us", 1)),
        ("p99 us", report.key("p99_us", 1)),
        ("p50 us, cold", report.key("cold_p50_us", 1)),
        ("hostile names, p99 us", lambda row: f"{row['kinds']['hostile']:.1f}"),
    ]
    reloads: list[report.Column] = [
        ("beside a reload of", report.key("what")),
        ("reload s", report.key("took", 1)),
        ("accepted", report.accepted_of),
        ("p50 ms", report.key("p50_ms", 1)),
        ("p99 ms", report.key("p99_ms", 1)),
        ("longest ms", report.key("max_ms", 1)),
        ("others %", lambda row: f"{100 * row['others_share']:.0f}"),
    ]
    return f"{report.table(sizes, figures['rows'])}\n\n{report.table(reloads, figures['reloads'])}"
