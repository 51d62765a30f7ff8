"""Which names and domains a change is about. Pure."""

from __future__ import annotations

from dane_radius.core import Refused, normalize
from trust_sync.registries.messages import Change
from trust_sync.registries.published_anchor import read_domain
from trust_sync.shared import RegistryConfig, Trigger


class ForeignChange(ValueError):
    """A change is about a name or domain for which the registry does not speak. event: for the log."""

    def __init__(self, event: str, **fields: str) -> None:
        super().__init__(event)
        self.event, self.fields = event, fields


def changed_domain(change: Change, registry: RegistryConfig) -> str | None:
    """The domain whose names all have new keys. None: the change is no rollover. Raises ForeignChange."""
    if change.type != "rollover":
        return None
    try:
        return read_domain(change.domain, registry)
    except ValueError as error:
        raise ForeignChange("rollover of a domain that is not the registry's", error=str(error)) from error


def changed_name(change: Change, registry: RegistryConfig) -> tuple[str, Trigger] | None:
    """The name that a change is about, and why to look it up. None: it names none. Raises ForeignChange."""
    if change.name is None:
        return None
    try:
        name = normalize(change.name.encode("utf-8", "surrogatepass"))
    except Refused as error:
        raise ForeignChange("change of an unusable name", error=error.detail) from error
    if not registry.speaks_for(name):
        raise ForeignChange("change of a name that is not the registry's", name=name)
    return name, Trigger.REVOKED if change.type == "device.revoked" else Trigger.FEED
