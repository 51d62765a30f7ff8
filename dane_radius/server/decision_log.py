"""One log line per decision: what was decided, why, on what evidence, for whom."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dane_radius.core.decision import Decision, Evidence
from dane_radius.local.log import Logger, iso_time, to_json
from policy import RequestFacts

# A stranger chooses much of what a refusal says, and how many refusals there are.
MAX_LINE_OCTETS = 4096
# What differs between two visits of a device: in the evidence, "ttl" and "cached" behind it.
_TTL = Evidence._fields.index("ttl")
_ATTRIBUTES = Decision._fields.index("attributes")


def request_fields(request: RequestFacts, outer_identity: str | None) -> dict[str, str | None]:
    """What ties a decision to the NAS's and the server's own records. Never credentials."""
    return {
        "station": request.calling_station_id,
        "nas": request.nas_identifier or request.nas_address,
        "ssid": request.ssid,
        "outer_identity": outer_identity,
    }


def decision_fields(
    decision: Decision, *, at: float, seconds: float, request: Mapping[str, str | None]
) -> dict[str, Any]:
    """What one line says: the verdict, why, on what evidence, for whom, when (`at`, seconds since 1970), how long.

    `request` holds what the NAS said (station, network), so that a line can be found from either end.
    """
    fields = _outcome(decision)
    for key, value in request.items():
        if value:
            fields[key] = value
    fields["evidence"] = decision.evidence.to_json()
    fields["milliseconds"] = round(seconds * 1000, 3)
    fields["timestamp"] = iso_time(at)
    return fields


def _outcome(decision: Decision) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "verdict": decision.verdict.value,
        "reason": decision.reason.value,
        "name": decision.name,
        "rule": decision.rule,
        "detail": decision.detail,
    }
    if decision.monitored:
        fields["monitored"] = True
    return fields


def level_of(decision: Decision) -> str:
    """The level of a decision's line: what let somebody in as it should is no warning."""
    return "info" if decision.accepted and not decision.monitored else "warning"


def decision_line(decision: Decision, *, at: float, seconds: float, request: Mapping[str, str | None]) -> str:
    """The line as `open_log`'s JSON renderer writes it, without the way through it: this is done for every device.

    A device that comes back has most of its line in common with the last one. What is refused may hold anything, and is
    not worth keeping.
    """
    if not decision.accepted or decision.monitored:
        fields = decision_fields(decision, at=at, seconds=seconds, request=request)
        fields["event"], fields["level"] = "decision", level_of(decision)
        return _bounded(fields)
    evidence = decision.evidence
    members = (
        _evidence_members(0, evidence[:_TTL]),
        f'"ttl":{evidence.ttl}' if evidence.ttl is not None else "",
        '"cached":true' if evidence.cached else "",
        _evidence_members(_TTL + 2, evidence[_TTL + 2 :]),
    )
    return (
        f'{{{_outcome_members(decision[:_ATTRIBUTES])}{_request_members(tuple(request.items()))},"evidence":{{'
        f'{",".join(filter(None, members))}}},"milliseconds":{round(seconds * 1000, 3)!r},"timestamp":"{iso_time(at)}",'
        f'"event":"decision","level":"{level_of(decision)}"}}'
    )


def _bounded(fields: dict[str, Any]) -> str:
    """The line, of at most MAX_LINE_OCTETS: what is longest is cut first, and the line says so."""
    line = to_json(fields)
    if len(line) <= MAX_LINE_OCTETS:
        return line
    for length in (256, 64, 16):
        line = to_json({**_cut(fields, length), "cut": True, "timestamp": fields["timestamp"]})
        if len(line) <= MAX_LINE_OCTETS:
            break
    return line


def _cut(value: Any, length: int) -> Any:
    """Strings of at most `length` characters, and lists of at most a quarter as many elements."""
    if isinstance(value, str):
        return value if len(value) <= length else f"{value[: length - 1]}…"
    if isinstance(value, dict):
        return {key: _cut(part, length) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(part, length) for part in value[: length // 4]]
    return value


def _members(fields: dict[str, Any]) -> str:
    """What stands between the braces of a JSON object."""
    return to_json(fields)[1:-1]


@lru_cache(maxsize=2048)
def _outcome_members(outcome: tuple[Any, ...]) -> str:
    return _members(_outcome(Decision._make((*outcome, (), Evidence()))))


@lru_cache(maxsize=2048)
def _request_members(request: tuple[tuple[str, str | None], ...]) -> str:
    members = _members({key: value for key, value in request if value})
    return f",{members}" if members else ""


@lru_cache(maxsize=4096)
def _evidence_members(first: int, values: tuple[Any, ...]) -> str:
    """Of the evidence from field number `first` on."""
    names = Evidence._fields[first : first + len(values)]
    return _members(Evidence(**dict(zip(names, values, strict=True))).to_json())


def log_decision(
    logger: Logger, decision: Decision, *, at: float, seconds: float, request: Mapping[str, str | None]
) -> None:
    """One line through the logger, in whatever form it has."""
    fields = decision_fields(decision, at=at, seconds=seconds, request=request)
    getattr(logger, level_of(decision))("decision", **fields)
