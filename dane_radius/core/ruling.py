"""What a decision comes to: the ruling, which stays the same while nothing changes, and what holds for this time only.

A `Ruling` says who, why, on what evidence and with what access. A `Decision` adds what depends on the clock: what is
left of the records' TTL, and how long the session may last because of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

from dane_radius.core.certificate import Leaf
from dane_radius.core.reasons import ReasonCode, Refused, Verdict
from policy import Attribute, Grant, Policy, Rule

_ENCODER = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a ruling rests on. Everything is safe to log: no key, no secret."""

    names: tuple[str, ...] = ()
    certificate: str | None = None
    domain: str | None = None
    dns: str | None = None
    records: tuple[str, ...] = ()
    set_aside: tuple[tuple[str, str], ...] = ()
    matched: str | None = None
    chain: str | None = None
    chain_failures: tuple[str, ...] = ()
    standing: str | None = None
    policy: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields that say something, ready for JSON."""
        found: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and value != ():
                found[field.name] = list(value) if isinstance(value, tuple) else value
        return found


class SessionTerms(NamedTuple):
    """What bounds a session, apart from the TTL and the clock.

    `maximum` and `minimum` are seconds; `certificate_end` is in seconds since 1970.
    """

    maximum: int
    minimum: int
    ttl_factor: int
    certificate_end: float

    def seconds(self, ttl: int, now: float) -> int:
        """How long an admission may last.

        The grant's time, but at most the validated TTL times the policy's factor (with the policy's minimum as floor),
        and not beyond the certificate. `now` is in seconds since 1970.

        An expired certificate that a DANE-EE record vouches for sets no bound: RFC 7671 section 5.1 ignores its expiry.
        """
        allowed = min(max(ttl * self.ttl_factor, self.minimum), self.maximum)
        left = self.certificate_end - now
        return allowed if left >= allowed or left < 0 else int(left) or 1


def session_terms(grant: Grant, policy: Policy, leaf: Leaf) -> SessionTerms:
    """The terms of a grant for a device with this certificate."""
    return SessionTerms(grant.session_timeout, policy.minimum_session, policy.ttl_factor, leaf.not_after.timestamp())


@dataclass(frozen=True)
class Ruling:
    """Who may enter, or may not, and why.

    `monitored`: it would have been a reject with `reason`, but policy only watches. `attributes` are RADIUS reply
    attributes, empty for a reject; `terms` bound the session of an accept that has a grant.
    """

    verdict: Verdict
    reason: ReasonCode
    detail: str
    name: str | None = None
    rule: str | None = None
    monitored: bool = False
    attributes: tuple[Attribute, ...] = ()
    terms: SessionTerms | None = None
    evidence: Evidence = Evidence()

    @property
    def accepted(self) -> bool:
        return self.verdict is Verdict.ACCEPT

    @cached_property
    def json_members(self) -> tuple[str, str]:
        """What stands between the braces of the ruling's JSON object, and of its evidence's: for log lines."""
        outcome: dict[str, Any] = {
            "verdict": self.verdict.value,
            "reason": self.reason.value,
            "name": self.name,
            "rule": self.rule,
            "detail": self.detail,
        }
        if self.monitored:
            outcome["monitored"] = True
        return _ENCODER.encode(outcome)[1:-1], _ENCODER.encode(self.evidence.to_json())[1:-1]


class Decision(NamedTuple):
    """The outcome of one authentication. One object feeds reply, log line, metric and command line.

    `ttl`: what is left of it, in seconds; None where the DNS gave none. `cached`: the answer was known before.
    `session_timeout`: seconds that the session may last, for an accept with a grant. `resumed`: of a TLS session.
    """

    ruling: Ruling
    ttl: int | None = None
    cached: bool = False
    session_timeout: int | None = None
    resumed: bool = False

    @property
    def accepted(self) -> bool:
        return self.ruling.verdict is Verdict.ACCEPT

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The reply attributes."""
        if self.session_timeout is None:
            return self.ruling.attributes
        return (*self.ruling.attributes, ("Session-Timeout", ":=", str(self.session_timeout)))

    def circumstances(self) -> dict[str, Any]:
        """What the evidence says of this time alone."""
        found: dict[str, Any] = {} if self.ttl is None else {"ttl": self.ttl}
        if self.cached:
            found["cached"] = True
        if self.resumed:
            found["resumed"] = True
        return found

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        ruling = self.ruling
        return {
            "verdict": str(ruling.verdict),
            "reason": str(ruling.reason),
            "detail": ruling.detail,
            "name": ruling.name,
            "rule": ruling.rule,
            "monitored": ruling.monitored,
            "attributes": [list(attribute) for attribute in self.attributes],
            "evidence": {**ruling.evidence.to_json(), **self.circumstances()},
        }


def refuse(
    refusal: Refused,
    policy: Policy,
    *,
    name: str | None = None,
    rule: Rule | None = None,
    evidence: Evidence | None = None,
    attributes: tuple[Attribute, ...] = (),
    terms: SessionTerms | None = None,
) -> Ruling:
    """A reject; or, where policy only monitors, the accept that says what it would have been.

    `attributes` and `terms` are those of the access that is given then.
    """
    monitored = policy.is_monitored(rule) and refusal.code is not ReasonCode.INTERNAL_ERROR
    if monitored and not attributes and name is not None:
        attributes = (("User-Name", ":=", name),)
    return Ruling(
        Verdict.ACCEPT if monitored else Verdict.REJECT,
        refusal.code,
        refusal.detail,
        name,
        rule.name if rule else None,
        monitored=monitored,
        attributes=attributes if monitored else (),
        terms=terms if monitored else None,
        evidence=evidence or Evidence(),
    )
