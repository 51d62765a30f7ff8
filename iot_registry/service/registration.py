"""Registration of a device, a new token or a new name for it; each with the enrollment bundle for the device."""

from __future__ import annotations

import datetime as dt

from sqlalchemy.orm import Session

from iot_registry.local.config import Settings
from iot_registry.service import bundles, devices
from iot_registry.service.access import Principal
from iot_registry.service.schemas import DeviceCreate, DeviceCreated, Rehome
from iot_registry.store.models import Device


class Registration:
    """Registers devices and makes their bundles."""

    def __init__(self, settings: Settings, server_anchor_pem: str) -> None:
        self._settings = settings
        self._anchor = server_anchor_pem

    def create(self, session: Session, who: Principal, wanted: DeviceCreate, now: dt.datetime) -> DeviceCreated:
        """Register a device. Raises Refused."""
        device = devices.create(session, who, wanted, self._settings.default_domain, now)
        return self._created(session, who, device, now, token=wanted.token)

    def rehome(self, session: Session, who: Principal, name: str, wanted: Rehome, now: dt.datetime) -> DeviceCreated:
        """Move a device to another domain and make a token for its new name. Raises Refused."""
        device = devices.rehome(session, who, name, wanted.domain, wanted.immediate, now)
        return self._created(session, who, device, now)

    def new_token(self, session: Session, who: Principal, name: str, now: dt.datetime) -> DeviceCreated:
        """Make a new token for a device. Open tokens of it are cancelled. Raises Refused."""
        return self._created(session, who, devices.find(session, who, name, lock=True), now)

    def _created(
        self, session: Session, who: Principal, device: Device, now: dt.datetime, *, token: bool = True
    ) -> DeviceCreated:
        bundle = expires = None
        if token:
            row, secret = devices.issue_token(session, who, device, now, self._settings.enrollment.token_hours)
            expires = row.expires_at
            bundle = bundles.encode(self._settings, device.name, device.domain.name, secret, expires, self._anchor)
        session.flush()
        return DeviceCreated(device=devices.views(session, [device])[0], bundle=bundle, expires=expires)
