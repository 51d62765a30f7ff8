"""What the commands ask of a registry, and how they get it on its own machine: from the database, without a key.

`iot_registry.cli.remote` gets the same over the JSON API.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from iot_registry.config import Settings
from iot_registry.service import access, devices, domains, imports, keys, provision
from iot_registry.service import status as status_service
from iot_registry.service.access import Principal
from iot_registry.service.authorities import KeyStore, server_anchor
from iot_registry.service.registration import Registration
from iot_registry.service.schemas import (
    AuditList,
    DeviceCreate,
    DeviceCreated,
    DeviceDetail,
    DeviceList,
    DeviceSearch,
    DeviceView,
    DomainCreate,
    DomainCreated,
    DomainList,
    KeyCreate,
    KeyCreated,
    KeyList,
    KeyView,
    Rehome,
    Revoke,
    StatusView,
)
from iot_registry.signer import create_signer
from iot_registry.store.database import Database

POLL_SECONDS = 0.05


class Administration(Protocol):
    """A registry, as its administrators use it. Everything raises Refused.

    wait: seconds to wait for the DNS to agree; 0: none.
    """

    def create_device(self, wanted: DeviceCreate) -> DeviceCreated: ...

    def new_token(self, name: str) -> DeviceCreated: ...

    def list_devices(self, wanted: DeviceSearch) -> DeviceList: ...

    def show_device(self, name: str) -> DeviceDetail: ...

    def revoke_device(self, name: str, wanted: Revoke, wait: float) -> DeviceView: ...

    def restore_device(self, name: str, wait: float) -> DeviceView: ...

    def rehome_device(self, name: str, wanted: Rehome) -> DeviceCreated: ...

    def export_devices(self, domain: str | None) -> Iterator[dict[str, Any]]:
        """Every device with its certificates, one at a time."""

    def import_devices(self, entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """A result for each entry, in their order. entries: as `iot_registry.service.imports.run` takes them."""

    def create_domain(self, wanted: DomainCreate) -> DomainCreated: ...

    def list_domains(self) -> DomainList: ...

    def create_key(self, wanted: KeyCreate) -> KeyCreated: ...

    def list_keys(self) -> KeyList: ...

    def revoke_key(self, identifier: str) -> KeyView: ...

    def audit_log(self, after: int, limit: int) -> AuditList: ...

    def status(self) -> StatusView: ...


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class LocalAdministration:
    """See `Administration`. For whoever may read the state directory and the database: an administrator already."""

    def __init__(self, settings: Settings, database: Database, who: Principal, root_key: Path | None = None) -> None:
        self.settings = settings
        self.database = database
        self.principal = who
        self.store = KeyStore(settings, root_key)

    @property
    def server_anchor(self) -> str:
        """The PEM certificate that a client must trust to reach the server."""
        with self.database.read() as session:
            return server_anchor(session, self.settings)

    def _registration(self) -> Registration:
        return Registration(self.settings, self.server_anchor)

    def create_device(self, wanted: DeviceCreate) -> DeviceCreated:
        registration = self._registration()
        with self.database.write() as session:
            return registration.create(session, self.principal, wanted, now())

    def new_token(self, name: str) -> DeviceCreated:
        registration = self._registration()
        with self.database.write() as session:
            return registration.new_token(session, self.principal, name, now())

    def list_devices(self, wanted: DeviceSearch) -> DeviceList:
        with self.database.read() as session:
            page, following = devices.search(session, self.principal, **wanted.criteria())
        return DeviceList(devices=page, next=following)

    def show_device(self, name: str) -> DeviceDetail:
        with self.database.read() as session:
            return devices.detail(session, self.principal, name, now())

    def revoke_device(self, name: str, wanted: Revoke, wait: float) -> DeviceView:
        with self.database.write() as session:
            devices.revoke(session, self.principal, name, wanted.reason, now())
        return self._once_published(name, wait)

    def restore_device(self, name: str, wait: float) -> DeviceView:
        with self.database.write() as session:
            devices.restore(session, self.principal, name, now())
        return self._once_published(name, wait)

    def _once_published(self, name: str, seconds: float) -> DeviceView:
        """The device once the DNS agrees, or as it is after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            with self.database.read() as session:
                view = devices.views(session, [devices.find(session, self.principal, name)])[0]
            if not view.pending or time.monotonic() >= deadline:
                return view
            # The publisher is another process (`iot-registry serve`); all that the two share is the database.
            time.sleep(POLL_SECONDS)

    def rehome_device(self, name: str, wanted: Rehome) -> DeviceCreated:
        registration = self._registration()
        with self.database.write() as session:
            return registration.rehome(session, self.principal, name, wanted, now())

    def export_devices(self, domain: str | None) -> Iterator[dict[str, Any]]:
        with self.database.read() as session:
            yield from devices.export(session, self.principal, domain, now())

    def import_devices(self, entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for start in range(0, len(entries), imports.BATCH):
            batch = entries[start : start + imports.BATCH]
            yield from imports.run(self.database, self.store, self.settings, self.principal, batch, now())

    def create_domain(self, wanted: DomainCreate) -> DomainCreated:
        signer = create_signer(self.settings)
        return provision.add_domain(self.database, self.store, self.settings, signer, self.principal, wanted, now())

    def list_domains(self) -> DomainList:
        with self.database.read() as session:
            return DomainList(domains=domains.list_domains(session, self.principal))

    def create_key(self, wanted: KeyCreate) -> KeyCreated:
        with self.database.write() as session:
            return keys.create(session, self.principal, wanted, now())

    def list_keys(self) -> KeyList:
        with self.database.read() as session:
            return KeyList(keys=[keys.view(row) for row in access.list_keys(session, self.principal)])

    def revoke_key(self, identifier: str) -> KeyView:
        with self.database.write() as session:
            return keys.view(access.revoke_key(session, self.principal, identifier, now()))

    def audit_log(self, after: int, limit: int) -> AuditList:
        with self.database.read() as session:
            entries, following = status_service.audit_log(session, self.principal, after, limit)
        return AuditList(entries=entries, next=following)

    def status(self) -> StatusView:
        with self.database.read() as session:
            return status_service.status(session, self.principal.domain_id, self.settings.ca.device_days, now())
