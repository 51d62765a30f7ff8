"""The server's side of EAP-TLS in memory, for the peer's tests: OpenSSL's, with fragments and RADIUS around it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import radius
from tests.bench.devices import client_context
from tests.bench.eap_client import EAP_TLS, FAILURE, LENGTH_INCLUDED, MORE_FRAGMENTS, REQUEST, START, SUCCESS
from tests.harness.pki import Authority, Identity, authority

SECRET = b"testing123"


@dataclass
class Pki:
    """A server, a device, and the CAs that each of them believes."""

    folder: Path
    server_ca: Authority = field(default_factory=lambda: authority("Server CA"))
    device_ca: Authority = field(default_factory=lambda: authority("Device CA"))

    def __post_init__(self) -> None:
        self.server = self.server_ca.issue("radius.example", eku=None)

    def client(self, tls: str = "1.3", server_ca: Authority | None = None) -> ssl.SSLContext:
        believed = self.folder / "server-ca.pem"
        believed.write_bytes((server_ca or self.server_ca).pem)
        return client_context(self.device_ca.issue("d1.example"), self.folder / "device", believed, tls)

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*_save(self.server, self.folder))
        (self.folder / "device-ca.pem").write_bytes(self.device_ca.pem)
        context.load_verify_locations(self.folder / "device-ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def _save(identity: Identity, folder: Path) -> tuple[Path, Path]:
    return identity.save(folder, "server")


def request(identifier: int, kind: int, data: bytes) -> bytes:
    """An EAP-Request."""
    length = 5 + len(data)
    return bytes((REQUEST, identifier, length >> 8, length & 255, kind)) + data


def end(code: int, identifier: int) -> bytes:
    """EAP-Success or EAP-Failure."""
    return bytes((code, identifier, 0, 4))


@dataclass
class EapServer:
    """Answers EAP responses. commits: whether it sends the commitment message of RFC 9190."""

    context: ssl.SSLContext
    fragment: int = 300
    commits: bool = True
    identifier: int = 0

    def __post_init__(self) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self.context.wrap_bio(self._in, self._out, server_side=True)
        self._pending = b""
        self._received = b""
        self.received_fragments = 0
        self.done = False
        self.failed = False

    def answer(self, packet: bytes) -> bytes:
        """The next request, or the end, after a response of the peer."""
        self.identifier += 1
        body = packet[5:]
        if packet[4] != EAP_TLS:
            return request(self.identifier, EAP_TLS, bytes((START,)))
        if len(body) == 1 and self._pending:
            return self._send()
        at = 5 if body[0] & LENGTH_INCLUDED else 1
        self._received += body[at:]
        if body[0] & MORE_FRAGMENTS:
            self.received_fragments += 1
            return request(self.identifier, EAP_TLS, b"\x00")
        if self.failed:
            return end(FAILURE, self.identifier)
        if self.done:
            return end(SUCCESS, self.identifier)
        self._in.write(self._received)
        self._received = b""
        return self._handshake()

    def _handshake(self) -> bytes:
        try:
            self._tls.do_handshake()
            self.done = True
            if self.commits and self._tls.version() == "TLSv1.3":
                self._tls.write(b"\x00")
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.failed = True
            return end(FAILURE, self.identifier)
        self._pending = self._out.read()
        self._first = len(self._pending)
        return self._send()

    def _send(self) -> bytes:
        data, self._pending = self._pending[: self.fragment], self._pending[self.fragment :]
        flags = MORE_FRAGMENTS if self._pending else 0
        if flags and len(data) + len(self._pending) == self._first:
            return request(
                self.identifier, EAP_TLS, bytes((flags | LENGTH_INCLUDED,)) + self._first.to_bytes(4, "big") + data
            )
        return request(self.identifier, EAP_TLS, bytes((flags,)) + data)


def challenge(eap: bytes, to: bytes, state: bytes = b"s1", code: int = radius.ACCESS_CHALLENGE) -> bytes:
    """A RADIUS response that carries an EAP packet."""
    attributes = radius.attribute(radius.STATE, state) + radius.eap_message(eap)
    return radius.response(code, to, attributes, SECRET)


def eap_of(packet: bytes) -> bytes:
    """The EAP packet in a RADIUS request."""
    return b"".join(value for kind, value in attributes_of(packet) if kind == radius.EAP_MESSAGE)


def attributes_of(packet: bytes) -> list[tuple[int, bytes]]:
    found = []
    at = 20
    while at < len(packet):
        size = packet[at + 1]
        found.append((packet[at], packet[at + 2 : at + size]))
        at += size
    return found
