"""The outcome of a discovery, and the steps that led to it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dane_radius.core import AnchorSource
from trust_sync.discovery.reasons import DiscoveryStatus, Reason


@dataclass(frozen=True)
class Outcome:
    """The outcome of a discovery.

    fingerprint, source: of the first anchor found. also: fingerprints of further anchors in the same records. ttl:
    seconds until a refresh is useful.
    """

    name: str
    status: DiscoveryStatus
    reason: Reason
    detail: str
    steps: tuple[str, ...] = ()
    fingerprint: str | None = None
    source: AnchorSource | None = None
    ttl: float | None = None
    also: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The outcome as the socket, the log and the command line show it."""
        return {
            "name": self.name,
            "state": str(self.status),
            "reason": str(self.reason),
            "detail": self.detail,
            "steps": list(self.steps),
            "fingerprint": self.fingerprint,
            "source": str(self.source) if self.source else None,
        }


def refused(name: str, reason: Reason, detail: str, steps: tuple[str, ...] = ()) -> Outcome:
    """The outcome of a discovery that found nothing."""
    return Outcome(name, DiscoveryStatus.REFUSED, reason, detail, steps)


@dataclass
class SearchLog:
    """The steps of a search, and its first problem."""

    name: str
    steps: list[str] = field(default_factory=list)
    problem: tuple[Reason, str] | None = None

    def note(self, step: str) -> None:
        """Record a step."""
        self.steps.append(step)

    def fail(self, reason: Reason, detail: str) -> None:
        """Record a step that failed."""
        self.steps.append(f"{reason}: {detail}")
        self.problem = self.problem or (reason, detail)

    def refused(self, reason: Reason, detail: str) -> Outcome:
        """The outcome of a search that found nothing."""
        return refused(self.name, reason, detail, (*self.steps,))
