"""What is remembered of discoveries over a restart. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class DiscoveredName:
    """A name, and the anchors to which its zone led at the last refresh. Times are seconds since 1970.

    due: the next refresh. last_success: the last refresh that reached the zone and, if needed, its authority URL.
    failures: consecutive failed refreshes since then.
    """

    fingerprints: list[str]
    due: float
    last_success: float = 0.0
    failures: int = 0
    last_error: str | None = None


@dataclass
class DiscoveryState:
    """names: the names that are refreshed.

    unbacked: since when no name leads to a holding (`<fingerprint> <domain>`), in seconds since 1970.
    """

    names: dict[str, DiscoveredName] = field(default_factory=dict)
    unbacked: dict[str, float] = field(default_factory=dict)
