"""The zone-signing name server, for what updates (RFC 2136) cannot do: new zones and new DNSSEC keys."""

from __future__ import annotations

from iot_registry.local.config import Settings
from iot_registry.signer.base import DnsSigner
from iot_registry.signer.knot import KnotSigner


def create_signer(settings: Settings) -> DnsSigner | None:
    """The configured signer; None: the operator makes zones and keys."""
    if settings.signer.kind == "none":
        return None
    zones_dir = settings.signer.zones_dir or settings.state_dir / "zones"
    return KnotSigner(settings.signer.conf, zones_dir, settings.signer.address)
