"""The module's Prometheus metrics. Label values come from closed sets; a device's name is never one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dane_radius import __version__
from dane_radius.core.reasons import ReasonCode, Verdict
from dane_radius.core.ruling import Decision
from dane_radius.server.hint import HintResult

if TYPE_CHECKING:
    from dane_radius.dns.lookups import Lookups
    from dane_radius.local.standing_table import StandingTable
    from dane_radius.server.waits import Waits

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)

# Zones are words of an operator. More of them than this are counted together.
_MAX_ZONES = 64


class Metrics:
    """Every metric of the module, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        decisions = Counter(
            "dane_radius_decisions",
            "Decisions about client certificates. monitored: would have been a reject.",
            ["verdict", "reason", "monitored"],
            registry=self.registry,
        )
        # Every series exists from the start, so that an alert on a reason that has not occurred yet sees 0.
        self._decisions = {
            (reason, False): decisions.labels(
                Verdict.ACCEPT if reason is ReasonCode.DANE_MATCH else Verdict.REJECT, reason, "false"
            )
            for reason in ReasonCode
        }
        self._decisions |= {
            (reason, True): decisions.labels(Verdict.ACCEPT, reason, "true")
            for reason in ReasonCode
            if reason not in (ReasonCode.DANE_MATCH, ReasonCode.INTERNAL_ERROR)
        }
        self._seconds = Histogram(
            "dane_radius_decision_seconds",
            "Time from the module's call to its answer, DNS included.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._admissions = Counter(
            "dane_radius_admissions",
            "Accepts by the zone of the policy file that the device gets; none: a rule without a zone; other: a zone "
            f"beyond the first {_MAX_ZONES}.",
            ["zone"],
            registry=self.registry,
        )
        self._zones: frozenset[str] = frozenset()
        self.policy_reloads = Counter(
            "dane_radius_policy_reloads",
            "Times that the policy file changed, by result.",
            ["result"],
            registry=self.registry,
        )
        for result in ("loaded", "broken"):
            self.policy_reloads.labels(result)
        self.policy_broken = Gauge(
            "dane_radius_policy_file_broken",
            "1 while the policy file on disk cannot be used and an older policy is in force.",
            registry=self.registry,
        )
        self.anchors = Gauge("dane_radius_anchors", "Trust anchors in force.", registry=self.registry)
        self.sessions_swept = Counter(
            "dane_radius_session_files_swept",
            "TLS session files removed because no decision had used them up.",
            registry=self.registry,
        )
        self.unlogged = Counter(
            "dane_radius_decisions_unlogged",
            "Decisions that were made but not reported, because the log took no more.",
            registry=self.registry,
        )
        self.accepts_not_sent = Counter(
            "dane_radius_accepts_not_sent",
            "Accepts that FreeRADIUS did not send, because something behind the decision refused the device.",
            registry=self.registry,
        )
        self.hints = Counter(
            "dane_radius_hints",
            "Hints to trust-sync about identities without an anchor, by result.",
            ["result"],
            registry=self.registry,
        )
        for hint_result in HintResult:
            self.hints.labels(hint_result)
        info = Gauge("dane_radius_build_info", "Version of the module.", ["version"], registry=self.registry)
        info.labels(__version__).set(1)

    def count(self, decision: Decision, seconds: float) -> None:
        """Count one decision."""
        self._decisions[decision.ruling.reason, decision.ruling.monitored].inc()
        self._seconds.observe(seconds)
        if decision.accepted:
            zone = decision.ruling.evidence.zone
            self._admissions.labels("none" if zone is None else zone if zone in self._zones else "other").inc()

    def set_zones(self, zones: Iterable[str]) -> None:
        """Count accepts by these zones. Their number is limited, as a policy file may be changed often."""
        known = dict.fromkeys([*sorted(self._zones), *sorted(zones)])
        self._zones = frozenset(list(known)[:_MAX_ZONES])
        for zone in ("none", "other", *self._zones):
            self._admissions.labels(zone)

    def watch_standing(self, table: StandingTable) -> None:
        """Report what the standing journal says at each scrape."""
        self.registry.register(_StandingCollector(table))

    def watch(self, lookups: Lookups, waits: Waits[Any]) -> None:
        """Report the counters of lookups and waits at each scrape. They are not counted again per authentication."""
        self.registry.register(_LookupCollector(lookups, waits))


class _LookupCollector(Collector):
    def __init__(self, lookups: Lookups, waits: Waits[Any]) -> None:
        self._lookups, self._waits = lookups, waits

    def collect(self) -> Iterable[Metric]:
        counts, waits = self._lookups.counts, self._waits.counts
        yield _counter(
            "dane_radius_tlsa_answers",
            "Questions about TLSA records that started no lookup. hit: cached; shared: with a lookup under way; "
            "stale: expired, under stale_grace; overloaded: refused, because too much was under way.",
            "result",
            {"hit": counts.hits, "shared": counts.shared, "stale": counts.stale, "overloaded": counts.overloaded},
        )
        yield _counter(
            "dane_radius_tlsa_lookups",
            "Lookups of TLSA records that were started, by what asked for them.",
            "cause",
            {str(cause): count for cause, count in counts.started.items()},
        )
        yield _counter(
            "dane_radius_dns_waits",
            "Requests that waited for the DNS, by how the wait ended. cut_short: without an answer, before its time. "
            "abandoned: FreeRADIUS gave the request up.",
            "result",
            {
                "answered": waits.answered,
                "timed_out": waits.timed_out,
                "cut_short": waits.cut_short,
                "abandoned": waits.abandoned,
            },
        )
        yield _counter(
            "dane_radius_dns_waits_refused",
            "Requests that could not wait for the DNS, by what was full: all places, those of a domain that does not "
            "answer or of all such domains, those of domains that are not known, or the process's descriptors.",
            "full",
            {str(limit): count for limit, count in waits.refused.items()},
        )
        yield CounterMetricFamily(
            "dane_radius_dns_wait_seconds", "Time that requests have waited for the DNS, all together.", waits.seconds
        )
        yield CounterMetricFamily(
            "dane_radius_refreshes_dropped",
            "Refreshes ahead of expiry that found no place; the next device waits for the DNS.",
            counts.refreshes_dropped,
        )
        cache = self._lookups.cache
        yield CounterMetricFamily(
            "dane_radius_cache_evictions", "Answers dropped because the cache was full.", cache.evictions
        )
        yield GaugeMetricFamily("dane_radius_cache_entries", "Names in the cache.", len(cache))
        yield GaugeMetricFamily("dane_radius_cache_bytes", "Memory that the cache takes, estimated.", cache.octets)
        yield GaugeMetricFamily("dane_radius_dns_waiting", "Requests that wait for the DNS.", len(self._waits))
        yield GaugeMetricFamily("dane_radius_dns_lookups_under_way", "Lookups under way.", self._lookups.under_way)
        yield GaugeMetricFamily(
            "dane_radius_slow_domains",
            "Identity domains that leave their lookups unanswered.",
            self._lookups.count_slow_domains(),
        )


class _StandingCollector(Collector):
    def __init__(self, table: StandingTable) -> None:
        self._table = table

    def collect(self) -> Iterable[Metric]:
        standings = self._table.standings
        devices = GaugeMetricFamily(
            "dane_radius_standing_devices", "Devices with an entry, by their standing.", labels=["standing"]
        )
        for standing, count in standings.counts.items():
            devices.add_metric([str(standing)], count)
        yield devices
        yield GaugeMetricFamily("dane_radius_standing_approved", "Approved devices.", standings.approved)
        yield GaugeMetricFamily("dane_radius_standing_makers", "Makers with an entry.", standings.makers)
        yield GaugeMetricFamily("dane_radius_standing_sequence", "The last change in force.", self._table.sequence)
        yield GaugeMetricFamily(
            "dane_radius_standing_available",
            "1 if the standing journal was ever read; 0: every device is refused.",
            float(self._table.available),
        )
        yield GaugeMetricFamily(
            "dane_radius_standing_broken",
            "1 while the standing journal cannot be used; the last known standing counts.",
            float(self._table.error is not None),
        )


def _counter(name: str, text: str, label: str, values: Mapping[str, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
