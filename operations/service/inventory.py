"""The inventory: every device that was decided about here, or that people have entered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, exists, select
from sqlalchemy.orm import Session

from operations.core.intake import MAX_KEPT
from operations.core.names import parse_name
from operations.core.standing import State, Subject
from operations.service import standings
from operations.service.access import Principal, Scope
from operations.service.schemas import (
    DecisionView,
    DeviceDetail,
    DeviceList,
    DeviceSearch,
    DeviceView,
    PlaceView,
    SessionView,
)
from operations.store.models import DecisionRow, Device, PlaceRow, SessionRow, StandingEntry
from policy import Standing
from web_service.core import Reason, Refused

MAX_PAGE = 500
MAX_SHOWN = 20
# Places that are kept of one device, the latest ones.
MAX_PLACES = 64


def find(session: Session, name: str) -> Device:
    """The device of this name. Raises Refused if there is none."""
    name = parse_name(name)
    device = session.scalars(select(Device).where(Device.name == name)).first()
    if device is None:
        raise Refused(
            Reason.NOT_FOUND, f"no device {name} has been here: check the name, or list the devices", field="name"
        )
    return device


def search(session: Session, who: Principal, wanted: DeviceSearch, now: dt.datetime) -> DeviceList:
    """One page of the devices that meet all criteria, by name. Raises Refused."""
    who.require(Scope.DEVICE_READ)
    statement = select(Device).where(*_criteria(wanted)).order_by(Device.name).limit(wanted.limit + 1)
    rows = session.scalars(statement).all()
    page = rows[: wanted.limit]
    return DeviceList(devices=views(session, page, now), next=page[-1].name if len(rows) > wanted.limit else None)


def _criteria(wanted: DeviceSearch) -> list[ColumnElement[bool]]:
    criteria: list[ColumnElement[bool]] = []
    for column, value in ((Device.zone, wanted.zone), (Device.maker, wanted.maker), (Device.type, wanted.type)):
        if value is not None:
            criteria.append(column == value)
    if wanted.search is not None:
        criteria.append(Device.name.contains(wanted.search.lower(), autoescape=True))
    if wanted.refused:
        criteria.append(Device.last_refused.is_not(None))
    if not wanted.unproven:
        # Strangers can present any name: those are shown if they are asked for, or refused.
        criteria.append(Device.proven | Device.entered if not wanted.refused else Device.id.is_not(None))
    if wanted.online:
        criteria.append(exists().where(SessionRow.name == Device.name))
    if wanted.standing is not None:
        entry = and_(
            StandingEntry.subject == str(Subject.DEVICE),
            StandingEntry.name == Device.name,
            StandingEntry.standing == str(wanted.standing),
        )
        if wanted.standing is Standing.NORMAL:
            other = and_(
                StandingEntry.subject == str(Subject.DEVICE),
                StandingEntry.name == Device.name,
                StandingEntry.standing != str(Standing.NORMAL),
            )
            criteria.append(~exists().where(other))
        else:
            criteria.append(exists().where(entry))
    if wanted.after is not None:
        criteria.append(Device.name > wanted.after)
    return criteria


def views(session: Session, devices: Sequence[Device], now: dt.datetime) -> list[DeviceView]:
    """The devices as lists show them."""
    names = [device.name for device in devices]
    states = standings.states_of(session, Subject.DEVICE, names)
    online = set(session.scalars(select(SessionRow.name).where(SessionRow.name.in_(names))))
    return [
        DeviceView(**_fields(device, standings.in_force(states.get(device.name), now), device.name in online))
        for device in devices
    ]


def _fields(device: Device, state: State, online: bool) -> dict[str, object]:
    shown = (
        "name", "maker", "type", "display_name", "proven", "zone", "first_seen", "last_seen", "last_admitted",
        "last_refused", "refusal_reason", "admissions", "refusals", "station", "nas", "ssid",
    )  # fmt: skip
    fields = {field: getattr(device, field) for field in shown}
    return fields | {"standing": str(state.standing), "approved": state.approved, "online": online}


def detail(session: Session, who: Principal, name: str, now: dt.datetime) -> DeviceDetail:
    """Everything that is known of one device. Raises Refused."""
    who.require(Scope.DEVICE_READ)
    device = find(session, name)
    (view,) = views(session, [device], now)
    places = session.scalars(
        select(PlaceRow).where(PlaceRow.device_id == device.id).order_by(PlaceRow.last_seen.desc()).limit(MAX_PLACES)
    )
    live = session.scalars(select(SessionRow).where(SessionRow.name == device.name).limit(MAX_PLACES))
    state = standings.state_of(session, Subject.DEVICE, device.name)
    return DeviceDetail(
        **view.model_dump(),
        mud_url=device.mud_url,
        certificate=device.certificate,
        records=list(device.records),
        rule=device.rule,
        standing_detail=standings.view_of(Subject.DEVICE, device.name, state, now),
        places=[
            PlaceView(
                station=row.station, nas=row.nas, ssid=row.ssid, first_seen=row.first_seen, last_seen=row.last_seen
            )
            for row in places
        ],
        sessions=[
            SessionView(node=row.node, id=row.id, station=row.station, nas=row.nas, ssid=row.ssid, since=row.since)
            for row in live
        ],
        admissions_kept=_decisions(session, device, proven=True),
        refusals_kept=_decisions(session, device, proven=False),
    )


def _decisions(session: Session, device: Device, *, proven: bool) -> list[DecisionView]:
    rows = session.scalars(
        select(DecisionRow)
        .where(DecisionRow.device_id == device.id, DecisionRow.proven.is_(proven))
        .order_by(DecisionRow.at.desc(), DecisionRow.id.desc())
        .limit(min(MAX_SHOWN, MAX_KEPT))
    )
    return [
        DecisionView(
            at=row.at,
            node=row.node,
            accepted=row.accepted,
            reason=row.reason,
            zone=row.zone,
            rule=row.rule,
            station=row.station,
            nas=row.nas,
            ssid=row.ssid,
            detail=row.detail,
        )
        for row in rows
    ]
