"""The HTTPS client for reports to the operations service."""

from __future__ import annotations

import json
import ssl
from typing import Any

import aiohttp

from dane_radius.dns import tls_context
from trust_sync.shared import OPERATIONS, Connector, OperationsConfig, new_session, read_secret

_TIMEOUT_SECONDS = 30.0
_MAX_ANSWER_OCTETS = 64 * 1024
# What is refused with these will be refused again: it is malformed, too large, or says what cannot be.
_HOPELESS = frozenset({400, 413, 422})


class ReportError(RuntimeError):
    """A report was not taken. hopeless: it never will be."""

    def __init__(self, detail: str, *, hopeless: bool = False) -> None:
        super().__init__(detail)
        self.hopeless = hopeless


class ReportClient:
    """Sends reports of one node."""

    def __init__(self, config: OperationsConfig) -> None:
        """Raises ConfigError if the API key cannot be read, OSError if the CA file cannot."""
        self._base = f"{config.url}/v1/nodes/{config.node}"
        self._key = read_secret(config.api_key_file, f"{OPERATIONS}: api_key_file")
        self._context = tls_context(config.ca_file)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the HTTP session."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def decisions(self, identifier: str, lines: tuple[bytes, ...]) -> tuple[int, int]:
        """Send log lines. Returns how many the service took, and how many it skipped. Raises ReportError."""
        headers = {"Content-Type": "application/x-ndjson", "Batch-Id": identifier}
        answer = await self._post("/decisions", b"".join(line + b"\n" for line in lines), headers)
        return _count(answer, "taken"), _count(answer, "skipped")

    async def sessions(self, body: bytes) -> None:
        """Send the live sessions as a whole. Raises ReportError."""
        await self._post("/sessions", body, {"Content-Type": "application/json"})

    async def _post(self, path: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        if self._session is None:
            connector = Connector(ssl=self._context, limit=2, force_close=True)
            authorization = {"Authorization": f"Bearer {self._key}"}
            self._session = new_session(connector, _TIMEOUT_SECONDS, authorization)
        url = self._base + path
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                text = await response.content.read(_MAX_ANSWER_OCTETS)
                if not 200 <= response.status < 300:
                    raise ReportError(f"{url}: status {response.status}", hopeless=response.status in _HOPELESS)
        except (TimeoutError, aiohttp.ClientError, ssl.SSLError, OSError) as error:
            raise ReportError(f"{url}: {str(error) or type(error).__name__}") from error
        try:
            answer = json.loads(text) if text else {}
        except (ValueError, RecursionError):
            answer = {}
        return answer if isinstance(answer, dict) else {}


def _count(answer: dict[str, Any], key: str) -> int:
    found = answer.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else 0
