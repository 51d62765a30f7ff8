"""What the log lines of decisions say, which RADIUS nodes send as they are. Pure.

The device chooses much of a line's text: it is cut, cleaned and never trusted. A line proves the device's name if
the node accepted the device by its TLSA records. One of a refusal, or of monitor mode, proves nothing about the name.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from operations.core.names import parse_name
from web_service.core import Refused

MAX_STATION = 64
MAX_PLACE = 64
MAX_DETAIL = 200
MAX_RECORDS = 8
MAX_RECORD = 160
# A node's clock may be ahead of ours by this much. A time later than that counts as the present.
MAX_AHEAD = dt.timedelta(seconds=5)
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?:[-:. ]?[0-9A-Fa-f]{2}){5}\Z")
_MAC_SEPARATOR = re.compile(r"[-:. ]")


@dataclass(frozen=True)
class Decision:
    """One decision of a node. proven: whether the device has proven that it holds the name.

    reason: the node's reason code, such as dane_match. zone: of the access. waiting: whether a person must approve it.
    """

    name: str
    at: dt.datetime
    proven: bool
    accepted: bool
    reason: str
    zone: str | None = None
    rule: str | None = None
    station: str | None = None
    nas: str | None = None
    ssid: str | None = None
    port_type: str | None = None
    detail: str | None = None
    waiting: bool = False
    certificate: str | None = None
    records: tuple[str, ...] = ()


@dataclass
class Batch:
    """The decisions of one message of a node, in their order. skipped: lines that say nothing about a device."""

    decisions: list[Decision] = field(default_factory=list)
    skipped: int = 0


def parse_batch(lines: Iterable[bytes], now: dt.datetime) -> Batch:
    """The decisions in these lines. A line that is not a decision about a valid name is counted as skipped."""
    batch = Batch()
    for line in lines:
        found = parse_line(line, now)
        if found is None:
            batch.skipped += 1
        else:
            batch.decisions.append(found)
    return batch


def parse_line(line: bytes, now: dt.datetime) -> Decision | None:
    """The decision that a log line tells of; None: it tells of none, or of one without a valid name."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or data.get("event", "decision") != "decision":
        return None
    verdict, reason = data.get("verdict"), printable(data.get("reason"), 40)
    at = _time(data.get("timestamp"), now)
    name = parse_name_or_none(data.get("name"))
    if verdict not in ("accept", "reject") or reason is None or at is None or name is None:
        return None
    accepted = verdict == "accept"
    evidence = data.get("evidence")
    if not isinstance(evidence, dict):
        evidence = {}
    return Decision(
        name=name,
        at=at,
        proven=accepted and data.get("monitored") is not True,
        accepted=accepted,
        reason=reason,
        zone=printable(evidence.get("zone", data.get("zone")), MAX_PLACE),
        rule=printable(data.get("rule"), MAX_PLACE),
        station=station_of(data.get("station")),
        nas=printable(data.get("nas"), MAX_PLACE),
        ssid=printable(data.get("ssid"), MAX_PLACE),
        port_type=printable(data.get("port_type"), MAX_PLACE),
        detail=None if accepted else printable(data.get("detail"), MAX_DETAIL),
        waiting=reason == "approval_pending" or evidence.get("standing", data.get("standing")) == "pending",
        certificate=printable(evidence.get("certificate"), MAX_DETAIL),
        records=_records(evidence.get("records")),
    )


def parse_name_or_none(value: Any) -> str | None:
    """A valid name; None: it is none."""
    if not isinstance(value, str):
        return None
    try:
        return parse_name(value)
    except Refused:
        return None


def printable(value: Any, length: int) -> str | None:
    """A text that a database can store and a terminal can show; None: there is none."""
    if not isinstance(value, str):
        return None
    clean = "".join(character if character.isprintable() else "?" for character in value[: length + 1])
    if len(clean) > length:
        clean = f"{clean[: length - 1]}…"
    return clean or None


def station_of(value: Any) -> str | None:
    """A station, as the NAS calls it; None: it does not say it.

    A MAC address has one form, that of RFC 3580 section 3.21: each NAS writes it in its own, and a device that moves
    must not count as two stations.
    """
    text = printable(value, MAX_STATION)
    if text is None or not _MAC.match(text.strip()):
        return text
    digits = _MAC_SEPARATOR.sub("", text.strip()).upper()
    return "-".join(digits[index : index + 2] for index in range(0, 12, 2))


def _records(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    found = (printable(record, MAX_RECORD) for record in value[:MAX_RECORDS])
    return tuple(record for record in found if record)


def _time(value: Any, now: dt.datetime) -> dt.datetime | None:
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        moment = dt.datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None
    return min(moment, now) if moment <= now + MAX_AHEAD else now
