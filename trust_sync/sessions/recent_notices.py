"""Recent notices of registries, for sessions that accounting shows only later. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dane_radius.local import RecentlySeen
from trust_sync.sessions.registry_map import RegistryMap
from trust_sync.shared import RegistryConfig, Trigger

# A session appears in accounting some time after its authentication. Notices apply to it for this long.
_REMEMBERED_SECONDS = 120.0
_MAX_REMEMBERED = 10_000
# The more important one first. A rollover does not concern a session that began after it.
_REMEMBERED_TRIGGERS = (Trigger.REVOKED, Trigger.FEED)


class RecentNotices:
    """The names that each registry reported recently, up to a limit for each registry.

    The name of a new session is always looked up. A recent notice makes that lookup repeat while the DNS lags behind.
    """

    def __init__(self, registry_map: RegistryMap, registries: Sequence[RegistryConfig]) -> None:
        self._registry_map = registry_map
        self._reported = {
            registry.name: {t: RecentlySeen(_REMEMBERED_SECONDS, _MAX_REMEMBERED) for t in _REMEMBERED_TRIGGERS}
            for registry in registries
        }

    def add(self, registry: str, name: str, trigger: Trigger, now: float) -> None:
        """Remember what a registry reported of a name."""
        if trigger in _REMEMBERED_TRIGGERS:
            self._reported[registry][trigger].add(name, now)

    def trigger_for(self, name: str, now: float) -> Trigger:
        """Why the name of a new session is looked up."""
        registry = self._registry_map.registry_of(name)
        reported = self._reported[registry] if registry is not None else {}
        return next((trigger for trigger, names in reported.items() if (name, now) in names), Trigger.TTL)
