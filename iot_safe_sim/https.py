"""HTTPS requests to the registry: pinned CA, no redirects, bounded in time and size; with the card's key if wanted."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from iot_safe_sim.card_tls import CardIdentity, CardTlsSocket

MAX_BODY = 1 << 20
MAX_EXPLANATION = 300


#: What a connection that broke in mid-request looks like; anything else is an answer of some kind.
_BROKEN = (ConnectionError, TimeoutError, http.client.IncompleteRead, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class HttpsError(Exception):
    """The registry cannot be reached, or what answers is not it."""


class BrokenError(HttpsError):
    """The connection broke: whether the registry has carried the request out is not known."""


class RefusedError(HttpsError):
    """The registry answers with an error. `status` is the HTTP status."""

    def __init__(self, url: str, status: int, explanation: str) -> None:
        super().__init__(f"{url}: the registry answers {status}: {explanation}")
        self.status = status


@dataclass(frozen=True)
class Answer:
    """A response with status 200 or 202."""

    status: int
    content_type: str
    retry_after: str | None
    body: bytes


@dataclass(frozen=True)
class Registry:
    """How to talk to a registry: its trust anchors, and a time limit in seconds for each request."""

    anchors: Sequence[x509.Certificate]
    timeout: float = 30.0

    def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        identity: CardIdentity | None = None,
    ) -> Answer:
        """One request. With `identity`, as a TLS client with the card's key. Raises HttpsError.

        BrokenError is raised only when the request may have arrived.
        """
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise HttpsError(f"{url}: only https is spoken")
        connection = self._connection(parts.hostname, parts.port or 443, identity)
        try:
            connection.request(method, parts.path or "/", body, headers or {})
            response = connection.getresponse()
            content = response.read(MAX_BODY + 1)
            answer = Answer(
                response.status,
                response.headers.get_content_type(),
                response.headers.get("Retry-After"),
                content,
            )
        except (OSError, http.client.HTTPException) as error:
            kind = BrokenError if isinstance(error, _BROKEN) else HttpsError
            raise kind(f"{url}: {_reason(error)}") from error
        finally:
            connection.close()
        if len(content) > MAX_BODY:
            raise HttpsError(f"{url}: answer of over {MAX_BODY} bytes")
        if answer.status not in (200, 202):
            raise RefusedError(url, answer.status, _explanation(answer))
        return answer

    def _connection(self, host: str, port: int, identity: CardIdentity | None) -> http.client.HTTPConnection:
        if identity is None:
            connection = http.client.HTTPSConnection(host, port, timeout=self.timeout, context=self._context())
            try:
                connection.connect()
            except OSError as error:
                connection.close()
                raise HttpsError(f"https://{host}:{port}: {_reason(error)}") from error
            return connection
        anchors = [anchor.public_bytes(Encoding.DER) for anchor in self.anchors]
        plain = http.client.HTTPConnection(host, port)
        try:
            # http.client needs of a socket only what CardTlsSocket has.
            plain.sock = CardTlsSocket(host, port, anchors, identity, self.timeout)
        except OSError as error:
            raise HttpsError(f"https://{host}:{port}: {_reason(error)}") from error
        return plain

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # What is pinned may be the server's certificate or an intermediate one, not only a root.
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(
            cadata="".join(anchor.public_bytes(Encoding.PEM).decode() for anchor in self.anchors)
        )
        return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is refused: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved: {error.strerror}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


def _explanation(answer: Answer) -> str:
    """What the server says is wrong: RFC 7807 or plain text, one line, bounded."""
    text = answer.body[:4096].decode("utf-8", "replace")
    if answer.content_type.endswith("json"):
        try:
            problem = json.loads(answer.body)
            text = ": ".join(str(problem[key]) for key in ("title", "detail") if problem.get(key)) or text
        except (ValueError, AttributeError, TypeError):
            pass
    printable = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return printable[:MAX_EXPLANATION] or "(no explanation)"
