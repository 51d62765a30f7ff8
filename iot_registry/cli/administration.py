"""What the commands ask of a registry, whether it is on this machine or elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

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


class Administration(Protocol):
    """A registry, as its administrators use it. Every method raises Refused.

    wait: seconds to wait until the DNS serves the change; 0: do not wait.
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
        """One result for each entry, in order. entries: see `iot_registry.service.bulk_import.run`."""

    def create_domain(self, wanted: DomainCreate) -> DomainCreated: ...

    def list_domains(self) -> DomainList: ...

    def create_key(self, wanted: KeyCreate) -> KeyCreated: ...

    def list_keys(self) -> KeyList: ...

    def revoke_key(self, identifier: str) -> KeyView: ...

    def audit_log(self, after: int, limit: int) -> AuditList: ...

    def status(self) -> StatusView: ...
