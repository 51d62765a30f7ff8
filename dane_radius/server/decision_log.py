"""One log line per decision: the verdict, the reason, the evidence, and the request."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dane_radius.core.ruling import Decision
from dane_radius.local.log import Logger, iso_time, to_json
from policy import RequestFacts

# An unauthenticated device controls much of a refusal's text, and the number of refusals.
MAX_LINE_OCTETS = 4096


def request_fields(request: RequestFacts, outer_identity: str | None) -> dict[str, str | None]:
    """The fields that link a decision to the records of the NAS and of FreeRADIUS. They contain no credentials."""
    return {
        "station": request.calling_station_id,
        "nas": request.nas_identifier or request.nas_address,
        "nas_address": request.nas_address,
        "port_type": request.nas_port_type,
        "ssid": request.ssid,
        "realm": request.realm,
        "outer_identity": outer_identity,
    }


def decision_fields(
    decision: Decision, *, at: float, seconds: float, request: Mapping[str, str | None]
) -> dict[str, Any]:
    """The fields of one line. `at`: the time of the decision, in seconds since 1970. `seconds`: its duration.

    `request`: the result of `request_fields`.
    """
    ruling = decision.ruling
    fields: dict[str, Any] = {
        "verdict": ruling.verdict.value,
        "reason": ruling.reason.value,
        "name": ruling.name,
        "rule": ruling.rule,
        "detail": ruling.detail,
    }
    if ruling.monitored:
        fields["monitored"] = True
    fields["evidence"] = {**ruling.evidence.to_json(), **decision.circumstances()}
    for key, value in request.items():
        if value:
            fields[key] = value
    fields["milliseconds"] = round(seconds * 1000, 3)
    fields["timestamp"] = iso_time(at)
    return fields


def level_of(decision: Decision) -> str:
    """The log level of a decision: a warning, except for an accept that is not merely monitored."""
    return "info" if decision.accepted and not decision.ruling.monitored else "warning"


def decision_line(decision: Decision, *, at: float, seconds: float, request: Mapping[str, str | None]) -> str:
    """The same line as from `log_decision` with the JSON format of `open_log`, but of at most MAX_LINE_OCTETS.

    The ruling caches its part of the JSON: a device that authenticates again usually gets the same ruling.
    """
    outcome, evidence = decision.ruling.json_members
    circumstances = to_json(decision.circumstances())[1:-1]
    line = (
        f'{{{outcome},"evidence":{{{evidence}{"," if evidence and circumstances else ""}{circumstances}}}'
        f'{_request_members(tuple(request.items()))},"milliseconds":{round(seconds * 1000, 3)!r},'
        f'"timestamp":"{iso_time(at)}","event":"decision","level":"{level_of(decision)}"}}'
    )
    if len(line) <= MAX_LINE_OCTETS:
        return line
    fields = decision_fields(decision, at=at, seconds=seconds, request=request)
    return _shortened({**fields, "event": "decision", "level": level_of(decision)})


@lru_cache(maxsize=2048)
def _request_members(request: tuple[tuple[str, str | None], ...]) -> str:
    members = to_json({key: value for key, value in request if value})[1:-1]
    return f",{members}" if members else ""


def _shortened(fields: dict[str, Any]) -> str:
    """The line with its longest values cut, so that it has at most MAX_LINE_OCTETS. The line says that it was cut."""
    line = ""
    for length in (256, 64, 16):
        line = to_json({**_cut(fields, length), "cut": True, "timestamp": fields["timestamp"]})
        if len(line) <= MAX_LINE_OCTETS:
            break
    return line


def _cut(value: Any, length: int) -> Any:
    """`value` with strings cut to `length` characters, and lists to a quarter as many elements."""
    if isinstance(value, str):
        return value if len(value) <= length else f"{value[: length - 1]}…"
    if isinstance(value, dict):
        return {key: _cut(part, length) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(part, length) for part in value[: length // 4]]
    return value


def log_decision(
    logger: Logger, decision: Decision, *, at: float, seconds: float, request: Mapping[str, str | None]
) -> None:
    """Write one line through the logger, in the logger's format."""
    fields = decision_fields(decision, at=at, seconds=seconds, request=request)
    getattr(logger, level_of(decision))("decision", **fields)
