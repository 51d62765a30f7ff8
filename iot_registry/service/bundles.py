"""Enrollment tokens, and the bundle that carries one to a device with all else it needs to enroll."""

from __future__ import annotations

import base64
import datetime as dt
import hmac
import json
import secrets

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from iot_registry.config import Settings
from iot_registry.errors import Reason, Refused
from iot_registry.service.access import digest
from iot_registry.store.models import Device, DeviceStatus, Token

BUNDLE_PREFIX = "iotreg1."


def encode(
    settings: Settings, device_name: str, domain: str, secret: str, expires: dt.datetime, anchor_pem: str
) -> str:
    """One string for the device: `iotreg1.` and base64url of JSON."""
    content = {
        "name": device_name,
        "token": secret,
        "est": f"{settings.public_url}/.well-known/est/{domain}",
        "provisioning": f"{settings.public_url}/v1/domains/{domain}/provisioning",
        "ca": anchor_pem,
        "expires": expires.isoformat(),
    }
    data = json.dumps(content, separators=(",", ":")).encode()
    return BUNDLE_PREFIX + base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def create_token(
    session: Session, device: Device, now: dt.datetime, hours: float, rollover_id: int | None = None
) -> tuple[Token, str]:
    """A new token for a device; earlier ones that are still open stop working. Raises Refused."""
    if device.status in (DeviceStatus.REVOKED, DeviceStatus.REHOMED):
        raise Refused(Reason.CONFLICT, f"{device.name} is {device.status}: it cannot enroll")
    cancel_tokens(session, device.id, now)
    secret = secrets.token_urlsafe(32)
    token = Token(
        device_id=device.id,
        secret_sha256=digest(secret),
        created_at=now,
        expires_at=now + dt.timedelta(hours=hours),
        rollover_id=rollover_id,
    )
    session.add(token)
    return token, secret


def cancel_tokens(session: Session, device_id: int, now: dt.datetime) -> None:
    session.execute(
        update(Token)
        .where(Token.device_id == device_id, Token.used_at.is_(None), Token.cancelled_at.is_(None))
        .values(cancelled_at=now)
    )


def find_token(session: Session, device: Device | None, secret: str, now: dt.datetime) -> Token | None:
    """The device's token with this secret, used or not; None: wrong, cancelled, or expired before it was used."""
    wanted = digest(secret)
    # The row lock makes two enrollments with one token wait for each other on PostgreSQL.
    statement = select(Token).where(Token.device_id == (device.id if device else -1)).with_for_update()
    found: Token | None = None
    for token in session.scalars(statement):
        if hmac.compare_digest(token.secret_sha256, wanted):
            found = token
    if found is None or found.cancelled_at is not None:
        return None
    return found if found.used_at is not None or found.expires_at > now else None
