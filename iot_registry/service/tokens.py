"""One-time enrollment tokens."""

from __future__ import annotations

import datetime as dt
import hmac
import secrets

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from iot_registry.store.models import Device, DeviceStatus, Token
from web_service.core import Reason, Refused
from web_service.local import secret_digest


def create_token(
    session: Session, device: Device, now: dt.datetime, hours: float, rollover_id: int | None = None
) -> tuple[Token, str]:
    """A new token for a device, and its secret, which is not stored. Open tokens are cancelled. Raises Refused."""
    if device.status in (DeviceStatus.REVOKED, DeviceStatus.REHOMED):
        hint = "restore it first" if device.status == DeviceStatus.REVOKED else "make a token for its new name"
        raise Refused(Reason.CONFLICT, f"{device.name} is {device.status} and cannot enroll: {hint}")
    cancel_tokens(session, device.id, now)
    secret = secrets.token_urlsafe(32)
    token = Token(
        device_id=device.id,
        secret_sha256=secret_digest(secret),
        created_at=now,
        expires_at=now + dt.timedelta(hours=hours),
        rollover_id=rollover_id,
    )
    session.add(token)
    return token, secret


def cancel_tokens(session: Session, device_id: int, now: dt.datetime) -> None:
    """Cancel the device's open tokens."""
    session.execute(
        update(Token)
        .where(Token.device_id == device_id, Token.used_at.is_(None), Token.cancelled_at.is_(None))
        .values(cancelled_at=now)
    )


def find_token(session: Session, device: Device | None, secret: str, now: dt.datetime) -> Token | None:
    """The device's token with this secret, used or open; None: wrong, cancelled, or expired unused."""
    wanted = secret_digest(secret)
    # On PostgreSQL, the row lock makes two enrollments with one token wait for each other.
    statement = select(Token).where(Token.device_id == (device.id if device else -1)).with_for_update()
    found: Token | None = None
    for token in session.scalars(statement):
        if hmac.compare_digest(token.secret_sha256, wanted):
            found = token
    if found is None or found.cancelled_at is not None:
        return None
    return found if found.used_at is not None or found.expires_at > now else None
