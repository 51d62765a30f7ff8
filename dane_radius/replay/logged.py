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
# How a list of the evidence says that it is cut.
_CUT = "… and "


class BadLine(ValueError):
    """The line is no decision of this log's format. The text says why."""


class LoggedDecision(NamedTuple):
    """One decision. `at`: seconds since 1970. `device`: what was known of the standing; None: nothing.

    `names`: all names of the certificate. `records`: the TLSA records in the form of the log, `set_aside` those of them
    that did not count; `complete`: whether the line has all of them. `accepted`: also for a device that was only
    monitored.
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
    complete = not (records and records[-1].startswith(_CUT)) and not fields.get("cut", False)
    return LoggedDecision(
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
        _device(evidence.get("standing"), evidence.get("approved", fields.get("approved"))),
        verdict == "accept",
        bool(fields.get("monitored", False)),
        reason,
        _text(fields.get("rule")),
        _text(evidence.get("zone", fields.get("zone"))),
        records if complete else records[:-1],
        _texts([pair[0] for pair in evidence.get("set_aside", ())]),
        complete,
        _text(evidence.get("matched")),
        _text(evidence.get("certificate")),
    )


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


def _device(standing: str | None, approved: bool | None) -> DeviceStanding | None:
    """The standing that was known. Without `approved`, nothing was: the standing of the line is then of the policy."""
    return None if approved is None else _known(standing, bool(approved))


@lru_cache(maxsize=64)
def _known(standing: str | None, approved: bool) -> DeviceStanding:
    return DeviceStanding(_STANDINGS[standing] if standing is not None else Standing.NORMAL, approved)


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
