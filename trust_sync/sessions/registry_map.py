"""Which registry speaks for a name. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dane_radius.core import identity_domain, is_within
from trust_sync.shared import RegistryConfig


class RegistryMap:
    """Finds the registry of a name. The domains of different registries do not overlap."""

    def __init__(self, registries: Sequence[RegistryConfig]) -> None:
        self._registries = list(registries)

    def registry_of(self, name: str) -> str | None:
        """The registry that speaks for a name. None: there is none."""
        return next((registry.name for registry in self._registries if registry.speaks_for(name)), None)

    def queue_key(self, name: str) -> str:
        """A key for all names that share a queue: those of a registry, or else those of an identity domain."""
        registry = self.registry_of(name)
        return f"registry {registry}" if registry is not None else identity_domain(name)

    def flush_domain(self, name: str) -> str:
        """The domain that is flushed instead of many of its names: the registry's domain, or the identity domain."""
        domains = (domain for registry in self._registries for domain in registry.domains)
        return next((domain for domain in domains if is_within(name, domain)), None) or identity_domain(name)
