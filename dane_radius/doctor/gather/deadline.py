"""Probes that run at the same time, each with a deadline."""

from __future__ import annotations

from typing import TypeVar

import health_report
from dane_radius.local import ConfigError
from health_report import CannotTry

T = TypeVar("T")


class Pending(health_report.Pending[T]):
    """A probe in a thread of its own. The text of a `ConfigError` says all by itself."""

    explained = (CannotTry, ConfigError)
