"""Figures: percentiles, what a run comes to, bars, and tables. Pure."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.eap_client import Verdict
from tests.bench.load import Outcome, Run

# How much of plain EAP-TLS a storm may take, and how many DNS round trips more.
STORM_FACTOR, STORM_ROUND_TRIPS = 1.3, 3
BLACK_HOLE_FACTOR = 2.0
CPU_FACTOR = 1.25


def percentile(values: Collection[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all values do not exceed; NaN of nothing."""
    if not 0 <= share <= 1:
        raise ValueError(f"{share} is not a share")
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Counts and times. The percentiles are those of accepted devices, in milliseconds; None when there is none.

    last_in: when the last accepted device was in, in seconds after the run's begin.
    """
    verdicts = Counter(outcome.verdict for outcome in outcomes)
    accepted = [outcome for outcome in outcomes if outcome.accepted]
    refused = [1000 * outcome.seconds for outcome in outcomes if outcome.verdict is Verdict.REJECTED]
    times = [1000 * outcome.seconds for outcome in accepted]
    return {
        "authentications": len(outcomes),
        **{verdict.value: verdicts[verdict] for verdict in Verdict},
        **_percentiles(times, ""),
        "rejected_p50_ms": percentile(refused, 0.5) if refused else None,
        "last_in": max((outcome.ended for outcome in accepted), default=None),
        "retransmissions": sum(outcome.retransmissions for outcome in outcomes),
        "why": dict(Counter(o.why or o.verdict.value for o in outcomes if not o.accepted).most_common(5)),
    }


def _percentiles(times: Collection[float], prefix: str) -> dict[str, float | None]:
    shares = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1.0}
    return {prefix + name: percentile(times, share) if times else None for name, share in shares.items()}


def cost(run: Run, server_cpu: float, dns_cpu: float, machine_cpu: float, cores: int) -> dict[str, float]:
    """What a run took: milliseconds of CPU per authentication, of the server, the DNS and the generator itself.

    others_share: what programs that have nothing to do with the run took of the processors (0 to 1).
    """
    number = max(1, len(run.outcomes))
    others = machine_cpu - server_cpu - dns_cpu - run.cpu
    return {
        "seconds": run.seconds,
        "server_cpu_ms": 1000 * server_cpu / number,
        "dns_cpu_ms": 1000 * dns_cpu / number,
        "generator_cpu_ms": 1000 * run.cpu / number,
        "generator_lag_ms": 1000 * run.lag,
        "others_share": max(0.0, others / (cores * run.seconds)),
    }


def others_text(rows: Sequence[dict[str, Any]]) -> str:
    """How much of the machine something else had: figures of a busy machine are not worth much."""
    shares = [row["others_share"] for row in rows]
    return (
        f"  other programs had {100 * statistics.median(shares):.0f} % of the processors (median of the runs), "
        f"{100 * max(shares):.0f} % at most"
    )


def refused_beyond_plain(plain: Iterable[Outcome], module: Iterable[Outcome]) -> int:
    """How many devices plain EAP-TLS admitted, and the module refused at least once."""
    refused = {outcome.device.station for outcome in module if not outcome.accepted}
    return len(refused & {outcome.device.station for outcome in plain if outcome.accepted})


@dataclass(frozen=True)
class Bar:
    """A bar, what was found, and whether it is met."""

    name: str
    met: bool
    found: str
    wanted: str


def storm_bar(name: str, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], round_trip: float) -> Bar:
    """All accepted at the first try, and the last one in no later than 1.3 x plain + 3 DNS round trips (medians).

    pairs: summaries of plain and of the module, a pair a round.
    """
    module = [ours for _, ours in pairs]
    missing = sum(ours["authentications"] - ours["accepted"] for ours in module)
    total = sum(ours["authentications"] for ours in module)
    theirs = statistics.median(_last_in(plain) for plain, _ in pairs)
    last = statistics.median(_last_in(ours) for ours in module)
    limit = STORM_FACTOR * theirs + STORM_ROUND_TRIPS * round_trip
    return Bar(
        name,
        missing == 0 and last <= limit,
        f"{total - missing} of {total} accepted, the last one in after {last:.2f} s (plain {theirs:.2f} s)",
        f"all, within {limit:.2f} s",
    )


def _last_in(one: dict[str, Any]) -> float:
    return math.inf if one["last_in"] is None else float(one["last_in"])


def all_accepted_bar(name: str, one: dict[str, Any]) -> Bar:
    found = f"{one['accepted']} of {one['authentications']} accepted"
    return Bar(name, one["accepted"] == one["authentications"] > 0, found, "all")


def p99_bar(name: str, alone: dict[str, Any], beside: dict[str, Any]) -> Bar:
    """The healthy zone's p99 beside a dead one, against its p99 alone; and all of its devices are in."""
    if alone["p99_ms"] is None or beside["p99_ms"] is None:
        return Bar(name, False, "nobody was accepted", f"at most {BLACK_HOLE_FACTOR:g} x alone")
    limit = BLACK_HOLE_FACTOR * alone["p99_ms"]
    complete = beside["accepted"] == beside["authentications"]
    return Bar(
        name,
        complete and beside["p99_ms"] <= limit,
        f"p99 {beside['p99_ms']:.1f} ms (alone {alone['p99_ms']:.1f} ms), "
        f"{beside['accepted']} of {beside['authentications']} accepted",
        f"at most {limit:.1f} ms, all accepted",
    )


def nothing_more_refused_bar(refused: int) -> Bar:
    return Bar("nothing refused that plain admits", refused == 0, f"{refused} devices", "0")


def cpu_bar(name: str, ratios: Sequence[float]) -> Bar:
    ratio = statistics.median(ratios)
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return Bar(name, ratio <= CPU_FACTOR, f"x {ratio:.2f} of plain ({spread})", f"at most x {CPU_FACTOR:g}")


def bars_as_dicts(bars: Iterable[Bar]) -> list[dict[str, Any]]:
    return [asdict(bar) for bar in bars]


Column = tuple[str, Callable[[dict[str, Any]], str]]


def table(columns: Sequence[Column], rows: Iterable[dict[str, Any]]) -> str:
    """A plain-text table: the first column to the left, figures to the right."""
    cells = [[title for title, _ in columns], *([text(row) for _, text in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        padded = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        padded[0] = line[0].ljust(widths[0])
        lines.append("  " + "  ".join(padded).rstrip())
    return "\n".join(lines)


def key(name: str, digits: int | None = None) -> Callable[[dict[str, Any]], str]:
    """A column's cell: the row's value of that name, with so many decimal places; "-" where there is none."""

    def text(row: dict[str, Any]) -> str:
        value = row.get(name)
        if value is None:
            return "-"
        return str(value) if digits is None else f"{value:.{digits}f}"

    return text


def accepted_of(row: dict[str, Any]) -> str:
    return f"{row['accepted']}/{row['authentications']}"


def bars_text(bars: Iterable[dict[str, Any]]) -> str:
    """A line for each bar."""
    return "\n".join(
        f"  {'met    ' if bar['met'] else 'NOT MET'}  {bar['name']}: {bar['found']}; wanted: {bar['wanted']}"
        for bar in bars
    )


def medians(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row of several rounds: counts are added up, of other numbers the median; the rest is the first row's."""
    counts = {"authentications", *(verdict.value for verdict in Verdict)}
    middle: dict[str, Any] = {}
    for name, first in rows[0].items():
        values = [row[name] for row in rows if isinstance(row[name], int | float)]
        if name in counts:
            middle[name] = sum(values)
        elif values and len(values) == len(rows):
            middle[name] = statistics.median(values)
        else:
            middle[name] = first
    return middle
