"""The inventory in the form of SCIM: list, read, create, replace, patch and delete devices."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, false, func, not_, or_, select, true
from sqlalchemy.orm import Session

from operations.core import scim_filter as filters
from operations.core import standing as rules
from operations.core.names import parse_name
from operations.core.reasons import ScimReason
from operations.core.scim_device import CORE, EXTENSION, Wanted
from operations.core.standing import State, Subject, Wish
from operations.service import audit, standings
from operations.service.access import Principal, Scope
from operations.service.known_devices import new_device
from operations.store import change_feed
from operations.store.models import DecisionRow, Device, PlaceRow, StandingEntry
from policy import Standing
from web_service.core import Reason, Refused

Json = dict[str, Any]

_PREFIX = EXTENSION.lower()
_STANDING = func.coalesce(StandingEntry.standing, str(Standing.NORMAL))
_TEXTS: dict[str, Any] = {
    "id": Device.uid,
    "displayname": Device.display_name,
    "mudurl": Device.mud_url,
    f"{_PREFIX}:name": Device.name,
    f"{_PREFIX}:maker": Device.maker,
    f"{_PREFIX}:type": Device.type,
    f"{_PREFIX}:zone": Device.zone,
    f"{_PREFIX}:standing": _STANDING,
}
_FLAGS: dict[str, Any] = {
    "active": str(Standing.BLOCKED) != _STANDING,
    f"{_PREFIX}:approved": func.coalesce(StandingEntry.approved, false()),
    f"{_PREFIX}:proven": Device.proven,
}
_TIMES: dict[str, Any] = {
    "meta.created": Device.created_at,
    "meta.lastmodified": Device.changed_at,
    f"{_PREFIX}:firstseen": Device.first_seen,
    f"{_PREFIX}:lastseen": Device.last_seen,
}


@dataclass(frozen=True)
class Page:
    """A page of a list. total: how many devices meet the filter."""

    total: int
    resources: list[Json]


def find(session: Session, who: Principal, text: str | None, start: int, count: int, now: dt.datetime) -> Page:
    """Devices that meet a filter, by name. start: from 1. Raises Refused."""
    who.require(Scope.DEVICE_READ)
    entry = and_(StandingEntry.subject == str(Subject.DEVICE), StandingEntry.name == Device.name)
    condition = _condition(filters.parse_filter(text)) if text else true()
    # Names that strangers present are in the inventory, but no device is known by them.
    known = and_(condition, or_(Device.proven, Device.entered))
    total = session.execute(select(func.count(Device.id)).outerjoin(StandingEntry, entry).where(known)).scalar_one()
    rows = session.scalars(
        select(Device).outerjoin(StandingEntry, entry).where(known).order_by(Device.name).offset(start - 1).limit(count)
    ).all()
    states = standings.states_of(session, Subject.DEVICE, [row.name for row in rows])
    return Page(total, [_resource(row, states.get(row.name), now) for row in rows])


def _condition(tree: filters.Filter) -> ColumnElement[bool]:
    match tree:
        case filters.Both(operator=operator, terms=terms):
            parts = [_condition(term) for term in terms]
            return and_(*parts) if operator == "and" else or_(*parts)
        case filters.Not(term=term):
            return not_(_condition(term))
        case filters.Present(attribute=attribute):
            column = _TEXTS.get(attribute, _TIMES.get(attribute))
            if column is not None:
                return and_(column.is_not(None), column != "") if attribute in _TEXTS else column.is_not(None)
            if attribute in _FLAGS:
                return true()
            raise _unknown(attribute)
        case filters.Compare():
            return _comparison(tree)


def _invalid(detail: str) -> Refused:
    return Refused(ScimReason.INVALID_FILTER, f"filter: {detail}", field="filter")


def _unknown(attribute: str) -> Refused:
    known = ", ".join(sorted((*_TEXTS, *_FLAGS, *_TIMES)))
    return _invalid(f"found {attribute[:80]!r}, expected one of {known}")


def _comparison(term: filters.Compare) -> ColumnElement[bool]:
    attribute, operator, value = term.attribute, term.operator, term.value
    if attribute in _FLAGS and isinstance(value, bool) and operator in ("eq", "ne"):
        flag: ColumnElement[bool] = _FLAGS[attribute]
        return flag if value == (operator == "eq") else not_(flag)
    if attribute in _TIMES and isinstance(value, str):
        return _compared(_TIMES[attribute], operator, _moment(value))
    if attribute in _TEXTS and isinstance(value, str):
        return _compared_text(_TEXTS[attribute], operator, value)
    if attribute not in {*_FLAGS, *_TIMES, *_TEXTS}:
        raise _unknown(attribute)
    raise _invalid(f"{attribute} cannot be compared by {operator} with {value!r}")


def _moment(text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
        return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise _invalid(f"found {text[:40]!r}, expected a time") from None


def _compared(column: Any, operator: str, value: Any) -> ColumnElement[bool]:
    found: dict[str, ColumnElement[bool]] = {
        "eq": column == value,
        "ne": or_(column != value, column.is_(None)),
        "gt": column > value,
        "ge": column >= value,
        "lt": column < value,
        "le": column <= value,
    }
    if operator not in found:
        raise _invalid(f"{operator} needs a text attribute")
    return found[operator]


def _compared_text(column: Any, operator: str, value: str) -> ColumnElement[bool]:
    # Attributes that are not caseExact are compared without regard to case (RFC 7643 section 2.2).
    if "\0" in value:
        return false()
    lowered, text = func.lower(column), value.lower()
    contained: dict[str, ColumnElement[bool]] = {
        "co": lowered.contains(text, autoescape=True),
        "sw": lowered.startswith(text, autoescape=True),
        "ew": lowered.endswith(text, autoescape=True),
    }
    return contained[operator] if operator in contained else _compared(lowered, operator, text)


def show(session: Session, who: Principal, uid: str, now: dt.datetime) -> Json:
    """One device. Raises Refused."""
    who.require(Scope.DEVICE_READ)
    device = _device(session, uid)
    return _resource(device, standings.state_of(session, Subject.DEVICE, device.name), now)


def _device(session: Session, uid: str, *, lock: bool = False) -> Device:
    statement = select(Device).where(Device.uid == uid)
    device = session.scalars(statement.with_for_update() if lock else statement).first()
    if device is None:
        raise Refused(Reason.NOT_FOUND, f"no device with the id {uid[:40]!r}", field="id")
    return device


def create(session: Session, who: Principal, wanted: Wanted, now: dt.datetime) -> Json:
    """Enter a device, also one that has been seen already. Raises Refused."""
    who.require(Scope.DEVICE_WRITE)
    if wanted.name is None:
        raise Refused(Reason.INVALID_FIELD, f"expected the device's DNS name as `name` of {EXTENSION}", field="name")
    if wanted.active is None:
        raise Refused(Reason.INVALID_FIELD, "active: expected true or false", field="active")
    name = parse_name(wanted.name)
    device = session.scalars(select(Device).where(Device.name == name).with_for_update()).first()
    if device is not None and device.entered:
        raise Refused(Reason.CONFLICT, f"{name} exists already, as {device.uid}", field="name")
    if device is None:
        device = new_device(name, now, entered=True)
        session.add(device)
    device.entered = True
    session.flush()
    audit.record(session, who, "device.add", name, now)
    return _apply(session, who, device, wanted, now)


def replace(session: Session, who: Principal, uid: str, wanted: Wanted, now: dt.datetime) -> Json:
    """Replace what people have entered of a device (PUT). Raises Refused."""
    who.require(Scope.DEVICE_WRITE)
    device = _device(session, uid, lock=True)
    missing = {
        field for field, value in (("display_name", wanted.display_name), ("mud_url", wanted.mud_url)) if value is None
    }
    complete = Wanted(
        wanted.name,
        wanted.display_name,
        wanted.mud_url,
        wanted.active,
        wanted.approved,
        wanted.cleared | missing,
    )
    return _apply(session, who, device, complete, now)


def patch(session: Session, who: Principal, uid: str, wanted: Wanted, now: dt.datetime) -> Json:
    """Change a device (PATCH). Raises Refused."""
    who.require(Scope.DEVICE_WRITE)
    return _apply(session, who, _device(session, uid, lock=True), wanted, now)


def _apply(session: Session, who: Principal, device: Device, wanted: Wanted, now: dt.datetime) -> Json:
    if wanted.name is not None and parse_name(wanted.name) != device.name:
        raise Refused(ScimReason.MUTABILITY, "the name of a device cannot change: enter the new name", field="name")
    before = (device.display_name, device.mud_url)
    if wanted.display_name is not None or "display_name" in wanted.cleared:
        device.display_name = wanted.display_name
    if wanted.mud_url is not None or "mud_url" in wanted.cleared:
        device.mud_url = wanted.mud_url
    if before != (device.display_name, device.mud_url):
        audit.record(
            session, who, "device.change", device.name, now, display_name=device.display_name, mud_url=device.mud_url
        )
    device.changed_at = now
    session.flush()
    if wanted.active is not None:
        _set_active(session, who, device.name, wanted.active, now)
    if wanted.approved is not None:
        _set_approved(session, who, device.name, wanted.approved, now)
    return _resource(device, standings.state_of(session, Subject.DEVICE, device.name), now)


def _set_active(session: Session, who: Principal, name: str, active: bool, now: dt.datetime) -> None:
    """Block a device, or end a block. A quarantine is not ended in this way."""
    change_feed.lock(session)
    state = rules.in_force(standings.state_of(session, Subject.DEVICE, name), now)
    if active == (state.standing is not Standing.BLOCKED):
        return
    who.require(Scope.STANDING_WRITE)
    standing = Standing.NORMAL if active else Standing.BLOCKED
    standings.change(session, who, name, Wish(standing, f"SCIM: active is {str(active).lower()}"), now)


def _set_approved(
    session: Session, who: Principal, name: str, approved: bool, now: dt.datetime, reason: str = "SCIM"
) -> None:
    change_feed.lock(session)
    if rules.in_force(standings.state_of(session, Subject.DEVICE, name), now).approved == approved:
        return
    who.require(Scope.APPROVAL_WRITE)
    standings.set_approved(session, who, Subject.DEVICE, name, approved, reason, now)


def remove(session: Session, who: Principal, uid: str, now: dt.datetime) -> None:
    """Delete a device from the inventory, and withdraw its approval. Raises Refused.

    Its standing stays: no quarantine ends. If there is an approval, the caller must be one who may withdraw it.
    """
    who.require(Scope.DEVICE_WRITE)
    device = _device(session, uid, lock=True)
    session.execute(delete(DecisionRow).where(DecisionRow.device_id == device.id))
    session.execute(delete(PlaceRow).where(PlaceRow.device_id == device.id))
    session.delete(device)
    session.flush()
    audit.record(session, who, "device.delete", device.name, now)
    _set_approved(session, who, device.name, False, now, "deleted from the inventory")


def _resource(device: Device, state: State | None, now: dt.datetime) -> Json:
    """The device as a resource, without the location."""
    current = standings.in_force(state, now)
    changed = max(device.changed_at, current.since or device.changed_at)
    extension: Json = {
        "name": device.name,
        "maker": device.maker,
        "type": device.type,
        "standing": str(current.standing),
        "approved": current.approved,
        "zone": device.zone,
        "proven": device.proven,
        "firstSeen": _text(device.first_seen),
        "lastSeen": _text(device.last_seen),
    }
    content: Json = {
        "schemas": [CORE, EXTENSION],
        "id": device.uid,
        "displayName": device.display_name,
        "active": current.standing is not Standing.BLOCKED,
        "mudUrl": device.mud_url,
        EXTENSION: {key: value for key, value in extension.items() if value is not None},
    }
    version = hashlib.sha256(repr(sorted(content.items(), key=str)).encode()).hexdigest()[:16]
    content["meta"] = {
        "resourceType": "Device",
        "created": _text(device.created_at),
        "lastModified": _text(changed),
        "version": f'W/"{version}"',
    }
    return {key: value for key, value in content.items() if value is not None}


def _text(moment: dt.datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment is not None else None
