"""Administration of a registry at a URL, over the JSON API and with a scoped API key."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from pydantic import BaseModel, ValidationError

from iot_registry import __version__
from iot_registry.core.errors import ConfigurationError, Reason, Refused
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
    Problem,
    Rehome,
    Revoke,
    StatusView,
)

Model = TypeVar("Model", bound=BaseModel)

# Seconds that one API request waits at most until the DNS serves a change.
MAX_WAIT_SECONDS = 30
TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.5
# Octets of an answer. A page of 500 devices is below a megabyte.
MAX_ANSWER = 16 * 1024 * 1024


class RemoteError(Exception):
    """The registry at the URL cannot be reached, or what answers there is not a registry."""


def read_api_key(path: Path) -> str:
    """Read an API key from a file that only its owner can read. Raises ConfigurationError."""
    try:
        mode, text = path.stat().st_mode & 0o777, path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot read the API key: {error}") from None
    if mode & 0o077:
        raise ConfigurationError(
            f"{path}: mode is {mode:04o}, expected 0600: others can read this API key; `chmod 600` it"
        )
    if not text.startswith("irk_") or not text.isascii() or not text.isprintable():
        raise ConfigurationError(f"{path}: not an API key: expected one line that starts with irk_")
    return text


class RemoteAdministration:
    """See `iot_registry.cli.administration.Administration`. Every method raises RemoteError, too.

    url: https://HOST[:PORT]. ca_file: CA certificates in PEM; None: those of the system.
    """

    def __init__(self, url: str, api_key: str, ca_file: Path | None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
            raise ConfigurationError(f"--url: found {url}, expected https://HOST or https://HOST:PORT")
        self._host, self._port = parts.hostname, parts.port or 443
        self._headers = {"Authorization": f"Bearer {api_key}", "User-Agent": f"iot-registry/{__version__}"}
        try:
            self._tls = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"{ca_file}: not a file of PEM certificates: {error}") from None
        # Python 3.13 adds VERIFY_X509_STRICT, which refuses a CA without keyUsage, and VERIFY_X509_PARTIAL_CHAIN,
        # which trusts an intermediate CA without its root. An upgrade of Python must do neither.
        self._tls.verify_flags = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST

    def create_device(self, wanted: DeviceCreate) -> DeviceCreated:
        return self._post("/v1/devices", wanted, DeviceCreated)

    def new_token(self, name: str) -> DeviceCreated:
        return self._post(f"{_device_path(name)}/token", None, DeviceCreated)

    def list_devices(self, wanted: DeviceSearch) -> DeviceList:
        return self._get(f"/v1/devices{_query(wanted.model_dump(exclude_none=True))}", DeviceList)

    def show_device(self, name: str) -> DeviceDetail:
        return self._get(_device_path(name), DeviceDetail)

    def revoke_device(self, name: str, wanted: Revoke, wait: float) -> DeviceView:
        return self._changed(f"{_device_path(name)}/revoke", wanted, wait)

    def restore_device(self, name: str, wait: float) -> DeviceView:
        return self._changed(f"{_device_path(name)}/restore", None, wait)

    def _changed(self, path: str, wanted: BaseModel | None, wait: float) -> DeviceView:
        deadline = time.monotonic() + wait
        view = self._post(f"{path}?wait={min(int(wait), MAX_WAIT_SECONDS)}", wanted, DeviceView)
        left = deadline - time.monotonic()
        if not view.pending or left <= 0:
            return view

        def look() -> DeviceView:
            found = self.show_device(view.name)
            return DeviceView(**{field: getattr(found, field) for field in DeviceView.model_fields})

        # The server has waited for as long as one request may. The change itself must not be sent a second time.
        return asyncio.run(until_published(look, Interval(POLL_SECONDS), left))

    def rehome_device(self, name: str, wanted: Rehome) -> DeviceCreated:
        return self._post(f"{_device_path(name)}/rehome", wanted, DeviceCreated)

    def export_devices(self, domain: str | None) -> Iterator[dict[str, Any]]:
        path = f"/v1/export{_query({'domain': domain} if domain else {})}"
        with self._answer("GET", path, None) as response:
            for line in _lines(path, response):
                try:
                    yield json.loads(line)
                except ValueError:
                    raise RemoteError(f"{path}: not a line of JSON: {line[:80]!r}") from None

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
        created = self._request("POST", "/v1/devices", json.dumps(data).encode(), DeviceCreated)
        if created.bundle is None or created.expires is None:
            return {"name": created.device.name}
        return {"name": created.device.name, "bundle": created.bundle, "expires": created.expires.isoformat()}

    def create_domain(self, wanted: DomainCreate) -> DomainCreated:
        return self._post("/v1/domains", wanted, DomainCreated)

    def list_domains(self) -> DomainList:
        return self._get("/v1/domains", DomainList)

    def create_key(self, wanted: KeyCreate) -> KeyCreated:
        return self._post("/v1/keys", wanted, KeyCreated)

    def list_keys(self) -> KeyList:
        return self._get("/v1/keys", KeyList)

    def revoke_key(self, identifier: str) -> KeyView:
        return self._request("DELETE", f"/v1/keys/{quote(identifier, safe='')}", None, KeyView)

    def audit_log(self, after: int, limit: int) -> AuditList:
        return self._get(f"/v1/audit{_query({'after': after, 'limit': limit})}", AuditList)

    def status(self) -> StatusView:
        return self._get("/v1/status", StatusView)

    def _get(self, path: str, model: type[Model]) -> Model:
        return self._request("GET", path, None, model)

    def _post(self, path: str, wanted: BaseModel | None, model: type[Model]) -> Model:
        body = wanted.model_dump_json(exclude_none=True) if wanted else "{}"
        return self._request("POST", path, body.encode(), model)

    def _request(self, method: str, path: str, body: bytes | None, model: type[Model]) -> Model:
        with self._answer(method, path, body) as response:
            return _parse(path, _read(path, response), model)

    @contextlib.contextmanager
    def _answer(self, method: str, path: str, body: bytes | None) -> Iterator[http.client.HTTPResponse]:
        """The successful answer to one request. Raises Refused and RemoteError."""
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_SECONDS, context=self._tls)
        with contextlib.closing(connection), self._send(connection, method, path, body) as response:
            self._check(path, response)
            yield response

    def _send(
        self, connection: http.client.HTTPSConnection, method: str, path: str, body: bytes | None
    ) -> http.client.HTTPResponse:
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {})
        try:
            connection.request(method, path, body, headers)
            return connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            text = f"its certificate is refused ({error.verify_message}): name its CA with --ca-file"
            raise RemoteError(f"https://{self._host}:{self._port}: {text}") from None
        except (OSError, http.client.HTTPException) as error:
            raise RemoteError(f"https://{self._host}:{self._port}: {error or type(error).__name__}") from None

    def _check(self, path: str, response: http.client.HTTPResponse) -> None:
        """Raises Refused with the registry's reason, or RemoteError if the answer is not one of a registry."""
        if response.status in (200, 201):
            return
        kind = response.headers.get_content_type()
        if kind != "application/problem+json":
            where = f"https://{self._host}:{self._port}{path}"
            raise RemoteError(f"{where}: found status {response.status} ({kind}): is this an IoT registry?")
        problem = _parse(path, _read(path, response), Problem)
        if problem.reason not in set(Reason):
            raise RemoteError(f"refused, {problem.reason}: {problem.detail}")
        raise Refused(Reason(problem.reason), problem.detail, field=problem.field)


def _device_path(name: str) -> str:
    return f"/v1/devices/{quote(name, safe='')}"


def _query(values: dict[str, Any]) -> str:
    return f"?{urlencode(values)}" if values else ""


def _read(path: str, response: http.client.HTTPResponse) -> bytes:
    try:
        content = response.read(MAX_ANSWER + 1)
    except (OSError, http.client.HTTPException) as error:
        raise RemoteError(f"{path}: the answer is truncated: {error or type(error).__name__}") from None
    if len(content) > MAX_ANSWER:
        raise RemoteError(f"{path}: found an answer of more than {MAX_ANSWER} octets, expected less")
    if response.length:
        raise RemoteError(f"{path}: the answer is truncated: {response.length} octets are missing")
    return content


def _lines(path: str, response: http.client.HTTPResponse) -> Iterator[bytes]:
    rest = b""
    try:
        # Not readline(), which takes a lost connection for the end of the body.
        while part := response.read1(65536):
            *lines, rest = (rest + part).split(b"\n")
            yield from lines
    except (OSError, http.client.HTTPException) as error:
        raise RemoteError(f"{path}: the answer is truncated: {error or type(error).__name__}") from None
    if rest:
        raise RemoteError(f"{path}: the answer is truncated in the middle of a line")


def _parse(path: str, content: bytes, model: type[Model]) -> Model:
    """The answer as `model`. Fields that a newer registry has added are ignored. Raises RemoteError."""
    try:
        data = json.loads(content)
        try:
            return model.model_validate(data)
        except ValidationError as error:
            for fault in error.errors(include_url=False, include_input=False):
                if fault["type"] == "extra_forbidden":
                    _remove(data, fault["loc"])
            return model.model_validate(data)
    except ValueError as error:
        raise RemoteError(
            f"{path}: not an answer that this version understands; is this an IoT registry? {error}"
        ) from None


def _remove(data: Any, location: tuple[int | str, ...]) -> None:
    for step in location[:-1]:
        data = data[step]
    del data[location[-1]]
