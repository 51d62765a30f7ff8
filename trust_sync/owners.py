"""Whose name a name is: one of the registries', or nobody's here but its identity domain's. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dane_radius.core import identity_domain, is_within
from dane_radius.local import RecentlySeen
from trust_sync.config import RegistryConfig
from trust_sync.standing import Trigger

# A session shows up in accounting some time after its authentication; what was said of its name holds for so long.
_REMEMBER_SECONDS = 120.0
_MAX_REMEMBERED = 10_000


class Owners:
    """Finds a name's registry. The domains of registries do not overlap."""

    def __init__(self, registries: Sequence[RegistryConfig]) -> None:
        self._registries = list(registries)

    def registry(self, name: str) -> str | None:
        """The registry that speaks for a name, None where none does."""
        return next((registry.name for registry in self._registries if registry.speaks_for(name)), None)

    def source(self, name: str) -> str:
        """A key for all names that may not delay those of others: of a registry, or of an identity domain."""
        registry = self.registry(name)
        return f"registry {registry}" if registry is not None else identity_domain(name)

    def domain(self, name: str) -> str:
        """The domain that is forgotten as a whole where many of its names are: as a registry has it, if one does."""
        domains = (domain for registry in self._registries for domain in registry.domains)
        return next((domain for domain in domains if is_within(name, domain)), None) or identity_domain(name)


class Notices:
    """What each registry said of names lately: of so many at the most, for a while.

    It is for sessions that accounting shows only afterwards. Every one is looked up when it shows up, whatever was
    said; a notice makes sure that the look is repeated while the DNS is behind.
    """

    def __init__(self, owners: Owners, registries: Sequence[RegistryConfig]) -> None:
        self._owners = owners
        self._said = {
            registry.name: {t: RecentlySeen(_REMEMBER_SECONDS, _MAX_REMEMBERED) for t in _KEPT}
            for registry in registries
        }

    def add(self, registry: str, name: str, trigger: Trigger, now: float) -> None:
        """Remember what a registry says."""
        if trigger in _KEPT:
            self._said[registry][trigger].add(name, now)

    def of(self, name: str, now: float) -> Trigger:
        """What a new session of a name is to be looked at for."""
        registry = self._owners.registry(name)
        said = self._said[registry] if registry is not None else {}
        return next((trigger for trigger, names in said.items() if (name, now) in names), Trigger.TTL)


# The weightier one first. A rollover is over for a session that began after it.
_KEPT = (Trigger.REVOKED, Trigger.FEED)
