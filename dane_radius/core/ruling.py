"""The outcome of an authentication: the ruling, and the decision that applies it to one time.

A `Ruling` contains the device, the verdict, its reason, the evidence and the access. It is reused while these stay the
same. A `Decision` adds what depends on the clock: the remaining TTL, and the session time that results from it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

from dane_radius.core.certificate import Leaf
from dane_radius.core.reasons import ReasonCode, Refused, Verdict
from policy import Attribute, DeviceStanding, Grant, Policy, PolicySettings, Rule

_ENCODER = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Evidence:
    """The facts that a ruling is based on. They contain no secret, so all of them may be logged.

    `standing` and `zone`: those that policy applied. `approved`: None if nothing is known of the device's standing.
    `assigned_standing` and `assigned_zone`: what is known of it, except for a normal standing and no zone.
    """

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
    approved: bool | None = None
    assigned_standing: str | None = None
    assigned_zone: str | None = None
    zone: str | None = None
    policy: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields that are set, as a JSON object."""
        found: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and value != ():
                found[field.name] = list(value) if isinstance(value, tuple) else value
        return found


class SessionTerms(NamedTuple):
    """The limits on a session's duration, apart from the TTL.

    `maximum` and `minimum` are in seconds, `certificate_end` in seconds since 1970. `expires`: seconds since 1970 at
    which policy stops giving this access; None: it does not stop by itself.
    """

    maximum: int
    minimum: int
    ttl_factor: int
    certificate_end: float
    expires: float | None = None

    def seconds(self, ttl: int, now: float) -> int:
        """The session's duration. `now` is in seconds since 1970.

        It is the TTL times the policy's factor, but at least the policy's minimum, at most the grant's maximum, and
        beyond neither the end of the certificate nor `expires`. The end of an expired certificate does not count: RFC
        7671 section 5.1 lets a DANE-EE record vouch for it.
        """
        allowed = min(max(ttl * self.ttl_factor, self.minimum), self.maximum)
        left = self.certificate_end - now
        if 0 <= left < allowed:
            allowed = int(left) or 1
        if self.expires is not None and self.expires - now < allowed:
            allowed = max(int(self.expires - now), 1)
        return allowed


def session_terms(
    grant: Grant, policy: Policy | PolicySettings, leaf: Leaf, expires: float | None = None
) -> SessionTerms:
    """The terms of a grant for a device with this certificate. `expires`: that of the match of policy."""
    return SessionTerms(
        grant.session_timeout, policy.minimum_session, policy.ttl_factor, leaf.not_after.timestamp(), expires
    )


@dataclass(frozen=True)
class Ruling:
    """The verdict on a device, with its reason.

    `monitored`: the verdict would be a reject with `reason`, but policy is in monitor mode. `attributes`: the RADIUS
    reply attributes, none for a reject. `terms`: the limits on the session, for an accept with a grant. `device`: what
    was known of the device's standing. `expires`: seconds since 1970, from which on the ruling must not be used again;
    None: not before policy, or the device's standing, changes.
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
    device: DeviceStanding | None = None
    expires: float | None = None

    @property
    def accepted(self) -> bool:
        return self.verdict is Verdict.ACCEPT

    @cached_property
    def json_members(self) -> tuple[str, str]:
        """The members of the ruling's JSON object and of its evidence's, without the braces: for log lines."""
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
    """The outcome of one authentication. The reply, the log line, the metrics and the command line show this object.

    `ttl`: the answer's remaining TTL in seconds; None without one. `cached`: the answer was in the cache.
    `session_timeout`: the duration of the session in seconds, for an accept with a grant. `resumed`: the TLS session is
    a resumed one.
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
        """The part of the evidence that applies to this authentication only."""
        found: dict[str, Any] = {} if self.ttl is None else {"ttl": self.ttl}
        if self.cached:
            found["cached"] = True
        if self.resumed:
            found["resumed"] = True
        return found

    def to_json(self) -> dict[str, Any]:
        """The JSON object that `dane-radius check --json` prints."""
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


# Refusals that monitor mode leaves in force. The first two are faults. The others are what somebody decided about this
# one device, and no question of whether the rules are right.
NEVER_MONITORED = frozenset(
    {
        ReasonCode.INTERNAL_ERROR,
        ReasonCode.STANDING_UNAVAILABLE,
        ReasonCode.DEVICE_BLOCKED,
        ReasonCode.DEVICE_QUARANTINED,
        ReasonCode.ZONE_UNKNOWN,
    }
)


def refuse(
    refusal: Refused,
    policy: Policy | PolicySettings,
    *,
    name: str | None = None,
    rule: Rule | None = None,
    evidence: Evidence | None = None,
    attributes: tuple[Attribute, ...] = (),
    terms: SessionTerms | None = None,
    device: DeviceStanding | None = None,
    expires: float | None = None,
    enforced: bool = False,
) -> Ruling:
    """The reject with the reason of `refusal`; in monitor mode, an accept that states this reason.

    `attributes` and `terms` are those of the accept. `enforced`: it is a reject in monitor mode, too. For the reasons
    in NEVER_MONITORED, it always is.
    """
    monitored = policy.is_monitored(rule) and not enforced and refusal.code not in NEVER_MONITORED
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
        device=device,
        expires=expires,
    )
