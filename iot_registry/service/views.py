"""Rows as answers, where no service function does it already."""

from __future__ import annotations

from iot_registry.service.schemas import KeyView
from iot_registry.store.models import ApiKey


def key_view(key: ApiKey) -> KeyView:
    return KeyView(
        id=key.id,
        label=key.label,
        scopes=list(key.scopes),
        domain=key.domain.name if key.domain else None,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
    )
