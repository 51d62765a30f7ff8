"""Prometheus metrics. Label values come from closed sets, never from names, and all are exported from the start."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from operations.core.reasons import ScimReason, StandingReason
from policy import Standing
from web_service.https import ServiceFace
from web_service.local import ServiceMetrics

REGISTRY = CollectorRegistry()
# Those that every service has.
SERVICE = ServiceMetrics("dane_operations", REGISTRY, ("api", "node", "scim", "other"), (*StandingReason, *ScimReason))
FACE = ServiceFace("dane-operations", "this service", "operations.web", SERVICE)

DEVICES = Gauge(
    "dane_operations_devices",
    "Devices whose standing is not plain normal, by standing.",
    ["standing"],
    registry=REGISTRY,
)
INVENTORY = Gauge(
    "dane_operations_inventory_devices",
    "Devices in the inventory, by whether a device has proven to hold the name.",
    ["proven"],
    registry=REGISTRY,
)
QUESTIONS = Gauge("dane_operations_open_questions", "Devices that wait for the answer of a person.", registry=REGISTRY)
SESSIONS = Gauge("dane_operations_sessions", "Live sessions that the nodes report.", registry=REGISTRY)
CHANGES = Counter(
    "dane_operations_standing_changes_total",
    "Changes of standing that this process has made, by who wanted them.",
    ["by"],
    registry=REGISTRY,
)
DECISIONS = Counter(
    "dane_operations_decisions_total",
    "Decisions of nodes, by result: taken, skipped (not about a device) or lost (the node could not send them).",
    ["result"],
    registry=REGISTRY,
)
RULE_HITS = Counter(
    "dane_operations_rule_changes_total",
    "Changes of standing that a rule of the policy file has made.",
    registry=REGISTRY,
)
POLICY_VALID = Gauge(
    "dane_operations_policy_valid",
    "1: the policy file is valid, or none is configured. 0: it is not, and the last valid one is in force.",
    registry=REGISTRY,
)

# A counter that is exported at 0 makes its first increase visible to rate() and increase().
for _standing in Standing:
    DEVICES.labels(_standing)
for _proven in ("yes", "no"):
    INVENTORY.labels(_proven)
for _by in ("person", "monitor", "rule", "expiry", "approval"):
    CHANGES.labels(_by)
for _result in ("taken", "skipped", "lost"):
    DECISIONS.labels(_result)
POLICY_VALID.set(1)
