"""Prometheus metrics. Label values come from closed sets, never from names, and all are exported from the start."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from iot_registry.core.errors import CsrReason
from web_service.https import ServiceFace
from web_service.local import ServiceMetrics

REGISTRY = CollectorRegistry()
# Those that every service has.
SERVICE = ServiceMetrics("iot_registry", REGISTRY, ("est", "pkix-cd", "api", "other"), CsrReason)
FACE = ServiceFace("iot-registry", "the registry", "iot_registry.web", SERVICE)

PUBLICATIONS = Counter(
    "iot_registry_publications_total",
    "Names sent to the DNS, by result: confirmed, refused (the server answered with an error) or failed (no answer).",
    ["result"],
    registry=REGISTRY,
)
PUBLICATION_SECONDS = Histogram(
    "iot_registry_publication_seconds",
    "Time from the database commit until the DNS serves the change.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
    registry=REGISTRY,
)
PUBLISHER_ERRORS = Counter(
    "iot_registry_publisher_errors_total",
    "Publication rounds that failed as a whole.",
    registry=REGISTRY,
)
RECONCILED = Counter(
    "iot_registry_reconciled_total",
    "Names whose records in a zone differed from the database: wrong (queued again) or unknown (deleted).",
    ["kind"],
    registry=REGISTRY,
)
OUTBOX_PENDING = Gauge(
    "iot_registry_outbox_pending", "Outbox entries that the DNS does not serve yet.", registry=REGISTRY
)
OUTBOX_OLDEST_SECONDS = Gauge(
    "iot_registry_outbox_oldest_seconds", "Age of the oldest outbox entry; 0: there is none.", registry=REGISTRY
)
DEVICES = Gauge("iot_registry_devices", "Devices by status.", ["status"], registry=REGISTRY)
CA_EXPIRY_SECONDS = Gauge(
    "iot_registry_ca_expiry_seconds",
    "Time until the first CA in use for issuing expires, the root included.",
    registry=REGISTRY,
)
ENROLLMENTS = Counter(
    "iot_registry_enrollments_total",
    "Certificates delivered (issued), delivered once more (again) or deferred with 202 (waiting), by kind.",
    ["kind", "result"],
    registry=REGISTRY,
)


# A counter that is exported at 0 makes its first increase visible to rate() and increase().
for _result in ("confirmed", "refused", "failed"):
    PUBLICATIONS.labels(_result)
for _kind in ("wrong", "unknown"):
    RECONCILED.labels(_kind)
for _kind in ("initial", "renewal"):
    for _result in ("issued", "again", "waiting"):
        ENROLLMENTS.labels(_kind, _result)
