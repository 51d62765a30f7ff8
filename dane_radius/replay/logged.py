"""A line of the decision log, as far as another policy needs it."""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from dane_radius.core.reasons import ReasonCode
from policy import DeviceStanding, RequestFacts, Standing

_DECODE = json.JSONDecoder().raw_decode
_REASONS = {code.value: code for code in ReasonCode}
_STANDINGS = {standing.value: standing for standing in Standing}
# How a list of the evidence says that it is cut, and how a text of a line that was too long ends.
_CUT = "… and "
_SHORTENED = "…"


class BadLine(ValueError):
    """The line is no decision of this log's format. The text says why."""


class LoggedDecision(NamedTuple):
    """One decision. `at`: seconds since 1970. `device`: what was known of the standing; None: nothing.

    `names`: the names of the certificate. `records`: the TLSA records in the form of the log, `set_aside` those of them
    that did not count. `complete`: whether the line has all names and records. `accepted`: also for a device that was
    only monitored.
    """

    at: float
    name: str | None
    names: tuple[str, ...]
    request: RequestFacts
    device: DeviceStanding | None
    accepted: bool
    monitored: bool
    reason: ReasonCode
    rule: str | None
    zone: str | None
    records: tuple[str, ...]
    set_aside: tuple[str, ...]
    complete: bool
    matched: str | None
    certificate: str | None


def parse_line(line: str) -> LoggedDecision | None:
    """The decision of a line; None for a line about something else. Raises BadLine."""
    try:
        fields, end = _DECODE(line)
    except ValueError as error:
        raise BadLine(f"not JSON: {error}") from error
    except RecursionError as error:
        raise BadLine("nested too deeply") from error
    if type(fields) is not dict or line[end:].strip():
        raise BadLine("a JSON object is expected")
    if fields.get("event") != "decision":
        if "event" not in fields:
            raise BadLine("it has no field event")
        return None
    try:
        return _decision(fields)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadLine(f"no decision of this format: {type(error).__name__}: {error}") from error


def _decision(fields: dict[str, Any]) -> LoggedDecision:
    evidence = fields.get("evidence", {})
    if type(evidence) is not dict:
        raise TypeError("evidence is no object")
    reason = _REASONS.get(fields["reason"])
    if reason is None:
        raise ValueError(f"reason {fields['reason']!r} is unknown")
    verdict = fields["verdict"]
    if verdict not in ("accept", "reject"):
        raise ValueError(f"verdict {verdict!r} is unknown")
    records = _texts(evidence.get("records", ()))
    is_cut = bool(fields.get("cut", False))
    complete = not (records and records[-1].startswith(_CUT)) and not is_cut
    decision = LoggedDecision(
        _seconds(fields["timestamp"]),
        _text(fields.get("name")),
        _texts(evidence.get("names", ())),
        _request(
            _text(fields.get("ssid")),
            _text(fields.get("nas")),
            _text(fields.get("nas_address")),
            _text(fields.get("port_type")),
            _text(fields.get("realm")),
        ),
        _device(evidence),
        verdict == "accept",
        bool(fields.get("monitored", False)),
        reason,
        _text(fields.get("rule")),
        _text(evidence.get("zone")),
        records if complete else records[:-1],
        _texts([pair[0] for pair in evidence.get("set_aside", ())]),
        complete,
        _text(evidence.get("matched")),
        _text(evidence.get("certificate")),
    )
    if is_cut and _is_shortened(decision):
        raise ValueError("the line was too long for the log, and lacks the end of a text that policy looks at")
    return decision


def _is_shortened(decision: LoggedDecision) -> bool:
    """Whether a text that policy compares has lost its end. Such a text ends as no name of anything does."""
    request, device = decision.request, decision.device
    where = (request.ssid, request.nas_identifier, request.nas_address, request.nas_port_type, request.realm)
    texts = (decision.name, *decision.names, decision.zone, device.zone if device is not None else None, *where)
    return any(text is not None and text.endswith(_SHORTENED) for text in texts)


def _text(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    raise TypeError(f"{value!r} found, text is expected")


def _texts(values: Any) -> tuple[str, ...]:
    if type(values) not in (list, tuple) or not all(type(value) is str for value in values):
        raise TypeError("a list of texts is expected")
    return tuple(values)


def _seconds(timestamp: str) -> float:
    moment = datetime.fromisoformat(timestamp)
    if moment.tzinfo is None:
        raise ValueError(f"timestamp {timestamp!r} has no time zone")
    return moment.timestamp()


def _device(evidence: dict[str, Any]) -> DeviceStanding | None:
    """What was known of the standing. `standing` and `zone` are those that policy applied, and say nothing about it."""
    if "approved" not in evidence:
        return None
    return _known(evidence.get("assigned_standing"), evidence["approved"], evidence.get("assigned_zone"))


@lru_cache(maxsize=4096)
def _known(standing: str | None, approved: bool, zone: str | None) -> DeviceStanding:
    if type(approved) is not bool:
        raise TypeError(f"approved: {approved!r} found, true or false is expected")
    return DeviceStanding(_STANDINGS[standing] if standing is not None else Standing.NORMAL, approved, _text(zone))


@lru_cache(maxsize=65536)
def _request(
    ssid: str | None, nas: str | None, address: str | None, port_type: str | None, realm: str | None
) -> RequestFacts:
    # `nas` is the NAS-Identifier, or the address where the request has none. A policy ignores an address that is none.
    return RequestFacts(
        ssid=ssid,
        nas_identifier=None if nas == address else nas,
        nas_address=address if address is not None else nas,
        nas_port_type=port_type,
        realm=realm,
    )
