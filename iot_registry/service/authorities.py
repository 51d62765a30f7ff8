"""The registry's CAs: made, found, and served."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from iot_registry.core import ca_certificates
from iot_registry.local import private_keys
from iot_registry.local.config import Settings
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.store import change_feed
from iot_registry.store.models import Authority, AuthorityKind, Domain
from web_service.core import ConfigurationError, Reason, Refused

# Pairs of hexadecimal digits joined by dashes, with an upper bound on their length.
_AKI = re.compile(r"[0-9A-Fa-f-]{1,128}\Z")


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
        aki=ca_certificates.key_identifier(cert),
        fingerprint=ca_certificates.fingerprint(cert),
        created_at=now,
        not_after=cert.not_valid_after_utc,
    )
    session.add(row)
    session.flush()
    return row


def singleton(session: Session, kind: AuthorityKind) -> Authority:
    """The root CA or the HTTPS server's CA. Raises ConfigurationError before `init`."""
    row = session.scalars(select(Authority).where(Authority.kind == kind, Authority.retired_at.is_(None))).first()
    if row is None:
        raise ConfigurationError("the registry is not initialized: run `iot-registry init`")
    return row


def server_anchor(session: Session, settings: Settings) -> str:
    """The certificate, in PEM, that a client of the HTTPS server must trust. Raises ConfigurationError."""
    if settings.tls.anchor is None:
        return singleton(session, AuthorityKind.SERVER).pem
    try:
        pem = settings.tls.anchor.read_text()
        return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.PEM).decode()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{settings.tls.anchor}: expected a certificate in PEM: {error}") from None


def ensure_singletons(session: Session, store: CaKeyStore, settings: Settings, now: dt.datetime) -> bool:
    """Make the root CA and the HTTPS server's CA if there are none; returns whether any was made."""
    made = False
    for kind, title, path_length in (
        (AuthorityKind.ROOT, "IoT registry root CA", 1),
        (AuthorityKind.SERVER, "IoT registry server anchor", 0),
    ):
        if session.scalars(select(Authority.id).where(Authority.kind == kind)).first() is not None:
            continue
        key = private_keys.generate()
        cert = ca_certificates.self_signed(key, title, now, settings.ca.root_days, path_length)
        # The key is saved first. After a crash in between, a key file is left over, which is harmless; a certificate
        # without a key would be useless.
        store.save(kind, ca_certificates.key_identifier(cert), key)
        _record(session, kind, cert, now)
        made = True
    return made


def create_issuing(
    session: Session, store: CaKeyStore, settings: Settings, domain: Domain, now: dt.datetime
) -> Authority:
    """A new issuing CA for a domain, with an event in the feed. Raises Refused if the root's key is not available."""
    root = singleton(session, AuthorityKind.ROOT)
    try:
        root_key = store.load(root)
    except ConfigurationError as error:
        raise Refused(Reason.UNAVAILABLE, f"a new issuing CA needs the root's key (--root-key): {error}") from None
    if certificate(root).not_valid_after_utc - now < dt.timedelta(days=1):
        raise Refused(
            Reason.UNAVAILABLE,
            f"the root CA expires at {root.not_after.isoformat()} and can sign nothing more: set up a new registry",
        )
    generation = 1 + (
        session.scalar(select(func.max(Authority.generation)).where(Authority.domain_id == domain.id)) or 0
    )
    key = private_keys.generate()
    cert = ca_certificates.issuing(
        key.public_key(), domain.name, generation, root_key, certificate(root), now, settings.ca.issuing_days
    )
    store.save(AuthorityKind.ISSUING, ca_certificates.key_identifier(cert), key)
    row = _record(session, AuthorityKind.ISSUING, cert, now, domain, generation)
    change_feed.append(session, change_feed.ChangeType.ANCHOR_ADDED, domain.id, now, anchor=row)
    return row


def active_issuing(session: Session, domain_id: int, *, lock: bool = False) -> Authority:
    """The CA that issues for this domain now. lock: it cannot be retired before this transaction ends."""
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
    """The root or an issuing CA that is not retired, for PKIX-CD. Raises Refused."""
    statement = select(Authority).where(
        Authority.aki == aki.lower(),
        Authority.kind.in_((AuthorityKind.ROOT, AuthorityKind.ISSUING)),
        Authority.retired_at.is_(None),
    )
    row = session.scalars(statement).first() if _AKI.match(aki) else None
    if row is None:
        raise Refused(
            Reason.NOT_FOUND,
            "no CA has this key identifier, or it is retired: take the identifier from the device's certificate",
        )
    return row


def live_client_authorities(session: Session) -> list[Authority]:
    """The CAs under which devices' certificates are accepted: every issuing CA that is not retired, and the root."""
    return list(
        session.scalars(
            select(Authority).where(
                Authority.kind.in_((AuthorityKind.ROOT, AuthorityKind.ISSUING)),
                Authority.retired_at.is_(None),
            )
        )
    )
