"""Policies of several sizes: what loading one takes, and how long a match takes. Called with the two sizes.

Each size has a process of its own, so that the memory is that of one policy.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from policy import Policy, RequestFacts, load_policy
from tests.bench.report import percentile

_NOW = 1_800_000_000.0
_QUERIES = 20_000
_ROUNDS = 5
# Read between two matches, so that a match finds what it needs in main memory: an authentication every 10 ms does.
_COLD_OCTETS = 8 * 1024 * 1024
_COLD_QUERIES = 1_000
_SEED = 11
_MAX_NETWORKS = 2_000

Query = tuple[str, str, RequestFacts]


def networks_of(rules: int) -> int:
    """How many networks a policy of this size has."""
    return max(1, min(rules // 10, _MAX_NETWORKS))


def write_policy(folder: Path, rules: int, listed: int, *, domain: str = "example.net", last_rules: str = "") -> Path:
    """A policy with every kind of identity, and a list of lost devices.

    `domain`: of the devices. `last_rules`: further ones, in YAML.
    """
    networks = networks_of(rules)
    lines = ["version: 2", "networks:"]
    lines += [f"  n{n}: {{ssid: [s{n}], nas: [10.{n // 256}.{n % 256}.0/24]}}" for n in range(networks)]
    lines += ["device_lists: {lost: lost.txt}", "zones: {home: {vlan: 42, session: {timeout: 8h}}}", "rules:"]
    lines.append("  - {name: lost, devices: lost, refuse: reported lost}")
    kinds = (
        "identity: ['cam-{n:06}-*.camera._device.{domain}']",
        "identity: ['*.lock{n:06}._device.{domain}']",
        "identity: ['*.site._device.{domain}'], networks: [n{network}]",
        "identity: ['d{n:06}.tv._device.{domain}', '*-x{n:06}-*.tv._device.{domain}']",
    )
    for n in range(rules):
        what = kinds[n % len(kinds)].format(n=n, network=n // len(kinds) % networks, domain=domain)
        lines.append(f"  - {{name: r{n}, {what}, zone: home}}")
    lines.append(f"{last_rules}  - {{name: rest, default: true, refuse: true}}\n")
    with open(folder / "lost.txt", "w") as file:
        file.writelines(f"l{n:07}.gone._device.example.org\n" for n in range(listed))
    path = folder / "policy.yaml"
    path.write_text("\n".join(lines))
    return path


def queries(rules: int, listed: int) -> Iterator[Query]:
    """Devices at places, by what decides about them."""
    chance = random.Random(_SEED)
    networks = networks_of(rules)
    hostile = (
        "a" * 63 + ".camera._device.example.net",
        "-x1-" * 15 + ".tv._device.example.net",
        ".".join("a" * 100) + ".tv._device.example.net",
        "cam-1-" * 10 + ".camera._device.example.net",
    )
    for _ in range(_QUERIES):
        n = chance.randrange(rules) // 4 * 4
        network = chance.randrange(networks)
        place = RequestFacts(f"s{network}", "ap", f"10.{network // 256}.{network % 256}.9", "Wireless-802.11")
        yield chance.choice(
            (
                ("glob", f"cam-{n:06}-77.camera._device.example.net", place),
                ("several stars", f"q-x{n + 3:06}-u.tv._device.example.net", place),
                ("group", f"d9.lock{n + 1:06}._device.example.net", place),
                ("exact", f"d{n + 3:06}.tv._device.example.net", place),
                ("network", "zz.site._device.example.net", place),
                ("list", f"l{chance.randrange(max(listed, 1)):07}.gone._device.example.org", place),
                ("unknown", f"u{n:06}.other._device.example.com", place),
                ("hostile", chance.choice(hostile), place),
            )
        )


def measure_matches(policy: Policy, asked: list[Query]) -> dict[str, Any]:
    """Microseconds of a match. Each device's time is the shortest of several rounds: other programs add to the rest."""
    best = [1 << 60] * len(asked)
    for _ in range(_ROUNDS):
        for number, (_, name, place) in enumerate(asked):
            began = time.perf_counter_ns()
            policy.match(name, place, now=_NOW)
            best[number] = min(best[number], time.perf_counter_ns() - began)
    times = [nanoseconds / 1000 for nanoseconds in best]
    by_kind: dict[str, list[float]] = {}
    for (kind, _, _), microseconds in zip(asked, times, strict=True):
        by_kind.setdefault(kind, []).append(microseconds)
    return {
        "p50_us": percentile(times, 0.5),
        "p99_us": percentile(times, 0.99),
        "kinds": {kind: percentile(of, 0.99) for kind, of in sorted(by_kind.items())},
        "cold_p50_us": percentile(_cold_times(policy, asked), 0.5),
    }


def _cold_times(policy: Policy, asked: list[Query]) -> list[float]:
    filler = bytearray(_COLD_OCTETS)
    times = []
    for _, name, place in asked[:_COLD_QUERIES]:
        filler.count(1)
        began = time.perf_counter_ns()
        policy.match(name, place, now=_NOW)
        times.append((time.perf_counter_ns() - began) / 1000)
    return times


def resident_megabytes() -> float:
    """The memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def measure(rules: int, listed: int) -> dict[str, Any]:
    """The figures of one size."""
    with tempfile.TemporaryDirectory(prefix="dane-bench-policy-") as folder:
        path = write_policy(Path(folder), rules, listed)
        before, cpu, began = resident_megabytes(), time.process_time(), time.perf_counter()
        policy = load_policy(path)
        figures: dict[str, Any] = {
            "rules": rules,
            "listed": listed,
            "load_seconds": time.perf_counter() - began,
            "load_cpu_seconds": time.process_time() - cpu,
            "megabytes": resident_megabytes() - before,
        }
    gc.collect()
    gc.freeze()
    return figures | measure_matches(policy, list(queries(rules, listed)))


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
