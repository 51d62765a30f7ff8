"""What a registry reports about names, as the sessions room receives it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Trigger(StrEnum):
    """Why a name is looked up: its TTL ended, or its registry reported a change, a revocation or a key rollover."""

    TTL = "ttl"
    FEED = "feed"
    REVOKED = "revoked"
    ROLLOVER = "rollover"


@dataclass(frozen=True)
class Notice:
    """A registry's report that the records of names may have changed.

    domains: domains of which every name may have changed.
    """

    registry: str
    names: Mapping[str, Trigger] = field(default_factory=dict)
    domains: Mapping[str, Trigger] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.names or self.domains)
