"""TLS of the HTTPS server: its certificate, under a CA of its own, and the CAs of client certificates."""

from __future__ import annotations

import datetime as dt
import ssl
import tempfile
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select
from sqlalchemy.orm import Session

from iot_registry.core import ca_certificates, names
from iot_registry.local import private_keys
from iot_registry.local.config import Settings
from iot_registry.service import authorities
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.store.models import AuthorityKind, Domain
from web_service.core import ConfigurationError
from web_service.local import parse_endpoint, write_private

# Lifetime of the server's certificate, and how long before its expiry it is replaced.
LIFETIME_DAYS = 90
RENEWAL_DAYS = 30


def hosts(session: Session, settings: Settings) -> list[str]:
    """The names that the server's own certificate must have, among them the PKIX-CD host of each domain."""
    listen = parse_endpoint(settings.registry.listen).host
    public = parse_endpoint(_with_port(settings.public_url.removeprefix("https://"))).host
    own = [public, "localhost", "127.0.0.1", "::1", *settings.tls.names]
    if listen not in ("0.0.0.0", "::"):  # noqa: S104 - recognized here, not bound
        own.append(listen)
    domains = session.scalars(select(Domain.name).order_by(Domain.id))
    return list(dict.fromkeys([*own, *(names.authority_host(name) for name in domains)]))


def _with_port(authority_part: str) -> str:
    return authority_part if ":" in authority_part.rpartition("]")[2] else f"{authority_part}:443"


class ServerTls:
    """The TLS context. `refresh` keeps it current: new domains, new CAs, a certificate that is about to expire.

    A change makes a new context instead of altering the present one: a handshake in progress could otherwise meet a
    certificate whose key is not loaded yet, and fail.
    """

    def __init__(self, settings: Settings, store: CaKeyStore) -> None:
        self._settings = settings
        self._store = store
        self._folder = settings.state_dir / "tls"
        self._lock = threading.Lock()
        # Client CAs by fingerprint, in PEM. Retired ones stay: the database refuses their certificates with a reason.
        self._trusted: dict[str, str] = {}
        self._hosts: list[str] = []
        self._renew_at: dt.datetime | None = None
        self._issued: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None
        self._context: ssl.SSLContext | None = None

    @property
    def context(self) -> ssl.SSLContext:
        """The present context, for one handshake. `refresh` comes first."""
        assert self._context is not None
        return self._context

    def refresh(self, session: Session, now: dt.datetime) -> None:
        """Take changes into a new context, for new connections. Raises ConfigurationError."""
        with self._lock:
            trusted = {row.fingerprint: row.pem for row in authorities.live_client_authorities(session)}
            changed = self._context is None or not trusted.keys() <= self._trusted.keys()
            self._trusted |= trusted
            if self._own_files() is None:
                changed |= self._issue_if_needed(session, now)
            if changed:
                self._context = self._new_context()

    def _own_files(self) -> tuple[Path, Path] | None:
        """The operator's certificate and key; None: the registry issues its own."""
        tls = self._settings.tls
        return (tls.certificate, tls.key) if tls.certificate and tls.key else None

    def _issue_if_needed(self, session: Session, now: dt.datetime) -> bool:
        """Issue a certificate if hosts are missing in the present one or it is about to expire."""
        wanted = hosts(session, self._settings)
        if wanted == self._hosts and self._renew_at is not None and self._renew_at > now:
            return False
        row = authorities.singleton(session, AuthorityKind.SERVER)
        key = private_keys.generate()
        certificate = ca_certificates.server_certificate(
            key.public_key(), wanted, self._store.load(row), authorities.certificate(row), now, LIFETIME_DAYS
        )
        self._issued = certificate, key
        self._hosts = wanted
        self._renew_at = now + dt.timedelta(days=LIFETIME_DAYS - RENEWAL_DAYS)
        return True

    def _new_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # simplereenroll needs a client certificate. The database tells whether it is still valid.
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.set_alpn_protocols(["http/1.1"])
        context.load_verify_locations(cadata="".join(self._trusted.values()))
        files = self._own_files()
        if files is not None:
            _load(context, *files)
            return context
        assert self._issued is not None
        certificate, key = self._issued
        # OpenSSL reads files only. They are deleted once they are loaded, so that the key is kept in memory only.
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            certificate_path, key_path = Path(folder) / "server.pem", Path(folder) / "server.key"
            private_keys.save(key_path, key)
            write_private(certificate_path, certificate.public_bytes(Encoding.PEM))
            _load(context, certificate_path, key_path)
        return context


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{certificate}, {key}: not usable for TLS: {error}") from None
