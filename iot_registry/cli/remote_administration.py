"""Administration of a registry at a URL, over the JSON API and with a scoped API key."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from iot_registry import __version__
from iot_registry.core.errors import CsrReason
from iot_registry.publication.publication_wait import Interval, until_published
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
from web_service.cli import JsonClient, query_string
from web_service.core import Reason, Refused

# Seconds that one API request waits at most until the DNS serves a change.
MAX_WAIT_SECONDS = 30
POLL_SECONDS = 0.5


class RemoteAdministration:
    """See `iot_registry.cli.administration.Administration`. Every method raises RemoteError, too.

    url: https://HOST[:PORT]. ca_file: CA certificates in PEM; None: those of the system.
    """

    def __init__(self, url: str, api_key: str, ca_file: Path | None) -> None:
        self._client = JsonClient(
            url,
            api_key,
            ca_file,
            agent=f"iot-registry/{__version__}",
            what="an IoT registry",
            reasons=(Reason, CsrReason),
        )

    def create_device(self, wanted: DeviceCreate) -> DeviceCreated:
        return self._client.post("/v1/devices", wanted, DeviceCreated)

    def new_token(self, name: str) -> DeviceCreated:
        return self._client.post(f"{_device_path(name)}/token", None, DeviceCreated)

    def list_devices(self, wanted: DeviceSearch) -> DeviceList:
        return self._client.get(f"/v1/devices{query_string(wanted.model_dump(exclude_none=True))}", DeviceList)

    def show_device(self, name: str) -> DeviceDetail:
        return self._client.get(_device_path(name), DeviceDetail)

    def revoke_device(self, name: str, wanted: Revoke, wait: float) -> DeviceView:
        return self._changed(f"{_device_path(name)}/revoke", wanted, wait)

    def restore_device(self, name: str, wait: float) -> DeviceView:
        return self._changed(f"{_device_path(name)}/restore", None, wait)

    def _changed(self, path: str, wanted: BaseModel | None, wait: float) -> DeviceView:
        deadline = time.monotonic() + wait
        view = self._client.post(f"{path}?wait={min(int(wait), MAX_WAIT_SECONDS)}", wanted, DeviceView)
        left = deadline - time.monotonic()
        if not view.pending or left <= 0:
            return view

        def look() -> DeviceView:
            found = self.show_device(view.name)
            return DeviceView(**{field: getattr(found, field) for field in DeviceView.model_fields})

        # The server has waited for as long as one request may. The change itself must not be sent a second time.
        return asyncio.run(until_published(look, Interval(POLL_SECONDS), left))

    def rehome_device(self, name: str, wanted: Rehome) -> DeviceCreated:
        return self._client.post(f"{_device_path(name)}/rehome", wanted, DeviceCreated)

    def export_devices(self, domain: str | None) -> Iterator[dict[str, Any]]:
        path = f"/v1/export{query_string({'domain': domain} if domain else {})}"
        yield from self._client.lines(path)

    def import_devices(self, entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for entry in entries:
            try:
                yield self._import_one(entry)
            except Refused as refused:
                problem = {"reason": refused.reason, "detail": refused.detail, "field": refused.field}
                yield {"line": entry["line"], "error": problem}

    def _import_one(self, entry: dict[str, Any]) -> dict[str, Any]:
        data = entry.get("data")
        if "error" in entry:
            raise Refused(Reason.MALFORMED, str(entry["error"]))
        if isinstance(data, dict) and data.get("csr") is not None:
            detail = "found a certificate request: import it on the registry's own machine, without --url"
            raise Refused(Reason.INVALID_FIELD, detail, field="csr")
        created = self._client.request("POST", "/v1/devices", json.dumps(data).encode(), DeviceCreated)
        if created.bundle is None or created.expires is None:
            return {"name": created.device.name}
        return {"name": created.device.name, "bundle": created.bundle, "expires": created.expires.isoformat()}

    def create_domain(self, wanted: DomainCreate) -> DomainCreated:
        return self._client.post("/v1/domains", wanted, DomainCreated)

    def list_domains(self) -> DomainList:
        return self._client.get("/v1/domains", DomainList)

    def create_key(self, wanted: KeyCreate) -> KeyCreated:
        return self._client.post("/v1/keys", wanted, KeyCreated)

    def list_keys(self) -> KeyList:
        return self._client.get("/v1/keys", KeyList)

    def revoke_key(self, identifier: str) -> KeyView:
        return self._client.request("DELETE", f"/v1/keys/{quote(identifier, safe='')}", None, KeyView)

    def audit_log(self, after: int, limit: int) -> AuditList:
        return self._client.get(f"/v1/audit{query_string({'after': after, 'limit': limit})}", AuditList)

    def status(self) -> StatusView:
        return self._client.get("/v1/status", StatusView)


def _device_path(name: str) -> str:
    return f"/v1/devices/{quote(name, safe='')}"
