"""The registry's CAs: certificates in the database, keys in files beside it."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from iot_registry import feed
from iot_registry.config import Settings
from iot_registry.errors import ConfigurationError, Reason, Refused
from iot_registry.pki import authority, keys
from iot_registry.store.models import Authority, AuthorityKind, Domain

# Pairs of hexadecimal digits joined by dashes; far longer than any.
_AKI = re.compile(r"[0-9A-Fa-f-]{1,128}\Z")


class KeyStore:
    """Private keys of the CAs, as files named after their key identifier.

    root_key: where the root's key is now, if it is kept elsewhere (offline) between uses.
    """

    def __init__(self, settings: Settings, root_key: Path | None = None) -> None:
        self._folder = settings.state_dir / "ca"
        self._root_key = root_key
        self._passphrase = _passphrase(settings.ca.passphrase_file)
        self._root_passphrase = _passphrase(settings.ca.root_passphrase_file)
        self._cache: dict[str, ec.EllipticCurvePrivateKey] = {}

    def path(self, aki: str) -> Path:
        return self._folder / f"{aki}.key"

    def load(self, row: Authority) -> ec.EllipticCurvePrivateKey:
        """The key of a CA. Raises ConfigurationError: not there, wrong passphrase, or not this CA's key."""
        if row.aki in self._cache:
            return self._cache[row.aki]
        root = row.kind == AuthorityKind.ROOT
        path = self._root_key if root and self._root_key else self.path(row.aki)
        key = keys.load(path, self._root_passphrase if root else self._passphrase)
        if key.public_key() != certificate(row).public_key():
            raise ConfigurationError(f"{path}: this is not the key of {row.kind} CA {row.aki}")
        # The root's key is used rarely and is worth the most: it is not kept in memory.
        if not root:
            self._cache[row.aki] = key
        return key

    def save(self, kind: AuthorityKind, aki: str, key: ec.EllipticCurvePrivateKey) -> None:
        passphrase = self._root_passphrase if kind is AuthorityKind.ROOT else self._passphrase
        keys.save(self.path(aki), key, passphrase)

    def destroy(self, aki: str) -> None:
        """Forget a retired CA's key for good."""
        self._cache.pop(aki, None)
        self.path(aki).unlink(missing_ok=True)


def _passphrase(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        text = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot read the passphrase: {error.strerror}") from None
    if not text:
        raise ConfigurationError(f"{path}: the passphrase is empty")
    return text


def certificate(row: Authority) -> x509.Certificate:
    return _parsed(row.pem)


@lru_cache(maxsize=1024)
def _parsed(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def _record(
    session: Session,
    kind: AuthorityKind,
    cert: x509.Certificate,
    now: dt.datetime,
    domain: Domain | None = None,
    generation: int = 1,
) -> Authority:
    row = Authority(
        kind=kind,
        domain_id=domain.id if domain else None,
        generation=generation,
        pem=cert.public_bytes(Encoding.PEM).decode(),
        aki=authority.key_identifier(cert),
        fingerprint=authority.fingerprint(cert),
        created_at=now,
        not_after=cert.not_valid_after_utc,
    )
    session.add(row)
    session.flush()
    return row


def singleton(session: Session, kind: AuthorityKind) -> Authority:
    """The root or the TLS server's anchor. Raises ConfigurationError before `init`."""
    row = session.scalars(select(Authority).where(Authority.kind == kind, Authority.retired_at.is_(None))).first()
    if row is None:
        raise ConfigurationError("the registry is not set up yet: run `iot-registry init`")
    return row


def server_anchor(session: Session, settings: Settings) -> str:
    """The PEM certificate that a client must trust to reach this server. Raises ConfigurationError."""
    if settings.tls.anchor is None:
        return singleton(session, AuthorityKind.SERVER).pem
    try:
        pem = settings.tls.anchor.read_text()
        return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.PEM).decode()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{settings.tls.anchor}: not a PEM certificate: {error}") from None


def ensure_singletons(session: Session, store: KeyStore, settings: Settings, now: dt.datetime) -> bool:
    """Make the root and the TLS server's anchor if there are none; returns whether any was made."""
    made = False
    for kind, title, path_length in (
        (AuthorityKind.ROOT, "IoT registry root CA", 1),
        (AuthorityKind.SERVER, "IoT registry server anchor", 0),
    ):
        if session.scalars(select(Authority.id).where(Authority.kind == kind)).first() is not None:
            continue
        key = keys.generate()
        cert = authority.self_signed(key, title, now, settings.ca.root_days, path_length)
        # The key first: a certificate whose key is lost in a crash would be useless; a stray key file is
        # harmless.
        store.save(kind, authority.key_identifier(cert), key)
        _record(session, kind, cert, now)
        made = True
    return made


def create_issuing(
    session: Session, store: KeyStore, settings: Settings, domain: Domain, now: dt.datetime
) -> Authority:
    """A new issuing CA for a domain, announced to the feed. Raises Refused if the root's key is not at
    hand."""
    root = singleton(session, AuthorityKind.ROOT)
    try:
        root_key = store.load(root)
    except ConfigurationError as error:
        raise Refused(Reason.UNAVAILABLE, f"a new issuing CA needs the root's key: {error}") from None
    if certificate(root).not_valid_after_utc - now < dt.timedelta(days=1):
        raise Refused(Reason.UNAVAILABLE, f"the root CA ends at {root.not_after.isoformat()}: it can sign nothing more")
    generation = 1 + (
        session.scalar(select(func.max(Authority.generation)).where(Authority.domain_id == domain.id)) or 0
    )
    key = keys.generate()
    cert = authority.issuing(
        key.public_key(), domain.name, generation, root_key, certificate(root), now, settings.ca.issuing_days
    )
    store.save(AuthorityKind.ISSUING, authority.key_identifier(cert), key)
    row = _record(session, AuthorityKind.ISSUING, cert, now, domain, generation)
    feed.append(session, feed.ChangeType.ANCHOR_ADDED, domain.id, now, anchor=row)
    return row


def active_issuing(session: Session, domain_id: int, *, lock: bool = False) -> Authority:
    """The CA that signs for this domain now. lock: it is not retired before this transaction ends."""
    statement = (
        select(Authority)
        .where(
            Authority.domain_id == domain_id,
            Authority.kind == AuthorityKind.ISSUING,
            Authority.retired_at.is_(None),
        )
        .order_by(Authority.generation.desc())
        .limit(1)
    )
    return session.scalars(statement.with_for_update(read=True) if lock else statement).one()


def by_key_identifier(session: Session, aki: str) -> Authority:
    """A CA for PKIX-CD: the root or a live issuing CA. Raises Refused."""
    statement = select(Authority).where(
        Authority.aki == aki.lower(),
        Authority.kind.in_((AuthorityKind.ROOT, AuthorityKind.ISSUING)),
        Authority.retired_at.is_(None),
    )
    row = session.scalars(statement).first() if _AKI.match(aki) else None
    if row is None:
        raise Refused(Reason.NOT_FOUND, "no CA with this key identifier")
    return row


def live_client_authorities(session: Session) -> list[Authority]:
    """The CAs whose certificates a device may present: every live issuing CA and the root above them."""
    return list(
        session.scalars(
            select(Authority).where(
                Authority.kind.in_((AuthorityKind.ROOT, AuthorityKind.ISSUING)),
                Authority.retired_at.is_(None),
            )
        )
    )
