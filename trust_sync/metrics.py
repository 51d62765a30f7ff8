"""Prometheus metrics of the worker. Label values come from closed sets or from the configuration."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

from dane_radius.core import AnchorSource
from trust_sync import __version__
from trust_sync.radius import Result
from trust_sync.reasons import Reason, State
from trust_sync.retirement import DISCOVERED
from trust_sync.standing import Cause

_DISCOVERY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
_REVOCATION_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0, 3600.0)
SOURCE_FAILURES = ("connect", "tls", "timeout", "status", "unauthorized", "malformed", "too_large", "store", "internal")


class Metrics:
    """Every metric of the worker, in a registry of its own. Every series exists from the start."""

    def __init__(self, registries: list[str]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        info = Gauge("trust_sync_build_info", "Version of the worker.", ["version"], registry=self.registry)
        info.labels(__version__).set(1)
        self.anchors = Gauge(
            "trust_sync_anchors", "Trust anchors in force, by source.", ["source"], registry=self.registry
        )
        self.anchors_expired = Gauge(
            "trust_sync_anchors_expired", "Anchors in force whose certificate has expired.", registry=self.registry
        )
        self.last_success = Gauge(
            "trust_sync_source_last_success_seconds",
            "When a registry was last heard, in seconds since 1970; 0: never.",
            ["source"],
            registry=self.registry,
        )
        self.source_failures = Counter(
            "trust_sync_source_failures",
            "Failed attempts to hear a registry, by reason.",
            ["source", "reason"],
            registry=self.registry,
        )
        self.anchors_refused = Counter(
            "trust_sync_anchors_refused",
            "Anchors of registries that were not installed, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.refreshed = Gauge(
            "trust_sync_refresh_last_success_seconds",
            "When something discovered was last refreshed, by its source, in seconds since 1970; 0: never.",
            ["source"],
            registry=self.registry,
        )
        self.refresh_failures = Counter(
            "trust_sync_refresh_failures",
            "Failed attempts to look again at what was discovered, by reason. What was found stays.",
            ["reason"],
            registry=self.registry,
        )
        self.names_tended = Gauge(
            "trust_sync_names_tended",
            "Names whose anchors are looked at again on schedule.",
            registry=self.registry,
        )
        self.anchors_unbacked = Gauge(
            "trust_sync_anchors_unbacked",
            "Discovered anchors to which no name is known to lead; they go after retire_after.",
            registry=self.registry,
        )
        self.discoveries = Counter(
            "trust_sync_discoveries", "Discoveries, by outcome.", ["state", "reason"], registry=self.registry
        )
        self.discovery_seconds = Histogram(
            "trust_sync_discovery_seconds",
            "Time of discoveries that came as far as the DNS.",
            buckets=_DISCOVERY_SECONDS,
            registry=self.registry,
        )
        self.revocations = Counter(
            "trust_sync_revocations",
            "Names whose live sessions were ended, by cause.",
            ["cause"],
            registry=self.registry,
        )
        self.revocation_seconds = Histogram(
            "trust_sync_revocation_seconds",
            "From the notice (feed event, or failed look) to the NAS's acknowledgement.",
            buckets=_REVOCATION_SECONDS,
            registry=self.registry,
        )
        self.disconnects = Counter(
            "trust_sync_disconnects", "Disconnect- and CoA-Requests, by result.", ["result"], registry=self.registry
        )
        self.disconnects_pending = Gauge(
            "trust_sync_disconnects_pending", "Sessions that should be over and are not.", registry=self.registry
        )
        self.names_watched = Gauge("trust_sync_names_watched", "Names with live sessions.", registry=self.registry)
        self.sessions_unavailable = Counter(
            "trust_sync_sessions_unavailable",
            "Times that the accounting database could not be read.",
            registry=self.registry,
        )
        self.flush_failures = Counter(
            "trust_sync_flush_failures",
            "Caches that could not be told to forget a name.",
            ["cache"],
            registry=self.registry,
        )
        self.store_failures = Counter(
            "trust_sync_store_failures",
            "Changes of the anchor store or the state file that failed (disk full).",
            registry=self.registry,
        )
        self._prepare(registries)

    def _prepare(self, registries: list[str]) -> None:
        for source in AnchorSource:
            self.anchors.labels(source)
            if source in DISCOVERED:
                self.refreshed.labels(source)
        for name in registries:
            self.last_success.labels(name)
            for failure in SOURCE_FAILURES:
                self.source_failures.labels(name, failure)
        for reason in Reason:
            match reason:
                case Reason.INSTALLED:
                    state = State.FOUND
                case Reason.ANCHOR_KNOWN:
                    state = State.KNOWN
                case Reason.STILL_LOOKING:
                    continue
                case _:
                    state = State.REFUSED
            self.discoveries.labels(state, reason)
            if state is State.REFUSED:
                self.refresh_failures.labels(reason)
        for reason_text in ("not_a_certificate", "not_a_ca", "too_complex", "outside_domain", "shadows", "too_many"):
            self.anchors_refused.labels(reason_text)
        for cause in Cause:
            self.revocations.labels(cause)
        for result in Result:
            self.disconnects.labels(result)
        for cache in ("unbound", "module"):
            self.flush_failures.labels(cache)
