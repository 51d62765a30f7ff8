"""The client of a service's JSON API, with a scoped API key. Blocking."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from pydantic import BaseModel, ValidationError

from web_service.core import ConfigurationError, Problem, RefusalReason, Refused

Model = TypeVar("Model", bound=BaseModel)

TIMEOUT_SECONDS = 60.0
# Octets of an answer. A page of 500 devices is below a megabyte.
MAX_ANSWER = 16 * 1024 * 1024


class RemoteError(Exception):
    """The service at the URL cannot be reached, or what answers there is not that service."""


class JsonClient:
    """Sends requests, and raises Refused and RemoteError.

    url: https://HOST[:PORT]. ca_file: CA certificates in PEM; None: those of the system. agent: name and version of the
    client. what: the kind of service, such as `an IoT registry`. reasons: the reasons of its refusals.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        ca_file: Path | None,
        *,
        agent: str,
        what: str,
        reasons: tuple[type[RefusalReason], ...],
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
            raise ConfigurationError(f"--url: found {url}, expected https://HOST or https://HOST:PORT")
        self._host, self._port = parts.hostname, parts.port or 443
        self._headers = {"Authorization": f"Bearer {api_key}", "User-Agent": agent}
        self._what = what
        self._reasons = {str(reason): reason for kind in reasons for reason in kind}
        try:
            self._tls = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"{ca_file}: not a file of PEM certificates: {error}") from None
        # Python 3.13 adds VERIFY_X509_STRICT, which refuses a CA without keyUsage, and VERIFY_X509_PARTIAL_CHAIN,
        # which trusts an intermediate CA without its root. An upgrade of Python must do neither.
        self._tls.verify_flags = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST

    def get(self, path: str, model: type[Model]) -> Model:
        return self.request("GET", path, None, model)

    def post(self, path: str, wanted: BaseModel | None, model: type[Model]) -> Model:
        body = wanted.model_dump_json(exclude_none=True) if wanted else "{}"
        return self.request("POST", path, body.encode(), model)

    def request(self, method: str, path: str, body: bytes | None, model: type[Model]) -> Model:
        with self.answer(method, path, body) as response:
            return self._parse(path, _read(path, response), model)

    @contextlib.contextmanager
    def answer(self, method: str, path: str, body: bytes | None) -> Iterator[http.client.HTTPResponse]:
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
        """Raises Refused with the service's reason, or RemoteError if the answer is not one of such a service."""
        if response.status in (200, 201):
            return
        kind = response.headers.get_content_type()
        if kind != "application/problem+json":
            where = f"https://{self._host}:{self._port}{path}"
            raise RemoteError(f"{where}: found status {response.status} ({kind}): is this {self._what}?")
        problem = self._parse(path, _read(path, response), Problem)
        if problem.reason not in self._reasons:
            raise RemoteError(f"refused, {problem.reason}: {problem.detail}")
        raise Refused(self._reasons[problem.reason], problem.detail, field=problem.field)

    def lines(self, path: str) -> Iterator[Any]:
        """Every object of an answer with one JSON object a line."""
        with self.answer("GET", path, None) as response:
            for line in _lines(path, response):
                try:
                    yield json.loads(line)
                except ValueError:
                    raise RemoteError(f"{path}: not a line of JSON: {line[:80]!r}") from None

    def _parse(self, path: str, content: bytes, model: type[Model]) -> Model:
        """The answer as `model`. Fields that a newer service has added are ignored. Raises RemoteError."""
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
                f"{path}: not an answer that this version understands; is this {self._what}? {error}"
            ) from None


def query_string(values: dict[str, Any]) -> str:
    """The query of a URL, with its question mark; nothing without values."""
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


def _remove(data: Any, location: tuple[int | str, ...]) -> None:
    for step in location[:-1]:
        data = data[step]
    del data[location[-1]]
