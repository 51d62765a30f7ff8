"""What a registry or the operations service reports about names, as the sessions room receives it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from policy import DeviceStanding


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


@dataclass(frozen=True)
class StandingNotice:
    """The standing of names has changed.

    domains: identity domains of makers of which that holds for every name. before: what counted before for a name, at
    a time in seconds since 1970. everything: any name may be concerned. told: whether the module uses the new standing
    already; if not, it does so within two seconds.
    """

    names: tuple[str, ...]
    domains: tuple[str, ...]
    before: Callable[[str, float], DeviceStanding | None]
    everything: bool = False
    told: bool = True
