"""Prometheus metrics. Label values come from closed sets, and are there from the start: never a name."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from iot_registry.errors import Drop, Reason

REGISTRY = CollectorRegistry()

PUBLICATIONS = Counter(
    "iot_registry_publications_total",
    "Names sent to the DNS, by result: confirmed, refused (the server's error) or failed (no answer).",
    ["result"],
    registry=REGISTRY,
)
PUBLICATION_SECONDS = Histogram(
    "iot_registry_publication_seconds",
    "From the database's commit to the DNS serving it.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
    registry=REGISTRY,
)
PUBLISHER_ERRORS = Counter(
    "iot_registry_publisher_errors_total",
    "Rounds of the publisher that failed as a whole.",
    registry=REGISTRY,
)
RECONCILED = Counter(
    "iot_registry_reconciled_total",
    "Names found different in a zone: wrong (queued again) or unknown (deleted).",
    ["kind"],
    registry=REGISTRY,
)
DATABASE_UP = Gauge(
    "iot_registry_database_up",
    "1: the database answered this scrape; 0: it did not, and what is counted from it is left as it was.",
    registry=REGISTRY,
)
OUTBOX_PENDING = Gauge("iot_registry_outbox_pending", "Outbox entries that wait for the DNS.", registry=REGISTRY)
OUTBOX_OLDEST_SECONDS = Gauge(
    "iot_registry_outbox_oldest_seconds", "Age of the oldest outbox entry; 0: none.", registry=REGISTRY
)
FEED_SEQ = Gauge("iot_registry_feed_sequence", "Number of the last change.", registry=REGISTRY)
FEED_CONSUMERS = Gauge("iot_registry_feed_consumers", "Open streams and long polls.", registry=REGISTRY)
DEVICES = Gauge("iot_registry_devices", "Devices by status.", ["status"], registry=REGISTRY)
CA_EXPIRY_SECONDS = Gauge(
    "iot_registry_ca_expiry_seconds",
    "Until the first CA ends that certificates are issued under now, the root included.",
    registry=REGISTRY,
)
ENROLLMENTS = Counter(
    "iot_registry_enrollments_total",
    "Certificates handed out (issued), handed out once more (again) or put off (waiting), by kind: initial or renewal.",
    ["kind", "result"],
    registry=REGISTRY,
)
REFUSALS = Counter("iot_registry_refusals_total", "Requests refused, by reason.", ["reason"], registry=REGISTRY)
REQUEST_SECONDS = Histogram(
    "iot_registry_request_seconds",
    "Time to answer, by kind of endpoint; without the change feed, which answers when something happens.",
    ["endpoint"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)

CONNECTIONS = Gauge(
    "iot_registry_connections", "Open connections, those in their handshake included.", registry=REGISTRY
)
CONNECTIONS_DROPPED = Counter(
    "iot_registry_connections_dropped_total",
    "Connections that were not let in, or cut off, by reason.",
    ["reason"],
    registry=REGISTRY,
)

# A counter that is there at 0 makes the first increase visible to rate() and increase().
for _result in ("confirmed", "refused", "failed"):
    PUBLICATIONS.labels(_result)
for _kind in ("wrong", "unknown"):
    RECONCILED.labels(_kind)
for _kind in ("initial", "renewal"):
    for _result in ("issued", "again", "waiting"):
        ENROLLMENTS.labels(_kind, _result)
for _reason in Reason:
    REFUSALS.labels(_reason)
for _endpoint in ("est", "pkix-cd", "api", "other"):
    REQUEST_SECONDS.labels(_endpoint)
for _drop in Drop:
    CONNECTIONS_DROPPED.labels(_drop)
