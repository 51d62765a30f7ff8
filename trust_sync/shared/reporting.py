"""Where a component reports to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from dane_radius.local import Logger

MetricsT = TypeVar("MetricsT")


@dataclass(frozen=True)
class Reporting(Generic[MetricsT]):
    """The metrics of a room, and the log."""

    metrics: MetricsT
    log: Logger
