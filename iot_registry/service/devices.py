"""Devices: registration, search, revocation, and moves to another domain (re-homing)."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, joinedload

from iot_registry.core import names
from iot_registry.publication import outbox
from iot_registry.service import audit, tokens
from iot_registry.service.access import Principal, Scope
from iot_registry.service.domains import find_domain
from iot_registry.service.enrollment import certificates_in_dns
from iot_registry.service.schemas import CertificateView, DeviceCreate, DeviceDetail, DeviceView
from iot_registry.store.change_feed import ChangeType
from iot_registry.store.models import Certificate, Device, DeviceStatus, Domain, OutboxEntry, Token
from web_service.core import Reason, Refused

MAX_PAGE = 500
# Certificates that are shown of a device, the newest ones. A device that renews daily would have hundreds.
MAX_CERTIFICATES = 50
_SHOWN = ("serial", "fingerprint", "status", "issued_at", "not_after", "published_at", "delivered_at")
_STORED = (*_SHOWN, "der")


def create(
    session: Session, principal: Principal, request: DeviceCreate, default_domain: str, now: dt.datetime
) -> Device:
    """Register a device. Raises Refused: invalid name, domain that the caller does not see, or name that is taken."""
    principal.require(Scope.DEVICE_WRITE)
    if request.domain is None and principal.domain_id is not None:
        domain = session.get_one(Domain, principal.domain_id)
    else:
        domain = find_domain(session, principal, request.domain or default_domain)
    name = names.device(request.label, request.type, domain.name)
    if session.scalars(select(Device.id).where(Device.name == str(name))).first() is not None:
        raise Refused(Reason.CONFLICT, f"{name} exists already: choose another label", field="label")
    device = Device(
        domain_id=domain.id,
        name=str(name),
        type=name.type,
        mud_url=request.mud_url,
        profile=request.profile,
        status=DeviceStatus.REGISTERED,
        created_at=now,
        updated_at=now,
        published="",
    )
    device.domain = domain
    session.add(device)
    session.flush()
    audit.record(session, principal, "device.add", device.name, now, domain_id=domain.id, mud_url=request.mud_url)
    return device


def find(session: Session, principal: Principal, name: str, *, lock: bool = False) -> Device:
    """The device of this name. Raises Refused (NOT_FOUND) if there is none, or if the caller may not see it."""
    parsed = names.parse_device(name)
    statement = select(Device).where(Device.name == str(parsed))
    device = session.scalars(statement.with_for_update() if lock else statement).first()
    if device is None or not principal.sees(device.domain_id):
        raise Refused(
            Reason.NOT_FOUND, f"no device {parsed}: check the name, and the domain of the API key", field="name"
        )
    return device


def issue_token(
    session: Session, principal: Principal, device: Device, now: dt.datetime, hours: float
) -> tuple[Token, str]:
    """A new one-time token, and its secret. Open tokens of the device are cancelled. Raises Refused."""
    principal.require(Scope.DEVICE_WRITE)
    token, secret = tokens.create_token(session, device, now, hours)
    audit.record(
        session,
        principal,
        "device.token",
        device.name,
        now,
        domain_id=device.domain_id,
        expires=token.expires_at.isoformat(),
    )
    return token, secret


def revoke(session: Session, principal: Principal, name: str, reason: str, now: dt.datetime) -> Device:
    """Withdraw the device's records and cancel its tokens. A repetition changes nothing. Raises Refused."""
    principal.require(Scope.DEVICE_WRITE)
    device = find(session, principal, name, lock=True)
    if device.status == DeviceStatus.REVOKED:
        return device
    if device.status == DeviceStatus.REHOMED:
        raise Refused(Reason.CONFLICT, f"{device.name} was re-homed and has no records any more: revoke its new name")
    device.status = DeviceStatus.REVOKED
    device.revoked_at = device.updated_at = now
    device.revoke_reason = reason or None
    tokens.cancel_tokens(session, device.id, now)
    outbox.enqueue(session, device, ChangeType.DEVICE_REVOKED, now)
    audit.record(session, principal, "device.revoke", device.name, now, domain_id=device.domain_id, reason=reason)
    return device


def restore(session: Session, principal: Principal, name: str, now: dt.datetime) -> Device:
    """Undo a revocation. Without a certificate that is still valid, the device must enroll again. Raises Refused."""
    principal.require(Scope.DEVICE_WRITE)
    device = find(session, principal, name, lock=True)
    if device.status == DeviceStatus.REHOMED:
        raise Refused(Reason.CONFLICT, f"{device.name} was re-homed and cannot be restored: use its new name")
    if device.status != DeviceStatus.REVOKED:
        return device
    usable = outbox.live_certificates(certificates_in_dns(session, device.id), now)
    device.status = DeviceStatus.ACTIVE if usable else DeviceStatus.REGISTERED
    device.revoked_at = device.revoke_reason = None
    device.updated_at = now
    outbox.enqueue(session, device, ChangeType.DEVICE_RESTORED, now)
    audit.record(session, principal, "device.restore", device.name, now, domain_id=device.domain_id)
    return device


def rehome(session: Session, principal: Principal, name: str, target: str, immediate: bool, now: dt.datetime) -> Device:
    """Move a device to another domain; returns the device under its new name, which must enroll. Raises Refused.

    The old name stays valid until the device has its new certificate, unless `immediate`.
    """
    principal.require(Scope.DEVICE_WRITE)
    old = find(session, principal, name, lock=True)
    domain = find_domain(session, principal, target)
    if old.status in (DeviceStatus.REVOKED, DeviceStatus.REHOMED):
        raise Refused(
            Reason.CONFLICT,
            f"{old.name} is {old.status}, expected registered or active: only such a device can be re-homed",
        )
    if domain.id == old.domain_id:
        raise Refused(Reason.CONFLICT, f"{old.name} is in {domain.name} already: name another domain", field="domain")
    parsed = names.parse_device(old.name)
    request = DeviceCreate(label=parsed.label, type=parsed.type, domain=domain.name, mud_url=old.mud_url)
    new = create(session, principal, request, domain.name, now)
    # A device that has never used this name still uses the one before it.
    unused = old.status == DeviceStatus.REGISTERED and old.rehomed_from_id is not None
    new.rehomed_from_id = old.rehomed_from_id if unused else old.id
    if immediate or old.status == DeviceStatus.REGISTERED:
        old.status = DeviceStatus.REHOMED
        tokens.cancel_tokens(session, old.id, now)
        outbox.enqueue(session, old, ChangeType.DEVICE_REHOMED, now)
    old.updated_at = now
    audit.record(session, principal, "device.rehome", old.name, now, domain_id=old.domain_id, to=new.name)
    return new


def search(
    session: Session,
    principal: Principal,
    *,
    domain: str | None = None,
    status: str | None = None,
    type_: str | None = None,
    text: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> tuple[list[DeviceView], str | None]:
    """One page of devices in order of their names, and the `after` of the next page. Raises Refused."""
    principal.require(Scope.DEVICE_READ)
    statement = _visible(session, principal, domain)
    if status is not None:
        statement = statement.where(Device.status == status)
    if type_ is not None:
        statement = statement.where(Device.type == type_)
    if text:
        statement = statement.where(Device.name.contains(text.lower(), autoescape=True))
    page, following = _page(session, statement, after, min(limit, MAX_PAGE))
    return views(session, page), following


def _visible(session: Session, principal: Principal, domain: str | None) -> Select[Device]:
    """Selects the devices that the caller may see, of one domain or of all. Raises Refused."""
    statement = select(Device)
    if principal.domain_id is not None:
        statement = statement.where(Device.domain_id == principal.domain_id)
    if domain is not None:
        statement = statement.where(Device.domain_id == find_domain(session, principal, domain).id)
    return statement


def _page(
    session: Session, statement: Select[Device], after: str | None, limit: int
) -> tuple[list[Device], str | None]:
    """The devices that follow `after` in order of their names, and the `after` of the next page."""
    # The domain is joined: one by one, a page of devices would read each of its domains.
    statement = statement.options(joinedload(Device.domain)).order_by(Device.name).limit(limit + 1)
    if after:
        statement = statement.where(Device.name > after)
    devices = list(session.scalars(statement))
    return devices[:limit], devices[limit - 1].name if len(devices) > limit else None


def view(session: Session, principal: Principal, name: str) -> DeviceView:
    """One device. Raises Refused."""
    return views(session, [find(session, principal, name)])[0]


def views(session: Session, devices: Sequence[Device]) -> list[DeviceView]:
    """The devices as the API shows them, in a fixed number of statements."""
    ids = [device.id for device in devices]
    pending = set(session.scalars(select(OutboxEntry.device_id).where(OutboxEntry.device_id.in_(ids))))
    former_ids = [device.rehomed_from_id for device in devices if device.rehomed_from_id]
    former: dict[int, str] = {
        row.id: row.name for row in session.execute(select(Device.id, Device.name).where(Device.id.in_(former_ids)))
    }
    return [DeviceView(**_fields(device, device.id in pending, former)) for device in devices]


def _fields(device: Device, pending: bool, former: dict[int, str]) -> dict[str, Any]:
    return {
        "name": device.name,
        "domain": device.domain.name,
        "type": device.type,
        "status": device.status,
        "mud_url": device.mud_url,
        "profile": device.profile or device.domain.profile,
        "created_at": device.created_at,
        "updated_at": device.updated_at,
        "revoked_at": device.revoked_at,
        "revoke_reason": device.revoke_reason,
        "rehomed_from": former.get(device.rehomed_from_id or 0),
        "published": device.published.split("\n") if device.published else [],
        "pending": pending,
    }


def detail(session: Session, principal: Principal, name: str, now: dt.datetime) -> DeviceDetail:
    """Everything about one device. Raises Refused."""
    principal.require(Scope.DEVICE_READ)
    return _details(session, [find(session, principal, name)], now)[0]


def _details(session: Session, devices: Sequence[Device], now: dt.datetime) -> list[DeviceDetail]:
    """Everything about each device, in a fixed number of statements for all of them."""
    ids = [device.id for device in devices]
    certificates = _newest_certificates(session, ids)
    expires = _open_tokens(session, ids, now)
    return [
        DeviceDetail.model_construct(
            **view.__dict__,
            certificates=certificates.get(device.id, []),
            token_expires_at=expires.get(device.id),
        )
        for device, view in zip(devices, views(session, devices), strict=True)
    ]


def _newest_certificates(session: Session, ids: Sequence[int]) -> dict[int, list[CertificateView]]:
    """The last MAX_CERTIFICATES certificates of each device, newest first."""
    age = func.row_number().over(partition_by=Certificate.device_id, order_by=Certificate.id.desc()).label("age")
    columns = [Certificate.__table__.c[field] for field in ("device_id", *_STORED)]
    ranked = select(*columns, Certificate.id, age).where(Certificate.device_id.in_(ids)).subquery()
    found: dict[int, list[CertificateView]] = {}
    newest = select(ranked).where(ranked.c.age <= MAX_CERTIFICATES).order_by(ranked.c.id.desc())
    for row in session.execute(newest).mappings():
        found.setdefault(row["device_id"], []).append(
            CertificateView.model_construct(**{field: row[field] for field in _SHOWN}, pem=_pem(row["der"]))
        )
    return found


def _open_tokens(session: Session, ids: Sequence[int], now: dt.datetime) -> dict[int, dt.datetime]:
    """When the open token of each device expires, for devices that have one."""
    rows = session.execute(
        select(Token.device_id, func.max(Token.expires_at))
        .where(
            Token.device_id.in_(ids),
            Token.used_at.is_(None),
            Token.cancelled_at.is_(None),
            Token.expires_at > now,
        )
        .group_by(Token.device_id)
    )
    return {row[0]: row[1] for row in rows}


def _pem(der: bytes) -> str:
    """PEM (RFC 7468). The certificate is not parsed: the registry made it."""
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def export_page(
    session: Session, principal: Principal, domain: str | None, after: str | None, now: dt.datetime
) -> tuple[list[DeviceDetail], str | None]:
    """A page of devices with their certificates, and the `after` of the next page; None: this was the last one."""
    principal.require(Scope.DEVICE_READ)
    found, following = _page(session, _visible(session, principal, domain), after, MAX_PAGE)
    return _details(session, found, now), following


def export_all(
    session: Session, principal: Principal, domain: str | None, now: dt.datetime
) -> Iterator[dict[str, Any]]:
    """Every device that the caller may see, with its certificates, one at a time. Raises Refused."""
    after: str | None = None
    while True:
        page, after = export_page(session, principal, domain, after, now)
        for device in page:
            yield device.model_dump(mode="json")
        if after is None:
            return
