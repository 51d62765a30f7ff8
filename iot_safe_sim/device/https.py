"""HTTPS requests to a registry: pinned CA, no redirects, limits for time and size, optionally with the card's key."""

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

from iot_safe_sim.middleware import CardIdentity, CardTlsSocket

#: Bytes of a response body.
MAX_BODY = 1 << 20
#: Characters of the server's explanation of an error.
MAX_EXPLANATION = 300

#: The errors of a connection that broke during a request. Any other error is a response of some kind.
_BROKEN = (ConnectionError, TimeoutError, http.client.IncompleteRead, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class HttpsError(Exception):
    """The registry cannot be reached, or the server is not the registry."""


class BrokenError(HttpsError):
    """The connection broke. Whether the registry has executed the request is not known."""


class RefusedError(HttpsError):
    """The registry responds with an error. `status` is the HTTP status."""

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
class HttpsClient:
    """`anchors` are the trusted certificates; `timeout` is the time limit in seconds of each request."""

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
        """Send one request. With `identity`, authenticate in TLS with the card's key. Raises HttpsError.

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
            # CardTlsSocket has the methods of a socket that http.client uses.
            plain.sock = CardTlsSocket(host, port, anchors, identity, self.timeout)
        except OSError as error:
            raise HttpsError(f"https://{host}:{port}: {_reason(error)}") from error
        return plain

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # An anchor may be the server's own certificate or an intermediate CA, not only a root CA.
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
    """The server's explanation of an error (RFC 9457 or plain text), as one line of limited length."""
    text = answer.body[:4096].decode("utf-8", "replace")
    if answer.content_type.endswith("json"):
        try:
            problem = json.loads(answer.body)
            text = ": ".join(str(problem[key]) for key in ("title", "detail") if problem.get(key)) or text
        except (ValueError, AttributeError, TypeError):
            pass
    printable = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return printable[:MAX_EXPLANATION] or "(no explanation)"
