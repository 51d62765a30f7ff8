"""What the handlers of the running service share."""

from __future__ import annotations

from dataclasses import dataclass, field

from operations.local.config import Settings
from operations.local.policy_file import PolicyFile
from operations.service.node_reports import Intake
from web_service.web import WebContext

# Anyone can ask for the metrics: counting devices must not be a way to occupy the database.
COUNTS_SECONDS = 5.0


class Turn:
    """Whether something is done again: once in `seconds` at most, however many ask."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next: float | None = None

    def due(self, now: float) -> bool:
        """Whether the caller is to do it. now: of a monotonic clock, in seconds."""
        if self._next is not None and now < self._next:
            return False
        self._next = now + self._seconds
        return True


@dataclass(kw_only=True)
class Context(WebContext):
    """The running service."""

    settings: Settings
    policy: PolicyFile
    counts: Turn = field(default_factory=lambda: Turn(COUNTS_SECONDS))

    @property
    def intake(self) -> Intake:
        return Intake(self.policy, self.settings.inventory)
