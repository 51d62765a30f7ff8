"""Percentiles, summaries, and bars: a figure within each, and one beyond."""

from __future__ import annotations

import math
import ssl
from typing import Any

import pytest

from tests.bench import report
from tests.bench.eap_client import Device, Verdict
from tests.bench.load import Outcome, Run, poisson

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def outcome(number: int, verdict: Verdict = Verdict.ACCEPTED, seconds: float = 0.01, began: float = 0.0) -> Outcome:
    why = None if verdict is Verdict.ACCEPTED else "EAP-Failure"
    return Outcome(Device(f"d{number}", "example", f"station-{number}", CONTEXT), verdict, began, seconds, 1, 4, why)


@pytest.mark.parametrize(
    ("values", "share", "wanted"),
    [
        ([5.0], 0.5, 5.0),
        ([1, 2, 3, 4], 0.5, 2),
        ([4, 3, 2, 1], 0.5, 2),
        ([1, 2, 3], 0.5, 2),
        (range(1, 101), 0.95, 95),
        (range(1, 101), 0.99, 99),
        (range(1, 101), 1.0, 100),
        (range(1, 101), 0.0, 1),
        (range(1, 1001), 0.99, 990),
    ],
)
def test_percentile(values: Any, share: float, wanted: float) -> None:
    assert report.percentile(values, share) == wanted


def test_percentile_of_nothing_is_no_number() -> None:
    assert math.isnan(report.percentile([], 0.5))


def test_percentile_takes_shares_only() -> None:
    with pytest.raises(ValueError, match="99 is not a share"):
        report.percentile([1], 99)


def test_summary_counts_everybody_and_times_the_accepted() -> None:
    found = report.summary(
        [
            outcome(1, seconds=0.010, began=1.0),
            outcome(2, seconds=0.030, began=0.5),
            outcome(3, Verdict.REJECTED, seconds=9.0),
            outcome(4, Verdict.TIMEOUT, seconds=10.0),
        ]
    )
    assert (found["accepted"], found["rejected"], found["timeout"], found["broken"]) == (2, 1, 1, 0)
    assert found["authentications"] == 4
    assert (found["p50_ms"], found["max_ms"]) == (10, 30)
    assert found["rejected_p50_ms"] == 9000
    assert found["last_in"] == pytest.approx(1.01)
    assert found["retransmissions"] == 4


def test_summary_of_nobody_accepted_has_no_times() -> None:
    found = report.summary([outcome(1, Verdict.REJECTED)])
    assert found["p99_ms"] is None
    assert found["last_in"] is None


def test_refused_beyond_plain_counts_devices_that_plain_admits() -> None:
    plain = [outcome(1), outcome(2), outcome(3, Verdict.REJECTED), outcome(4)]
    module = [
        outcome(1),
        outcome(2, Verdict.TIMEOUT),
        outcome(3, Verdict.REJECTED),
        outcome(4),
        outcome(4, Verdict.BROKEN),
    ]
    assert report.refused_beyond_plain(plain, module) == 2
    assert report.refused_beyond_plain(plain, plain) == 0


def storm(last_in: float | None, accepted: int = 100) -> dict[str, Any]:
    return {"authentications": 100, "accepted": accepted, "last_in": last_in}


@pytest.mark.parametrize(
    ("plain", "module", "met"),
    [
        (storm(1.0), storm(1.39), True),
        (storm(1.0), storm(1.40), False),
        (storm(1.0), storm(0.5, accepted=99), False),
        (storm(1.0), storm(None, accepted=0), False),
    ],
)
def test_a_storm_may_take_1_3_of_plain_and_three_round_trips(
    plain: dict[str, Any], module: dict[str, Any], met: bool
) -> None:
    # 1.3 x 1.0 s + 3 x 0.03 s = 1.39 s.
    bar = report.storm_bar("storm", [(plain, module)], 0.03)
    assert bar.met is met
    assert "1.39" in bar.wanted


def test_a_storms_bar_takes_the_middle_round_but_everybody_in_each() -> None:
    rounds = [(storm(1.0), storm(1.1)), (storm(1.0), storm(9.0)), (storm(1.0), storm(1.1))]
    assert report.storm_bar("storm", rounds, 0.0).met
    rounds[1] = (storm(1.0), storm(1.1, accepted=99))
    bar = report.storm_bar("storm", rounds, 0.0)
    assert not bar.met
    assert bar.found.startswith("299 of 300 accepted")


def test_steady_wants_everybody() -> None:
    assert report.all_accepted_bar("steady", {"accepted": 10, "authentications": 10}).met
    assert not report.all_accepted_bar("steady", {"accepted": 9, "authentications": 10}).met
    assert not report.all_accepted_bar("steady", {"accepted": 0, "authentications": 0}).met


def healthy(p99: float | None, accepted: int = 10) -> dict[str, Any]:
    return {"authentications": 10, "accepted": accepted, "p99_ms": p99}


@pytest.mark.parametrize(
    ("alone", "beside", "met"),
    [
        (healthy(5.0), healthy(10.0), True),
        (healthy(5.0), healthy(10.1), False),
        (healthy(5.0), healthy(5.0, accepted=9), False),
        (healthy(5.0), healthy(None, accepted=0), False),
        (healthy(None, accepted=0), healthy(5.0), False),
    ],
)
def test_a_dead_zone_may_double_the_healthy_ones_p99(alone: dict[str, Any], beside: dict[str, Any], met: bool) -> None:
    assert report.p99_bar("black hole", alone, beside).met is met


def test_cpu_and_refusals() -> None:
    assert report.cpu_bar("cpu", [1.0, 1.25, 9.0]).met
    assert not report.cpu_bar("cpu", [1.0, 1.26, 9.0]).met
    assert report.nothing_more_refused_bar(0).met
    assert not report.nothing_more_refused_bar(1).met


def test_a_table_shows_gaps_and_lines_up() -> None:
    rows: list[dict[str, Any]] = [{"name": "plain", "ms": 1.234}, {"name": "m", "ms": None}]
    assert report.table([("server", report.key("name")), ("ms", report.key("ms", 2))], rows).splitlines() == [
        "  server    ms",
        "  plain   1.23",
        "  m          -",
    ]


def test_bars_say_whether_they_are_met() -> None:
    bars = [report.nothing_more_refused_bar(0), report.nothing_more_refused_bar(3)]
    lines = report.bars_text(report.bars_as_dicts(bars)).splitlines()
    assert lines[0].startswith("  met ")
    assert lines[1].startswith("  NOT MET ")


def test_medians_add_counts_up() -> None:
    rows = [
        {"arm": "plain", "accepted": 10, "p99_ms": ms, "last_in": last}
        for ms, last in ((1.0, 1), (9.0, None), (2.0, 3))
    ]
    assert report.medians(rows) == {"arm": "plain", "accepted": 30, "p99_ms": 2.0, "last_in": 1}


def test_arrivals_are_the_same_for_the_same_seed() -> None:
    times = poisson(100, 20, 1)
    assert times == poisson(100, 20, 1) != poisson(100, 20, 2)
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 20
    assert 1800 < len(times) < 2200


def test_costs_are_per_authentication_and_show_who_else_was_busy() -> None:
    run = Run([outcome(1), outcome(2)], seconds=2.0, cpu=0.5, lag=0.003)
    found = report.cost(run, server_cpu=1.0, dns_cpu=0.5, machine_cpu=3.0, cores=2)
    assert found["server_cpu_ms"] == 500
    assert found["dns_cpu_ms"] == found["generator_cpu_ms"] == 250
    assert found["others_share"] == 0.25
    assert report.cost(run, 1.0, 0.5, 1.9, 2)["others_share"] == 0
    assert "25 % at most" in report.others_text([found])
