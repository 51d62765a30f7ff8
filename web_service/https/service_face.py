"""How a service names itself to clients and in its log."""

from __future__ import annotations

from dataclasses import dataclass

from web_service.local.metrics import ServiceMetrics


@dataclass(frozen=True)
class ServiceFace:
    """name: as in `iot-registry`; it is in the types of problems. noun: in sentences, such as `the registry`.

    logger: name of the log. metrics: those of the service.
    """

    name: str
    noun: str
    logger: str
    metrics: ServiceMetrics
