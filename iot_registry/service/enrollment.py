"""Issuing to devices: by one-time token, and again by the certificate they hold (RFC 7030 section 4.2)."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from iot_registry import names
from iot_registry.config import Settings
from iot_registry.errors import Reason, Refused
from iot_registry.feed import ChangeType
from iot_registry.pki.issue import device_certificate
from iot_registry.pki.request import VettedRequest, vet
from iot_registry.publication import outbox
from iot_registry.publication.profile import Profile, rdata
from iot_registry.service import authorities
from iot_registry.service.access import Principal, audit, device_principal, digest
from iot_registry.service.bundles import find_token
from iot_registry.store.models import (
    PUBLISHED_STATES,
    Certificate,
    CertificateStatus,
    Device,
    DeviceStatus,
    Domain,
    Token,
)

MAX_CERTIFICATES_PER_HOUR = 10

# How long a device that did not get its answer may fetch it again: longer than a modem takes to find its network back,
# shorter than anyone who comes upon the spent token later.
ANSWER_AGAIN = dt.timedelta(minutes=10)

# One text for every way in which credentials can be wrong: it must not tell which names or tokens exist.
WRONG_CREDENTIALS = "the device name and token do not match an open enrollment of this domain"


class Enrollment:
    """What issuing needs besides the database."""

    def __init__(self, settings: Settings, store: authorities.KeyStore) -> None:
        self.settings = settings
        self.store = store

    def is_open(self, session: Session, domain: str, user: str, secret: str, now: dt.datetime) -> bool:
        """Whether this name may enroll with this token, or fetch what it enrolled for. A look only: no lock, no change.

        Raises Refused if there is no such domain. One statement for every case, and every token of the name compared,
        so that neither the answer nor its time tells what of the credentials was wrong.
        """
        name = user.lower().removesuffix(".")
        rows = session.execute(
            select(Device.status, Token.secret_sha256, Token.used_at, Token.cancelled_at, Token.expires_at)
            .select_from(Domain)
            # PostgreSQL refuses to look for text that it could not hold.
            .outerjoin(Device, and_(Device.domain_id == Domain.id, Device.name == name.replace("\0", "\ufffd")))
            .outerjoin(Token, Token.device_id == Device.id)
            .where(Domain.name == names.domain(domain))
        ).all()
        if not rows:
            raise Refused(Reason.NOT_FOUND, f"no domain {names.domain(domain)}", field="domain")
        wanted, found = digest(secret), False
        for status, token, used_at, cancelled_at, expires_at in rows:
            same = hmac.compare_digest(token or "0" * len(wanted), wanted)
            good = cancelled_at is None and (used_at is not None or (expires_at is not None and expires_at > now))
            found |= same and good and status not in (None, DeviceStatus.REVOKED, DeviceStatus.REHOMED)
        return found

    def by_token(
        self, session: Session, domain: Domain, user: str, secret: str, csr_der: bytes, now: dt.datetime
    ) -> Certificate:
        """Issue to a device that holds a token. The token is spent, unless this is refused. Raises
        Refused."""
        name = user.lower().removesuffix(".")
        # PostgreSQL refuses to look for text that it could not hold.
        device = (
            None
            if "\0" in name
            else session.scalars(
                select(Device)
                .where(Device.name == name, Device.domain_id == domain.id)
                # A revocation must not slip in between this look at the status and the change of it below.
                .with_for_update()
            ).first()
        )
        token = find_token(session, device, secret, now)
        if device is None or token is None or device.status in (DeviceStatus.REVOKED, DeviceStatus.REHOMED):
            raise Refused(Reason.UNAUTHENTICATED, WRONG_CREDENTIALS)
        if token.used_at is not None:
            return self._collect(session, device, token.certificate_id, csr_der, now)
        request = vet(csr_der, device.name)
        certificate = self.issue(session, device, request, now, device_principal(device.name, domain.id))
        token.used_at = now
        token.certificate_id = certificate.id
        return certificate

    def _collect(
        self, session: Session, device: Device, certificate_id: int | None, csr_der: bytes, now: dt.datetime
    ) -> Certificate:
        """The same request again: after a 202 (RFC 7030 section 4.2.3), or because the answer was lost on the way.

        The same key is answered with the same certificate; any other use of a spent token is a replay. Whoever has
        token and request but not the key gains nothing: the certificate is public, and useless without that key.
        """
        certificate = session.get(Certificate, certificate_id) if certificate_id else None
        if certificate is None or not _collectable(session, certificate, now):
            raise Refused(Reason.UNAUTHENTICATED, WRONG_CREDENTIALS)
        if _spki_sha256(vet(csr_der, device.name)) != certificate.spki_sha256:
            raise Refused(Reason.UNAUTHENTICATED, WRONG_CREDENTIALS)
        if certificate.status == CertificateStatus.CURRENT:
            self._note_again(session, device, certificate, now)
        return certificate

    def _note_again(self, session: Session, device: Device, certificate: Certificate, now: dt.datetime) -> None:
        who = device_principal(device.name, device.domain_id)
        audit(
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
        """Renew for a device that has proven (in TLS) to hold the key of a live certificate. Raises
        Refused."""
        held = self.live_certificate(session, peer_der, now)
        device = session.get_one(Device, held.device_id, with_for_update=True)
        if device.status != DeviceStatus.ACTIVE:
            raise Refused(Reason.UNAUTHENTICATED, "the device was revoked")
        if device.domain_id != domain.id:
            raise Refused(Reason.UNAUTHENTICATED, "the client certificate is not of this domain")
        request = vet(csr_der, device.name)
        waiting = session.scalars(
            select(Certificate).where(
                Certificate.device_id == device.id, Certificate.status == CertificateStatus.PENDING
            )
        ).all()
        for certificate in waiting:
            if certificate.spki_sha256 == _spki_sha256(request):
                return certificate
        if held.status == CertificateStatus.RETIRING and (again := _lost_answer(session, device, request, now)):
            self._note_again(session, device, again, now)
            return again
        _refuse_haste(session, device, now)
        return self.issue(session, device, request, now, device_principal(device.name, domain.id))

    def live_certificate(self, session: Session, peer_der: bytes, now: dt.datetime) -> Certificate:
        """The row of a client certificate that was not withdrawn, of a device that was not revoked.
        Raises Refused.

        TLS has proven possession of the key; the database alone says whether the certificate still counts.
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
            raise Refused(Reason.UNAUTHENTICATED, "the client certificate is revoked, replaced, expired or not ours")
        return row

    def issue(
        self, session: Session, device: Device, request: VettedRequest, now: dt.datetime, principal: Principal
    ) -> Certificate:
        """Sign, and queue the records. The certificate waits in `pending` until `deliver`. Raises Refused."""
        _refuse_shared_key(session, device, request)
        # One may wait to be collected, not more: a key that nobody came back for must not stay published.
        for waiting in session.scalars(
            select(Certificate).where(
                Certificate.device_id == device.id, Certificate.status == CertificateStatus.PENDING
            )
        ):
            waiting.status = CertificateStatus.WITHDRAWN
        authority = authorities.active_issuing(session, device.domain_id, lock=True)
        if authority.not_after <= now:
            raise Refused(Reason.UNAVAILABLE, f"the issuing CA ended at {authority.not_after.isoformat()}: renew it")
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
        audit(
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
        """RFC 7671 section 8: caches that hold the old records must have dropped them before the new key
        is used."""
        if self.settings.enrollment.reenroll_delay != "ttl" or not device.published:
            return 0
        profile = Profile(device.profile or device.domain.profile)
        known = rdata(profile, outbox.credential(row)) in device.published.split("\n")
        return 0 if known else device.domain.ttl

    def seconds_until_ready(self, certificate: Certificate, now: dt.datetime) -> float | None:
        """How long until the certificate may be handed out; 0: now; None: its record is not in the DNS
        yet."""
        if certificate.published_at is None:
            return None
        ready = certificate.published_at + dt.timedelta(seconds=certificate.hold_seconds)
        return max(0.0, (ready - now).total_seconds())

    def deliver(self, session: Session, certificate_id: int, now: dt.datetime) -> Certificate:
        """Hand the certificate out: it becomes the current one, older ones leave after the overlap. What was handed out
        just now is handed out again. Raises Refused."""
        whose = select(Certificate.device_id).where(Certificate.id == certificate_id).scalar_subquery()
        # The lock first: what is read after it stays true until the commit.
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
        if device.status == DeviceStatus.ACTIVE and _delivered_lately(row, now):
            return row
        if row.status != CertificateStatus.PENDING or device.status != DeviceStatus.ACTIVE:
            raise Refused(Reason.CONFLICT, f"{device.name} was revoked, or asked for another certificate, meanwhile")
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


def _delivered_lately(row: Certificate, now: dt.datetime) -> bool:
    return (
        row.status == CertificateStatus.CURRENT
        and row.delivered_at is not None
        and row.delivered_at > now - ANSWER_AGAIN
    )


def _collectable(session: Session, certificate: Certificate, now: dt.datetime) -> bool:
    """Whether it waits to be handed out, or was just now and the device has not gone on from it."""
    if certificate.status == CertificateStatus.PENDING:
        return True
    newer = select(Certificate.id).where(
        Certificate.device_id == certificate.device_id, Certificate.id > certificate.id
    )
    return _delivered_lately(certificate, now) and session.scalars(newer.limit(1)).first() is None


def _lost_answer(session: Session, device: Device, request: VettedRequest, now: dt.datetime) -> Certificate | None:
    """What a renewal for this very key was answered with just now, if the device still shows its old certificate."""
    current = session.scalars(
        select(Certificate).where(
            Certificate.device_id == device.id,
            Certificate.status == CertificateStatus.CURRENT,
            Certificate.spki_sha256 == _spki_sha256(request),
        )
    ).first()
    return current if current is not None and _delivered_lately(current, now) else None


def _spki_sha256(request: VettedRequest) -> str:
    return hashlib.sha256(request.spki).hexdigest()


def _refuse_shared_key(session: Session, device: Device, request: VettedRequest) -> None:
    """Two devices with one key could each pass for the other wherever `3 1 1` is published."""
    others = session.scalars(
        select(Certificate.device_id).where(
            Certificate.spki_sha256 == _spki_sha256(request), Certificate.device_id != device.id
        )
    ).all()
    for other in set(others):
        # The same device under its former name keeps its key.
        if other != device.rehomed_from_id:
            raise Refused(
                Reason.KEY_REUSED,
                "this key belongs to another device already; every device needs its own",
                field="csr.subjectPublicKeyInfo",
            )


def _refuse_haste(session: Session, device: Device, now: dt.datetime) -> None:
    """A device that renews in a loop, by fault or on purpose, must not fill the database and the zone's journal."""
    recent = session.scalar(
        select(func.count(Certificate.id)).where(
            Certificate.device_id == device.id, Certificate.issued_at > now - dt.timedelta(hours=1)
        )
    )
    if recent and recent >= MAX_CERTIFICATES_PER_HOUR:
        raise Refused(
            Reason.RATE_LIMITED,
            f"{recent} certificates within an hour, at most {MAX_CERTIFICATES_PER_HOUR} are issued to one device",
            retry_after=600,
        )


def live_rows(session: Session, device_id: int) -> list[Certificate]:
    return list(
        session.scalars(
            select(Certificate).where(Certificate.device_id == device_id, Certificate.status.in_(PUBLISHED_STATES))
        )
    )


def pem(row: Certificate) -> str:
    return x509.load_der_x509_certificate(row.der).public_bytes(Encoding.PEM).decode()
