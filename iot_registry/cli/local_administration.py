"""Administration of the registry of this machine, through its database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iot_registry.local.config import Settings
from iot_registry.publication.publication_wait import wait_until_published
from iot_registry.service import api_keys, audit, bulk_import, devices, domain_setup, domains
from iot_registry.service import status as status_service
from iot_registry.service.access import Principal
from iot_registry.service.authorities import server_anchor
from iot_registry.service.ca_key_store import CaKeyStore
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
from web_service.local import utc_now
from web_service.store import Database


class LocalAdministration:
    """See `Administration`. Users who can read the state directory and the database need no API key."""

    def __init__(self, settings: Settings, database: Database, who: Principal, root_key: Path | None = None) -> None:
        self.settings = settings
        self.database = database
        self.principal = who
        self.store = CaKeyStore(settings, root_key)

    @property
    def server_anchor(self) -> str:
        """The certificate, in PEM, that a client of the HTTPS server must trust."""
        with self.database.read() as session:
            return server_anchor(session, self.settings)

    def _registration(self) -> Registration:
        return Registration(self.settings, self.server_anchor)

    def create_device(self, wanted: DeviceCreate) -> DeviceCreated:
        registration = self._registration()
        with self.database.write() as session:
            return registration.create(session, self.principal, wanted, utc_now())

    def new_token(self, name: str) -> DeviceCreated:
        registration = self._registration()
        with self.database.write() as session:
            return registration.new_token(session, self.principal, name, utc_now())

    def list_devices(self, wanted: DeviceSearch) -> DeviceList:
        with self.database.read() as session:
            page, following = devices.search(session, self.principal, **wanted.criteria())
        return DeviceList(devices=page, next=following)

    def show_device(self, name: str) -> DeviceDetail:
        with self.database.read() as session:
            return devices.detail(session, self.principal, name, utc_now())

    def revoke_device(self, name: str, wanted: Revoke, wait: float) -> DeviceView:
        with self.database.write() as session:
            devices.revoke(session, self.principal, name, wanted.reason, utc_now())
        return self._once_published(name, wait)

    def restore_device(self, name: str, wait: float) -> DeviceView:
        with self.database.write() as session:
            devices.restore(session, self.principal, name, utc_now())
        return self._once_published(name, wait)

    def _once_published(self, name: str, seconds: float) -> DeviceView:
        """The device once the DNS serves its state, or after `seconds`."""

        def look() -> DeviceView:
            with self.database.read() as session:
                return devices.view(session, self.principal, name)

        return wait_until_published(look, self.database, seconds) if seconds else look()

    def rehome_device(self, name: str, wanted: Rehome) -> DeviceCreated:
        registration = self._registration()
        with self.database.write() as session:
            return registration.rehome(session, self.principal, name, wanted, utc_now())

    def export_devices(self, domain: str | None) -> Iterator[dict[str, Any]]:
        with self.database.read() as session:
            yield from devices.export_all(session, self.principal, domain, utc_now())

    def import_devices(self, entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for start in range(0, len(entries), bulk_import.BATCH_SIZE):
            batch = entries[start : start + bulk_import.BATCH_SIZE]
            yield from bulk_import.run(self.database, self.store, self.settings, self.principal, batch, utc_now())

    def create_domain(self, wanted: DomainCreate) -> DomainCreated:
        signer = create_signer(self.settings)
        return domain_setup.set_up_domain(
            self.database, self.store, self.settings, signer, self.principal, wanted, utc_now()
        )

    def list_domains(self) -> DomainList:
        with self.database.read() as session:
            return DomainList(domains=domains.view_all(session, self.principal))

    def create_key(self, wanted: KeyCreate) -> KeyCreated:
        with self.database.write() as session:
            return api_keys.create(session, self.principal, wanted, utc_now())

    def list_keys(self) -> KeyList:
        with self.database.read() as session:
            return KeyList(keys=[api_keys.view(row) for row in api_keys.find_keys(session, self.principal)])

    def revoke_key(self, identifier: str) -> KeyView:
        with self.database.write() as session:
            return api_keys.view(api_keys.revoke_key(session, self.principal, identifier, utc_now()))

    def audit_log(self, after: int, limit: int) -> AuditList:
        with self.database.read() as session:
            entries, following = audit.page(session, self.principal, after, limit)
        return AuditList(entries=entries, next=following)

    def status(self) -> StatusView:
        with self.database.read() as session:
            return status_service.status(session, self.principal.domain_id, self.settings.ca.device_days, utc_now())
