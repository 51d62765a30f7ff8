"""A new device, or one that gets a new token, with the bundle that goes to it."""

from __future__ import annotations

import datetime as dt

from sqlalchemy.orm import Session

from iot_registry.config import Settings
from iot_registry.service import bundles, devices
from iot_registry.service.access import Principal
from iot_registry.service.schemas import DeviceCreate, DeviceCreated, Rehome
from iot_registry.store.models import Device


class Registration:
    """What a bundle needs besides the database."""

    def __init__(self, settings: Settings, server_anchor_pem: str) -> None:
        self._settings = settings
        self._anchor = server_anchor_pem

    def create(self, session: Session, who: Principal, wanted: DeviceCreate, now: dt.datetime) -> DeviceCreated:
        """Register a device. Raises Refused."""
        device = devices.create(session, who, wanted, self._settings.default_domain, now)
        return self._answer(session, who, device, now, token=wanted.token)

    def rehome(self, session: Session, who: Principal, name: str, wanted: Rehome, now: dt.datetime) -> DeviceCreated:
        """Move a device to another domain, with a token for its new name. Raises Refused."""
        device = devices.rehome(session, who, name, wanted.domain, wanted.immediate, now)
        return self._answer(session, who, device, now)

    def new_token(self, session: Session, who: Principal, name: str, now: dt.datetime) -> DeviceCreated:
        """A new token for a device; earlier ones stop working. Raises Refused."""
        return self._answer(session, who, devices.find(session, who, name, lock=True), now)

    def _answer(
        self, session: Session, who: Principal, device: Device, now: dt.datetime, *, token: bool = True
    ) -> DeviceCreated:
        bundle = expires = None
        if token:
            row, secret = devices.issue_token(session, who, device, now, self._settings.enrollment.token_hours)
            expires = row.expires_at
            bundle = bundles.encode(self._settings, device.name, device.domain.name, secret, expires, self._anchor)
        session.flush()
        return DeviceCreated(device=devices.views(session, [device])[0], bundle=bundle, expires=expires)
