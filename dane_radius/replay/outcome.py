"""What a policy makes of a logged decision, as far as the log says enough."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import NamedTuple

from dane_radius.core.decision import is_enforced, reason_of
from dane_radius.core.reasons import ReasonCode, Refused
from dane_radius.core.ruling import refuse
from dane_radius.core.tlsa import Usage
from dane_radius.replay.logged import LoggedDecision
from policy import DeviceStanding, Grant, Match, Policy, Rule, Strength


class Result(StrEnum):
    """unknown: the log does not say enough."""

    ACCESS = "access"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Outcome(NamedTuple):
    """The outcome for a device. `grant`: None where the log names a zone only. `why`: why it is not known."""

    result: Result
    reason: ReasonCode
    rule: str | None = None
    zone: str | None = None
    grant: Grant | None = None
    monitored: bool = False
    why: str | None = None


# The DNS was asked before each of these; their cause lies in its answer, whatever policy says.
_BY_ANSWER = frozenset(
    {
        ReasonCode.TLSA_ABSENT,
        ReasonCode.DNS_INSECURE,
        ReasonCode.DNS_BOGUS,
        ReasonCode.DNS_UNAVAILABLE,
        ReasonCode.DNS_OVERLOADED,
    }
)
# With these, the answer is known, and which of its records match depends on what policy requires.
_BY_RECORDS = frozenset(
    {
        ReasonCode.DANE_MATCH,
        ReasonCode.TLSA_UNUSABLE,
        ReasonCode.TLSA_MISMATCH,
        ReasonCode.POLICY_STRENGTH,
        ReasonCode.CHAIN_INVALID,
        ReasonCode.CHAIN_TOO_COMPLEX,
    }
)
# These were refused by policy, or by standing, before the DNS was asked.
_BEFORE_THE_DNS = frozenset(
    {
        ReasonCode.POLICY_NO_RULE,
        ReasonCode.POLICY_NETWORK,
        ReasonCode.POLICY_TIME,
        ReasonCode.POLICY_DENIED,
        ReasonCode.DEVICE_BLOCKED,
        ReasonCode.DEVICE_QUARANTINED,
        ReasonCode.APPROVAL_PENDING,
        ReasonCode.ZONE_UNKNOWN,
        ReasonCode.SAN_AMBIGUOUS,
    }
)
_OF_PATHS = (ReasonCode.CHAIN_INVALID, ReasonCode.CHAIN_TOO_COMPLEX)
NO_ANSWER = "the DNS was not asked then"
NO_MATCHES = "the log does not say which of the other TLSA records match"
NO_NAMES = "the line does not have all names of the certificate"


def logged_outcome(decision: LoggedDecision) -> Outcome:
    """What the device got then."""
    result = Result.ACCESS if decision.accepted else Result.REFUSED
    return Outcome(result, decision.reason, decision.rule, decision.zone, None, decision.monitored)


class Replayer:
    """Decides about logged decisions by one policy. It remembers matches, since most lines are about known devices."""

    def __init__(self, policy: Policy, max_remembered: int = 200_000) -> None:
        self.policy = policy
        self._max = max_remembered
        # By name, request and standing: the match, and from when until when it holds.
        self._matches: dict[tuple[object, ...], tuple[float, Match]] = {}

    def outcome(self, decision: LoggedDecision, old: Strength | None = None) -> Outcome:
        """The outcome by this policy. `old`: what the rule of the logged decision required, if it is known."""
        name = decision.name
        if decision.reason is ReasonCode.SAN_AMBIGUOUS or len(decision.names) > 1:
            if not decision.complete:
                return Outcome(Result.UNKNOWN, decision.reason, why=NO_NAMES)
            selected = [each for each in decision.names if self.policy.selects(each)]
            if len(selected) != 1:
                return self._refused(ReasonCode.SAN_AMBIGUOUS, None)
            name = selected[0]
            if name != decision.name:
                # Neither the standing of this name nor its records are in the line.
                match = self._match(name, decision, None)
                rule = match.rule.name if match.rule is not None else None
                return Outcome(Result.UNKNOWN, decision.reason, rule, match.zone, match.grant, why=NO_ANSWER)
        if name is None or not self._reaches_policy(decision.reason):
            return self._refused(decision.reason, None)
        return self._by_policy(decision, name, old)

    @staticmethod
    def _reaches_policy(reason: ReasonCode) -> bool:
        return reason in _BY_ANSWER or reason in _BY_RECORDS or reason in _BEFORE_THE_DNS

    def _by_policy(self, decision: LoggedDecision, name: str, old: Strength | None) -> Outcome:
        match = self._match(name, decision, decision.device)
        if match.rule is None or match.grant is None:
            return self._refused(reason_of(match), match.rule, enforced=is_enforced(match))
        if decision.reason in _BEFORE_THE_DNS:
            return Outcome(Result.UNKNOWN, decision.reason, match.rule.name, match.zone, match.grant, why=NO_ANSWER)
        if decision.reason in _BY_ANSWER:
            return self._refused(decision.reason, match.rule, match)
        return self._by_records(decision, match.rule, match, old)

    def _match(self, name: str, decision: LoggedDecision, device: DeviceStanding | None) -> Match:
        key = (name, decision.request, device)
        known = self._matches.get(key)
        at = decision.at
        if known is not None:
            since, match = known
            # Lines of several files are not in order.
            if since <= at and (match.expires is None or at < match.expires):
                return match
        match = self.policy.match(name, decision.request, device, now=at)
        if len(self._matches) >= self._max:
            self._matches.clear()
        self._matches[key] = at, match
        return match

    def _by_records(self, decision: LoggedDecision, rule: Rule, match: Match, old: Strength | None) -> Outcome:
        if decision.matched is not None and _allows(rule, decision.matched):
            return Outcome(Result.ACCESS, ReasonCode.DANE_MATCH, rule.name, match.zone, match.grant)
        usable, perhaps = _usable(decision, rule)
        allowed = [record for record in usable if _allows(rule, record)]
        known = [_known_match(record, decision, old) for record in allowed]
        if any(known):
            return Outcome(Result.ACCESS, ReasonCode.DANE_MATCH, rule.name, match.zone, match.grant)
        if not decision.complete or None in known or any(_allows(rule, record) for record in perhaps):
            return Outcome(Result.UNKNOWN, decision.reason, rule.name, match.zone, match.grant, why=NO_MATCHES)
        if not usable and not perhaps:
            reason = ReasonCode.TLSA_UNUSABLE
        elif not allowed:
            reason = ReasonCode.POLICY_STRENGTH
        elif decision.reason in _OF_PATHS and any(_usage(record) != Usage.DANE_EE for record in allowed):
            reason = decision.reason
        else:
            reason = ReasonCode.TLSA_MISMATCH
        return self._refused(reason, rule, match)

    def _refused(
        self, reason: ReasonCode, rule: Rule | None, match: Match | None = None, *, enforced: bool = False
    ) -> Outcome:
        """A refusal, or the access that monitor mode gives instead. `enforced`: it gives none."""
        name = rule.name if rule is not None else None
        if not refuse(Refused(reason, ""), self.policy, rule=rule, enforced=enforced).accepted:
            return Outcome(Result.REFUSED, reason, name)
        zone, grant = (match.zone, match.grant) if match is not None else (None, None)
        return Outcome(Result.ACCESS, reason, name, zone, grant, monitored=True)


def _usable(decision: LoggedDecision, rule: Rule) -> tuple[list[str], list[str]]:
    """The records that count by this rule, and those that perhaps do.

    Records of usage 4 count if the rule enables them. If the rule of that time did not, the log does not say whether
    they are well-formed. Several records may have one text, because the log shows their beginnings only.
    """
    if not decision.set_aside and rule.allow_pkix_cd:
        return list(decision.records), []
    aside = Counter(decision.set_aside)
    usable, perhaps = [], []
    for record in decision.records:
        of_pkix_cd = _usage(record) == Usage.PKIX_CD
        if aside[record] > 0:
            aside[record] -= 1
            if of_pkix_cd and rule.allow_pkix_cd:
                perhaps.append(record)
        elif not of_pkix_cd or rule.allow_pkix_cd:
            usable.append(record)
    return usable, perhaps


def _usage(record: str) -> int:
    head = record.partition(" ")[0]
    return int(head) if head.isdigit() else -1


def _allows(rule: Rule, record: str) -> bool:
    usage = _usage(record)
    return rule.require.allows(usage) and (usage != Usage.PKIX_CD or rule.allow_pkix_cd)


def _known_match(record: str, decision: LoggedDecision, old: Strength | None) -> bool | None:
    """Whether a record matches the logged certificate; None if the line does not say.

    A refusal means that no record matched that the rule of that time allowed. An accept by a record that needs a path
    means that no record of the device's own key or certificate did. The log has the SHA-256 of the certificate, and the
    start of a record's digest.
    """
    usage, *rest = record.split(" ")
    if usage == str(int(Usage.DANE_EE)) and rest[:2] == ["0", "1"] and decision.certificate is not None:
        digest = rest[2].removesuffix("…") if len(rest) > 2 else ""
        return len(digest) >= 24 and decision.certificate.startswith(digest)
    if old is None or not usage.isdigit() or not old.allows(int(usage)):
        return None
    if decision.reason is ReasonCode.DANE_MATCH:
        by_path = decision.matched is not None and _usage(decision.matched) != Usage.DANE_EE
        return False if by_path and int(usage) == Usage.DANE_EE else None
    return False
