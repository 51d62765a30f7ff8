"""The server's TLS: its own certificate under its own anchor, and client certificates where devices send
them.
"""

from __future__ import annotations

import datetime as dt
import ssl
import tempfile
import threading
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select
from sqlalchemy.orm import Session

from iot_registry import names
from iot_registry.config import Settings, parse_endpoint
from iot_registry.errors import ConfigurationError
from iot_registry.pki import authority, keys
from iot_registry.service import authorities
from iot_registry.store.models import AuthorityKind, Domain

LEAF_DAYS = 90
RENEW_DAYS = 30


def hosts(session: Session, settings: Settings) -> list[str]:
    """Every name that the self-made certificate must hold; the PKIX-CD host of each domain among them."""
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
    """The TLS context, kept current while the server runs: new domains, new CAs, a certificate about to
    expire.
    """

    def __init__(self, settings: Settings, store: authorities.KeyStore) -> None:
        self._settings = settings
        self._store = store
        self._folder = settings.state_dir / "tls"
        self._lock = threading.Lock()
        self._trusted: set[str] = set()
        self._hosts: list[str] = []
        self._renew_at: dt.datetime | None = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Only simplereenroll asks for one; that it still counts is the database's to say.
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self.context.set_alpn_protocols(["http/1.1"])

    def refresh(self, session: Session, now: dt.datetime) -> None:
        """Load what changed. New connections use it; open ones go on. Raises ConfigurationError."""
        with self._lock:
            self._refresh(session, now)

    def _refresh(self, session: Session, now: dt.datetime) -> None:
        for row in authorities.live_client_authorities(session):
            if row.fingerprint not in self._trusted:
                self.context.load_verify_locations(cadata=row.pem)
                self._trusted.add(row.fingerprint)
        if self._settings.tls.certificate and self._settings.tls.key:
            if self._renew_at is None:
                self._load(self._settings.tls.certificate, self._settings.tls.key)
                self._renew_at = dt.datetime.max.replace(tzinfo=dt.UTC)
            return
        wanted = hosts(session, self._settings)
        if wanted != self._hosts or self._renew_at is None or self._renew_at <= now:
            self._make_leaf(session, wanted, now)

    def _make_leaf(self, session: Session, wanted: list[str], now: dt.datetime) -> None:
        row = authorities.singleton(session, AuthorityKind.SERVER)
        key = keys.generate()
        leaf = authority.server_leaf(
            key.public_key(), wanted, self._store.load(row), authorities.certificate(row), now, LEAF_DAYS
        )
        # OpenSSL reads files only. They are this process's own, and gone once they are loaded: the key lives in memory.
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            certificate_path, key_path = Path(folder) / "server.pem", Path(folder) / "server.key"
            keys.save(key_path, key)
            keys.write_private(certificate_path, leaf.public_bytes(Encoding.PEM))
            self._load(certificate_path, key_path)
        self._hosts = wanted
        self._renew_at = now + dt.timedelta(days=LEAF_DAYS - RENEW_DAYS)

    def _load(self, certificate: Path, key: Path) -> None:
        try:
            self.context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"{certificate}, {key}: cannot use them for TLS: {error}") from None
