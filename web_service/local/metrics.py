"""Prometheus metrics that every service has. Label values come from closed sets; all are exported from the start."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from web_service.core.drop_reasons import DropReason
from web_service.core.refusals import Reason, RefusalReason


class ServiceMetrics:
    """Connections, requests, refusals, consumers of the change feed, and whether the database answers.

    prefix: of the names. kinds: the kinds of endpoint. reasons: a service's own reasons beside `Reason`.
    """

    def __init__(
        self, prefix: str, registry: CollectorRegistry, kinds: Iterable[str], reasons: Iterable[RefusalReason] = ()
    ) -> None:
        self.database_up = Gauge(
            f"{prefix}_database_up",
            "1: the database answered this scrape. 0: it did not, and gauges that come from it are stale.",
            registry=registry,
        )
        self.feed_seq = Gauge(
            f"{prefix}_feed_sequence", "Sequence number of the last event of the change feed.", registry=registry
        )
        self.feed_consumers = Gauge(
            f"{prefix}_feed_consumers", "Open streams and long polls of the change feed.", registry=registry
        )
        self.refusals = Counter(
            f"{prefix}_refusals_total", "Requests refused, by reason.", ["reason"], registry=registry
        )
        self.request_seconds = Histogram(
            f"{prefix}_request_seconds",
            "Time to answer a request, by kind of endpoint; without the change feed, whose requests wait for events.",
            ["endpoint"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=registry,
        )
        self.connections = Gauge(
            f"{prefix}_connections", "Open connections, including those in the TLS handshake.", registry=registry
        )
        self.connections_dropped = Counter(
            f"{prefix}_connections_dropped_total",
            "Connections that the service refused or ended, by reason.",
            ["reason"],
            registry=registry,
        )
        # A counter that is exported at 0 makes its first increase visible to rate() and increase().
        for reason in (*Reason, *reasons):
            self.refusals.labels(reason)
        for kind in kinds:
            self.request_seconds.labels(kind)
        for drop in DropReason:
            self.connections_dropped.labels(drop)
