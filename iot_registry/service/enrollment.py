"""Issuing device certificates: by one-time token, and as a renewal by certificate (RFC 7030 section 4.2)."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from iot_registry.core import names
from iot_registry.core.certificate_requests import VettedRequest, vet
from iot_registry.core.device_certificates import device_certificate
from iot_registry.core.errors import CsrReason
from iot_registry.core.tlsa import Profile, rdata
from iot_registry.local.config import Settings
from iot_registry.publication import outbox
from iot_registry.service import audit, authorities
from iot_registry.service.access import Principal, device_principal
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.service.tokens import find_token
from iot_registry.store.change_feed import ChangeType
from iot_registry.store.models import (
    PUBLISHED_STATES,
    Certificate,
    CertificateStatus,
    Device,
    DeviceStatus,
    Domain,
    Token,
)
from web_service.core import Reason, Refused
from web_service.local import secret_digest

MAX_CERTIFICATES_PER_HOUR = 10

# How long after delivery a device may fetch its certificate again, in case the answer was lost. A modem may take
# minutes to find its network again. After that, a spent token must be of no use to anyone.
REDELIVERY_PERIOD = dt.timedelta(minutes=10)

# One text for all wrong credentials: the answer must not tell which names or tokens exist.
WRONG_CREDENTIALS = (
    "the device name and token do not match an open enrollment of this domain: check both, or ask for a new token"
)


class Enrollment:
    """Issues, renews and delivers device certificates."""

    def __init__(self, settings: Settings, store: CaKeyStore) -> None:
        self.settings = settings
        self.store = store

    def is_open(self, session: Session, domain: str, user: str, secret: str, now: dt.datetime) -> bool:
        """Whether this name may enroll with this token, or fetch its certificate again. Nothing is locked or changed.

        Raises Refused if there is no such domain. Each case takes one statement, and all tokens of a name are compared,
        so that neither the answer nor its timing tells which part of the credentials was wrong.
        """
        name = user.lower().removesuffix(".")
        rows = session.execute(
            select(Device.status, Token.secret_sha256, Token.used_at, Token.cancelled_at, Token.expires_at)
            .select_from(Domain)
            # PostgreSQL raises an error for text with NUL.
            .outerjoin(Device, and_(Device.domain_id == Domain.id, Device.name == name.replace("\0", "\ufffd")))
            .outerjoin(Token, Token.device_id == Device.id)
            .where(Domain.name == names.domain(domain))
        ).all()
        if not rows:
            raise Refused(Reason.NOT_FOUND, f"no domain {names.domain(domain)}", field="domain")
        wanted, found = secret_digest(secret), False
        for status, token, used_at, cancelled_at, expires_at in rows:
            same = hmac.compare_digest(token or "0" * len(wanted), wanted)
            good = cancelled_at is None and (used_at is not None or (expires_at is not None and expires_at > now))
            found |= same and good and status not in (None, DeviceStatus.REVOKED, DeviceStatus.REHOMED)
        return found

    def by_token(
        self, session: Session, domain: Domain, user: str, secret: str, csr_der: bytes, now: dt.datetime
    ) -> Certificate:
        """Issue a certificate to a device that holds a token. A refusal does not spend the token. Raises Refused."""
        name = user.lower().removesuffix(".")
        # PostgreSQL raises an error for text with NUL.
        device = (
            None
            if "\0" in name
            else session.scalars(
                select(Device)
                .where(Device.name == name, Device.domain_id == domain.id)
                # Without the lock, a revocation could happen between the check of the status and the change of it.
                .with_for_update()
            ).first()
        )
        token = find_token(session, device, secret, now)
        if device is None or token is None or device.status in (DeviceStatus.REVOKED, DeviceStatus.REHOMED):
            raise Refused(Reason.UNAUTHENTICATED, WRONG_CREDENTIALS)
        if token.used_at is not None:
            return self._reissue(session, device, token.certificate_id, csr_der, now)
        request = vet(csr_der, device.name)
        certificate = self.issue(session, device, request, now, device_principal(device.name, domain.id))
        token.used_at = now
        token.certificate_id = certificate.id
        return certificate

    def _reissue(
        self, session: Session, device: Device, certificate_id: int | None, csr_der: bytes, now: dt.datetime
    ) -> Certificate:
        """The certificate for a repeated request: after a 202 (RFC 7030 section 4.2.3), or because the answer was lost.

        The same key gets the same certificate. Any other use of a spent token is a replay. An attacker with token and
        request but without the private key gains nothing: the certificate is public, and of no use without that key.
        """
        certificate = session.get(Certificate, certificate_id) if certificate_id else None
        if certificate is None or not _may_be_fetched(session, certificate, now):
            raise Refused(Reason.UNAUTHENTICATED, WRONG_CREDENTIALS)
        if _spki_sha256(vet(csr_der, device.name)) != certificate.spki_sha256:
            raise Refused(Reason.UNAUTHENTICATED, WRONG_CREDENTIALS)
        if certificate.status == CertificateStatus.CURRENT:
            self._record_redelivery(session, device, certificate, now)
        return certificate

    def _record_redelivery(self, session: Session, device: Device, certificate: Certificate, now: dt.datetime) -> None:
        who = device_principal(device.name, device.domain_id)
        audit.record(
            session,
            who,
            "certificate.again",
            device.name,
            now,
            domain_id=device.domain_id,
            serial=certificate.serial,
            fingerprint=certificate.fingerprint,
        )

    def by_certificate(
        self, session: Session, domain: Domain, peer_der: bytes, csr_der: bytes, now: dt.datetime
    ) -> Certificate:
        """Renew for a device that has proven in TLS that it holds the key of a valid certificate. Raises Refused."""
        held = self.live_certificate(session, peer_der, now)
        device = session.get_one(Device, held.device_id, with_for_update=True)
        if device.status != DeviceStatus.ACTIVE:
            raise Refused(Reason.UNAUTHENTICATED, "the device was revoked: it cannot renew unless it is restored")
        if device.domain_id != domain.id:
            raise Refused(
                Reason.UNAUTHENTICATED, "the client certificate belongs to another domain: use that domain's EST path"
            )
        request = vet(csr_der, device.name)
        waiting = session.scalars(
            select(Certificate).where(
                Certificate.device_id == device.id, Certificate.status == CertificateStatus.PENDING
            )
        ).all()
        for certificate in waiting:
            if certificate.spki_sha256 == _spki_sha256(request):
                return certificate
        if held.status == CertificateStatus.RETIRING and (again := _recently_renewed(session, device, request, now)):
            self._record_redelivery(session, device, again, now)
            return again
        _limit_renewals(session, device, now)
        return self.issue(session, device, request, now, device_principal(device.name, domain.id))

    def live_certificate(self, session: Session, peer_der: bytes, now: dt.datetime) -> Certificate:
        """The row of a client certificate that is not withdrawn, of a device that is not revoked. Raises Refused.

        TLS has proven possession of the key. Only the database tells whether the certificate is still valid.
        """
        fingerprint = hashlib.sha256(peer_der).hexdigest()
        row = session.scalars(select(Certificate).where(Certificate.fingerprint == fingerprint)).first()
        if (
            row is None
            or row.status not in (CertificateStatus.CURRENT, CertificateStatus.RETIRING)
            or row.not_after <= now
            or row.authority.retired_at is not None
            or session.get_one(Device, row.device_id).status != DeviceStatus.ACTIVE
        ):
            raise Refused(
                Reason.UNAUTHENTICATED,
                "the client certificate is revoked, replaced, expired or not of this registry: enroll with a new token",
            )
        return row

    def issue(
        self, session: Session, device: Device, request: VettedRequest, now: dt.datetime, principal: Principal
    ) -> Certificate:
        """Sign a certificate and queue its record. It stays `pending` until `deliver`. Raises Refused."""
        _refuse_shared_key(session, device, request)
        # Only one certificate may be pending: the key of one that was never fetched must not stay published.
        for waiting in session.scalars(
            select(Certificate).where(
                Certificate.device_id == device.id, Certificate.status == CertificateStatus.PENDING
            )
        ):
            waiting.status = CertificateStatus.WITHDRAWN
        authority = authorities.active_issuing(session, device.domain_id, lock=True)
        if authority.not_after <= now:
            raise Refused(
                Reason.UNAVAILABLE,
                f"the issuing CA expired at {authority.not_after.isoformat()}: its operator must renew it (`ca renew`)",
            )
        key = self.store.load(authority)
        cert = device_certificate(
            request.public_key,
            device.name,
            key,
            authorities.certificate(authority),
            now,
            self.settings.ca.device_days,
            device.mud_url,
        )
        row = Certificate(
            device_id=device.id,
            authority_id=authority.id,
            serial=f"{cert.serial_number:x}",
            fingerprint=cert.fingerprint(hashes.SHA256()).hex(),
            spki_sha256=_spki_sha256(request),
            der=cert.public_bytes(Encoding.DER),
            status=CertificateStatus.PENDING,
            issued_at=now,
            not_after=cert.not_valid_after_utc,
        )
        row.authority = authority
        row.hold_seconds = self._hold_seconds(device, row)
        session.add(row)
        first = device.status == DeviceStatus.REGISTERED
        device.status = DeviceStatus.ACTIVE
        device.updated_at = now
        session.flush()
        outbox.enqueue(session, device, ChangeType.DEVICE_ADDED if first else ChangeType.DEVICE_CHANGED, now)
        audit.record(
            session,
            principal,
            "certificate.issue",
            device.name,
            now,
            domain_id=device.domain_id,
            serial=row.serial,
            fingerprint=row.fingerprint,
        )
        return row

    def _hold_seconds(self, device: Device, row: Certificate) -> int:
        """Seconds to wait after publication: caches must have dropped the old RRset first (RFC 7671 section 8)."""
        if self.settings.enrollment.reenroll_delay != "ttl" or not device.published:
            return 0
        profile = Profile(device.profile or device.domain.profile)
        known = rdata(profile, outbox.certificate_data(row)) in device.published.split("\n")
        return 0 if known else device.domain.ttl

    def seconds_until_ready(self, certificate: Certificate, now: dt.datetime) -> float | None:
        """Seconds until the certificate may be delivered; 0: now; None: its record is not in the DNS yet."""
        if certificate.published_at is None:
            return None
        ready = certificate.published_at + dt.timedelta(seconds=certificate.hold_seconds)
        return max(0.0, (ready - now).total_seconds())

    def deliver(self, session: Session, certificate_id: int, now: dt.datetime) -> Certificate:
        """Make the certificate the current one. Older ones are withdrawn after the overlap. Raises Refused.

        A certificate that was delivered within REDELIVERY_PERIOD is returned unchanged.
        """
        whose = select(Certificate.device_id).where(Certificate.id == certificate_id).scalar_subquery()
        # The lock comes first: what is read after it cannot change before the commit.
        device, domain = session.execute(
            select(Device, Domain).join(Domain).where(Device.id == whose).with_for_update(of=Device)
        ).one()
        found = {
            certificate.id: certificate
            for certificate in session.scalars(
                select(Certificate)
                .where(
                    Certificate.device_id == device.id,
                    (Certificate.id == certificate_id) | (Certificate.status == CertificateStatus.CURRENT),
                )
                .execution_options(populate_existing=True)
            )
        }
        row = found.pop(certificate_id)
        if device.status == DeviceStatus.ACTIVE and _delivered_recently(row, now):
            return row
        if row.status != CertificateStatus.PENDING or device.status != DeviceStatus.ACTIVE:
            raise Refused(
                Reason.CONFLICT,
                f"{device.name} was revoked, or has requested another certificate meanwhile: send that request again",
            )
        overlap = dt.timedelta(seconds=max(domain.ttl, self.settings.enrollment.overlap_seconds))
        for older in found.values():
            older.status = CertificateStatus.RETIRING
            older.retire_at = now + overlap
        row.status = CertificateStatus.CURRENT
        row.delivered_at = now
        if device.rehomed_from_id is not None:
            former = session.get_one(Device, device.rehomed_from_id)
            if former.leaves_at is None:
                former.leaves_at = now + overlap
        return row


def _delivered_recently(row: Certificate, now: dt.datetime) -> bool:
    return (
        row.status == CertificateStatus.CURRENT
        and row.delivered_at is not None
        and row.delivered_at > now - REDELIVERY_PERIOD
    )


def _may_be_fetched(session: Session, certificate: Certificate, now: dt.datetime) -> bool:
    """Whether it is pending, or was delivered recently and is the device's last certificate."""
    if certificate.status == CertificateStatus.PENDING:
        return True
    newer = select(Certificate.id).where(
        Certificate.device_id == certificate.device_id, Certificate.id > certificate.id
    )
    return _delivered_recently(certificate, now) and session.scalars(newer.limit(1)).first() is None


def _recently_renewed(session: Session, device: Device, request: VettedRequest, now: dt.datetime) -> Certificate | None:
    """The certificate that a renewal with this key delivered recently, in case that answer was lost."""
    current = session.scalars(
        select(Certificate).where(
            Certificate.device_id == device.id,
            Certificate.status == CertificateStatus.CURRENT,
            Certificate.spki_sha256 == _spki_sha256(request),
        )
    ).first()
    return current if current is not None and _delivered_recently(current, now) else None


def _spki_sha256(request: VettedRequest) -> str:
    return hashlib.sha256(request.spki).hexdigest()


def _refuse_shared_key(session: Session, device: Device, request: VettedRequest) -> None:
    """Raises Refused if another device has this key: with `3 1 1`, each could impersonate the other."""
    others = session.scalars(
        select(Certificate.device_id).where(
            Certificate.spki_sha256 == _spki_sha256(request), Certificate.device_id != device.id
        )
    ).all()
    for other in set(others):
        # A re-homed device may keep its key.
        if other != device.rehomed_from_id:
            raise Refused(
                CsrReason.KEY_REUSED,
                "this key belongs to another device: make a new key, one for each device",
                field="csr.subjectPublicKeyInfo",
            )


def _limit_renewals(session: Session, device: Device, now: dt.datetime) -> None:
    """Raises Refused if the device renews too often, which would fill the database and the zone's journal."""
    recent = session.scalar(
        select(func.count(Certificate.id)).where(
            Certificate.device_id == device.id, Certificate.issued_at > now - dt.timedelta(hours=1)
        )
    )
    if recent and recent >= MAX_CERTIFICATES_PER_HOUR:
        raise Refused(
            Reason.RATE_LIMITED,
            f"found {recent} certificates within an hour, expected fewer than {MAX_CERTIFICATES_PER_HOUR}: renew later",
            retry_after=600,
        )


def certificates_in_dns(session: Session, device_id: int) -> list[Certificate]:
    """The device's certificates whose records are in the DNS while it is active."""
    return list(
        session.scalars(
            select(Certificate).where(Certificate.device_id == device_id, Certificate.status.in_(PUBLISHED_STATES))
        )
    )


def pem(row: Certificate) -> str:
    return x509.load_der_x509_certificate(row.der).public_bytes(Encoding.PEM).decode()
