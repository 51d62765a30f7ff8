"""What RADIUS nodes report: their decisions, and their live sessions."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from operations.core import intake
from operations.core.decisions import Batch, parse_name_or_none, printable, station_of
from operations.core.intake import MAX_KEPT, DeviceNews, refusals_kept
from operations.core.rules import Seen, judge
from operations.core.standing import State, Subject
from operations.local import metrics
from operations.local.config import InventorySection
from operations.local.policy_file import PolicyFile
from operations.service import inventory, questions, standings
from operations.service.access import Principal, Scope
from operations.service.known_devices import new_device
from operations.service.schemas import NodeList, NodeView, SessionsReport, Taken
from operations.store import change_feed
from operations.store.models import BatchRow, Counter, DecisionRow, Device, NodeRow, PlaceRow, SessionRow
from policy import StandingRule
from web_service.core import Reason, Refused

MAX_LINES = 1000
# How long a batch is remembered, so that a repetition changes nothing.
BATCH_DAYS = 7
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_BATCH_ID = re.compile(r"[\x21-\x7e]{1,64}\Z")


@dataclass(frozen=True)
class Intake:
    """What the intake of decisions needs beside a session."""

    policy: PolicyFile
    limits: InventorySection


def check_node(name: str) -> str:
    """The name of a node. Raises Refused."""
    if not _NODE.match(name):
        raise Refused(
            Reason.INVALID_NAME,
            f"node: found {name[:80]!r}, expected letters, digits, dots, hyphens and underscores, at most 63",
            field="node",
        )
    return name


def check_batch_id(text: str | None) -> str:
    """The identifier of a batch. Raises Refused."""
    if text is None or not _BATCH_ID.match(text):
        raise Refused(
            Reason.INVALID_FIELD,
            f"Batch-Id: found {(text or '')[:80]!r}, expected 1 to 64 printable characters without spaces",
            field="Batch-Id",
        )
    return text


def take_decisions(
    session: Session, who: Principal, node: str, batch_id: str, batch: Batch, parts: Intake, now: dt.datetime
) -> Taken:
    """Take a batch of decisions into the inventory, and apply the rules. Raises Refused.

    A repetition of the batch changes nothing.
    """
    who.require(Scope.NODE_WRITE)
    who.require_node(node)
    # One batch at a time: it changes rows of many devices.
    session.execute(update(Counter).where(Counter.name == "intake").values(value=Counter.value + 1))
    known = session.get(BatchRow, (node, batch_id))
    if known is not None:
        return Taken(taken=known.taken, skipped=known.skipped)
    taken = len(batch.decisions)
    session.add(BatchRow(node=node, batch_id=batch_id, at=now, taken=taken, skipped=batch.skipped))
    row = _node(session, node, now)
    row.taken += taken
    row.skipped += batch.skipped
    news = intake.by_device(batch.decisions)
    devices = {device.name: device for device in _devices(session, [item.name for item in news])}
    for item in news:
        if item.name not in devices:
            devices[item.name] = new_device(item.name, now, entered=False)
            session.add(devices[item.name])
    session.flush()
    known_places = _places(session, [device.id for device in devices.values()])
    for item in news:
        device = devices[item.name]
        _record(device, item)
        _record_places(session, device, item, known_places.setdefault(device.id, {}))
    session.flush()
    _keep(session, devices, news, node, parts.policy.rules)
    _ask(session, news, parts, now)
    _judge(session, devices, news, parts.policy.rules, known_places, now)
    metrics.DECISIONS.labels("taken").inc(taken)
    metrics.DECISIONS.labels("skipped").inc(batch.skipped)
    return Taken(taken=taken, skipped=batch.skipped)


def _devices(session: Session, names: list[str]) -> list[Device]:
    return list(session.scalars(select(Device).where(Device.name.in_(names))))


def _node(session: Session, node: str, now: dt.datetime) -> NodeRow:
    row = session.get(NodeRow, node)
    if row is None:
        row = NodeRow(name=node, first_seen=now, last_seen=now, taken=0, skipped=0, lost=0, lost_reported=0)
        session.add(row)
    row.last_seen = now
    return row


Places = dict[intake.Place, PlaceRow]


def _places(session: Session, devices: list[int]) -> dict[int, Places]:
    """The known places of these devices."""
    found: dict[int, Places] = {}
    for row in session.scalars(select(PlaceRow).where(PlaceRow.device_id.in_(devices))):
        found.setdefault(row.device_id, {})[intake.Place(row.station, row.nas, row.ssid)] = row
    return found


def _record(device: Device, news: DeviceNews) -> None:
    device.first_seen = min(device.first_seen or news.first, news.first)
    device.last_seen = max(device.last_seen or news.last, news.last)
    device.admissions += news.admissions
    device.refusals += news.refusals
    admitted, refused = news.last_admission, news.last_refusal
    if admitted is not None:
        device.proven = True
        if device.last_admitted is None or admitted.at >= device.last_admitted:
            device.last_admitted = admitted.at
            device.zone, device.rule = admitted.zone, admitted.rule
            device.station, device.nas, device.ssid = admitted.station, admitted.nas, admitted.ssid
            device.certificate = admitted.certificate or device.certificate
            device.records = list(admitted.records) or device.records
    if refused is not None and (device.last_refused is None or refused.at >= device.last_refused):
        device.last_refused, device.refusal_reason = refused.at, refused.reason


def _record_places(session: Session, device: Device, news: DeviceNews, known: Places) -> None:
    for place, at in news.places.items():
        row = known.get(place)
        if row is None:
            row = PlaceRow(
                device_id=device.id, station=place.station, nas=place.nas, ssid=place.ssid, first_seen=at, last_seen=at
            )
            known[place] = row
            session.add(row)
        row.last_seen = max(row.last_seen, at)
    if len(known) > inventory.MAX_PLACES:
        session.flush()
        for row in sorted(known.values(), key=lambda row: row.last_seen, reverse=True)[inventory.MAX_PLACES :]:
            session.delete(row)


def _keep(
    session: Session,
    devices: dict[str, Device],
    news: list[DeviceNews],
    node: str,
    rules: tuple[StandingRule, ...],
) -> None:
    """Store the decisions, and forget the oldest ones of a device and kind."""
    rows = [
        {
            "device_id": devices[item.name].id,
            "proven": decision.proven,
            "at": decision.at,
            "node": node,
            "accepted": decision.accepted,
            "reason": decision.reason,
            "zone": decision.zone,
            "rule": decision.rule,
            "station": decision.station,
            "nas": decision.nas,
            "ssid": decision.ssid,
            "detail": decision.detail,
        }
        for item in news
        for decision in (*item.kept_admissions, *item.kept_refusals)
    ]
    if rows:
        session.execute(insert(DecisionRow), rows)
    counted = max((rule.refusals for rule in rules if rule.refusals is not None), default=0)
    for item in news:
        device = devices[item.name]
        if item.kept_admissions and device.admissions > MAX_KEPT:
            _forget_oldest(session, device.id, True, MAX_KEPT)
        limit = refusals_kept(device.proven, counted)
        if item.kept_refusals and device.refusals > limit:
            _forget_oldest(session, device.id, False, limit)


def _forget_oldest(session: Session, device: int, proven: bool, limit: int) -> None:
    kind = (DecisionRow.device_id == device, DecisionRow.proven.is_(proven))
    newest_first = select(DecisionRow.id).where(*kind).order_by(DecisionRow.at.desc(), DecisionRow.id.desc())
    beyond = session.scalars(newest_first.offset(limit).limit(2 * MAX_LINES)).all()
    if beyond:
        session.execute(delete(DecisionRow).where(DecisionRow.id.in_(beyond)))


def _ask(session: Session, news: list[DeviceNews], parts: Intake, now: dt.datetime) -> None:
    waiting = [item.waiting for item in news if item.waiting is not None]
    if waiting:
        # An answer to a question locks the feed first, too.
        change_feed.lock(session)
    for decision in waiting:
        questions.ask(session, decision, parts.policy, parts.limits.open_questions, now)


def _judge(
    session: Session,
    devices: dict[str, Device],
    news: list[DeviceNews],
    rules: tuple[StandingRule, ...],
    places: dict[int, Places],
    now: dt.datetime,
) -> None:
    """Apply the rules to the devices of a batch, not to names that nobody has proven to hold.

    Otherwise, strangers could fill the feed with names.
    """
    if not rules:
        return
    states = standings.states_of(session, Subject.DEVICE, list(devices))
    wanted = []
    for item in news:
        device = devices[item.name]
        if not (device.proven or device.entered):
            continue
        seen = _seen(session, device, places.get(device.id, {}), rules, now)
        if judge(rules, seen, states.get(item.name, State()), now) is not None:
            wanted.append((item.name, seen))
    if not wanted:
        return
    # A standing may have changed meanwhile: it is read again once no other transaction can change it.
    change_feed.lock(session)
    session.expire_all()
    for name, seen in wanted:
        verdict = judge(rules, seen, standings.state_of(session, Subject.DEVICE, name), now)
        if verdict and standings.apply_rule(session, name, verdict.rule, verdict.wish, now) is not None:
            metrics.RULE_HITS.inc()


def _seen(session: Session, device: Device, places: Places, rules: tuple[StandingRule, ...], now: dt.datetime) -> Seen:
    stations: dict[str, dt.datetime] = {}
    for place, row in places.items():
        if place.station:
            stations[place.station] = max(row.last_seen, stations.get(place.station, row.last_seen))
    counts = [rule for rule in rules if rule.refusals is not None and rule.refusals <= device.refusals]
    if not counts or device.last_refused is None:
        return Seen(stations, ())
    since = now - dt.timedelta(seconds=max(rule.within for rule in counts))
    if device.last_refused <= since:
        return Seen(stations, ())
    refusals = select(DecisionRow.at).where(
        DecisionRow.device_id == device.id, DecisionRow.proven.is_(False), DecisionRow.at > since
    )
    return Seen(stations, session.scalars(refusals).all())


def take_sessions(session: Session, who: Principal, node: str, report: SessionsReport, now: dt.datetime) -> Taken:
    """Replace the live sessions of a node. Sessions of users that are no devices are skipped. Raises Refused."""
    who.require(Scope.NODE_WRITE)
    who.require_node(node)
    row = _node(session, node, now)
    # A counter that only grows. If it is lower than before, the node has begun anew.
    reported = report.lost.decisions
    more = reported - row.lost_reported if reported >= row.lost_reported else reported
    row.lost += more
    row.lost_reported = reported
    session.flush()
    metrics.DECISIONS.labels("lost").inc(more)
    session.execute(delete(SessionRow).where(SessionRow.node == node))
    rows = {}
    for entry in report.sessions:
        name = parse_name_or_none(entry.name)
        if name is not None:
            rows[entry.id] = {
                "node": node,
                "id": entry.id,
                "name": name,
                "station": station_of(entry.station),
                "nas": printable(entry.nas, 64),
                "ssid": printable(entry.ssid, 64),
                "since": _moment(entry.since),
            }
    if rows:
        session.execute(insert(SessionRow), list(rows.values()))
    return Taken(taken=len(rows), skipped=len(report.sessions) - len(rows))


def _moment(value: str | float | int | None) -> dt.datetime | None:
    """A time: RFC 3339, or seconds since 1970. One that is neither is left out."""
    try:
        if isinstance(value, str):
            moment = dt.datetime.fromisoformat(value)
            return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
        return dt.datetime.fromtimestamp(value, dt.UTC) if value is not None else None
    except (ValueError, OverflowError, OSError):
        return None


def find_nodes(session: Session, who: Principal) -> NodeList:
    """The nodes that have reported. Raises Refused."""
    who.require(Scope.DEVICE_READ)
    return NodeList(nodes=[node_view(row) for row in session.scalars(select(NodeRow).order_by(NodeRow.name))])


def node_view(row: NodeRow) -> NodeView:
    return NodeView(
        name=row.name,
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        taken=row.taken,
        skipped=row.skipped,
        lost=row.lost,
    )


def forget(session: Session, limits: InventorySection, now: dt.datetime) -> None:
    """Forget old batches, and the oldest names that nobody has proven to hold, beyond the configured number."""
    session.execute(update(Counter).where(Counter.name == "intake").values(value=Counter.value + 1))
    session.execute(delete(BatchRow).where(BatchRow.at < now - dt.timedelta(days=BATCH_DAYS)))
    strangers = Device.proven.is_(False) & Device.entered.is_(False)
    beyond = session.scalars(
        select(Device.id).where(strangers).order_by(Device.last_seen.desc()).offset(limits.unproven).limit(5000)
    ).all()
    for start in range(0, len(beyond), 500):
        part = beyond[start : start + 500]
        session.execute(delete(DecisionRow).where(DecisionRow.device_id.in_(part)))
        session.execute(delete(PlaceRow).where(PlaceRow.device_id.in_(part)))
        session.execute(delete(Device).where(Device.id.in_(part)))
