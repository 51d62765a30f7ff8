"""What the parts of this room have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from policy import DeviceStanding, Policy
from trust_sync.sessions.metrics import SessionMetrics
from trust_sync.shared import Config, Reporting


@dataclass(frozen=True)
class SessionContext:
    """Configuration, policy in force, reporting, clock, and the standing of devices.

    wall: seconds since 1970, as times outlive the process.
    """

    config: Config
    policy: Callable[[], Policy]
    reporting: Reporting[SessionMetrics]
    wall: Callable[[], float] = time.time
    standing_of: Callable[[str], DeviceStanding | None] = lambda name: None
