"""A small real EST server (RFC 7030) over TLS, with tokens, re-enrollment by certificate, and provisioning data.

A test makes it dishonest by `tamper`, which gets each response and returns the one that is sent.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7

from iot_safe_sim.device import Bundle
from tests.harness.pki import Authority, Identity, authority
from tests.integration.iot_safe_sim.support import PublicOnly

DOMAIN = "example.net"
Tamper = Callable[[str, web.Response], web.Response]


@dataclass
class Requested:
    """A request as the server saw it."""

    path: str
    authorization: str | None
    client_certificate: str | None
    tls: str
    csr: bytes


@dataclass
class EstServer:
    """Use it as a context manager. It runs in its own thread."""

    folder: Path
    tokens: dict[str, str] = field(default_factory=dict)
    tls_maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    days: float = 30
    #: How many times an enrollment is answered with 202 first.
    later: int = 0
    #: What the certificate is issued for, instead of what was asked.
    issue_name: str | None = None
    issue_key: Any = None
    tamper: Tamper | None = None
    published: Callable[[x509.Certificate], None] = lambda certificate: None
    requests: list[Requested] = field(default_factory=list)
    issued: list[x509.Certificate] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.server_ca = authority("Registry Server CA")
        self.server = self.server_ca.issue("localhost", common_name="localhost", eku=None)
        self.root = authority("Root CA")
        self.issuing: Authority = self.root.sub_authority("Issuing CA 1")
        self._spent: dict[str, bytes] = {}
        self._started = threading.Event()
        self.port = 0

    def new_issuing_ca(self) -> None:
        """What an emergency rollover does: another CA key; every certificate is invalid."""
        self.issuing = self.root.sub_authority(f"Issuing CA {len(self.issued) + 2}")

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def bundle(self, name: str, **changes: Any) -> Bundle:
        """A bundle for `name` with a new token."""
        token = f"token-{len(self.tokens)}-{name}"
        self.tokens[name] = token
        values = {
            "name": name,
            "token": token,
            "est": f"{self.url}/.well-known/est/{DOMAIN}",
            "provisioning": f"{self.url}/v1/domains/{DOMAIN}/provisioning",
            "ca": self.server_ca.pem.decode(),
            "expires": "2099-01-01T00:00:00Z",
        }
        return Bundle.model_validate(values | changes)

    def count(self, operation: str) -> int:
        """How often an operation was requested."""
        return sum(request.path.endswith(operation) for request in self.requests)

    # --- HTTP ---

    async def _cacerts(self, request: web.Request) -> web.Response:
        certificates = [self.issuing.certificate, self.root.certificate]
        return self._send("cacerts", certs_only(certificates))

    async def _provisioning(self, request: web.Request) -> web.Response:
        blob = json.dumps({"url": "localhost", "port": self.port}, separators=(",", ":")).encode()
        document = {
            "root_ca": self.root.pem.decode(),
            "issuing_ca": self.issuing.pem.decode(),
            "server_certificate": self.server_ca.pem.decode(),
            "url_blob": base64.b64encode(blob).decode(),
            "url_signature": self._signed(blob),
            "server_certificate_signature": self._signed(self.server_ca.der),
        }
        return self._send("provisioning", web.json_response(document))

    def _signed(self, data: bytes) -> str:
        return base64.b64encode(self.issuing.key.sign(data, ec.ECDSA(hashes.SHA256()))).decode()

    async def _simpleenroll(self, request: web.Request) -> web.Response:
        csr = await self._note(request)
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        name, _, token = base64.b64decode(encoded).decode().partition(":")
        spki = csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if scheme != "Basic" or self.tokens.get(name) != token or self._spent.get(token, spki) != spki:
            problem = {"title": "unauthenticated", "detail": "the device name and token do not match"}
            return self._send(
                "simpleenroll", web.json_response(problem, status=401, content_type="application/problem+json")
            )
        self._spent[token] = spki
        return self._grant("simpleenroll", csr, name)

    async def _simplereenroll(self, request: web.Request) -> web.Response:
        csr = await self._note(request)
        assert request.transport is not None
        peer = request.transport.get_extra_info("ssl_object").getpeercert()
        if not peer:
            return self._send("simplereenroll", web.Response(status=401, text="a client certificate is needed"))
        names = [value for kind, value in peer["subjectAltName"] if kind == "DNS"]
        return self._grant("simplereenroll", csr, names[0])

    async def _note(self, request: web.Request) -> x509.CertificateSigningRequest:
        der = base64.b64decode(await request.read())
        assert request.transport is not None
        tls = request.transport.get_extra_info("ssl_object")
        peer = tls.getpeercert()
        self.requests.append(
            Requested(
                request.path,
                request.headers.get("Authorization"),
                str(peer.get("subjectAltName")) if peer else None,
                tls.version(),
                der,
            )
        )
        assert request.content_type == "application/pkcs10"
        csr = x509.load_der_x509_csr(der)
        assert csr.is_signature_valid
        return csr

    def _grant(self, operation: str, csr: x509.CertificateSigningRequest, name: str) -> web.Response:
        if self.later:
            self.later -= 1
            return self._send(operation, web.Response(status=202, headers={"Retry-After": "1"}, text="wait"))
        san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert san.get_values_for_type(x509.DNSName) == [name]
        identity: Identity = self.issuing.issue(
            self.issue_name or name,
            key=PublicOnly(self.issue_key or csr.public_key()),
            days=self.days,
            common_name=name[:64],
        )
        self.issued.append(identity.certificate)
        self.published(identity.certificate)
        return self._send(operation, certs_only([identity.certificate]))

    def _send(self, operation: str, response: web.Response) -> web.Response:
        return self.tamper(operation, response) if self.tamper else response

    # --- the thread ---

    def __enter__(self) -> EstServer:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._started.wait(10), "the EST server did not start"
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        est = "/.well-known/est/{domain}"
        app.router.add_get(f"{est}/cacerts", self._cacerts)
        app.router.add_post(f"{est}/simpleenroll", self._simpleenroll)
        app.router.add_post(f"{est}/simplereenroll", self._simplereenroll)
        app.router.add_get("/v1/domains/{domain}/provisioning", self._provisioning)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._context())
        await site.start()
        self.port = runner.addresses[0][1]
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    def _context(self) -> ssl.SSLContext:
        certificate, key = self.server.save(self.folder, "server")
        (self.folder / "clients.pem").write_bytes(self.root.pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = self.tls_maximum
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(self.folder / "clients.pem")
        context.verify_mode = ssl.CERT_OPTIONAL
        return context


def certs_only(certificates: list[x509.Certificate]) -> web.Response:
    """A response with a certs-only PKCS #7 (RFC 7030 section 4.1.3)."""
    der = pkcs7.serialize_certificates(certificates, Encoding.DER)
    headers = {
        "Content-Type": "application/pkcs7-mime; smime-type=certs-only",
        "Content-Transfer-Encoding": "base64",
    }
    return web.Response(body=base64.encodebytes(der), headers=headers)
