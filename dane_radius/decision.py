"""The decision: who is this certificate, does the DNS vouch for it, what may it do?

Pure functions over values and a clock. `prepare` comes before the DNS is asked, `conclude` after it; what happens
between the two is the caller's. The same functions serve the RADIUS server and the command line, so that a decision can
be replayed on a laptop.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from dane_radius.anchors import Anchor
from dane_radius.answers import Answer, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from dane_radius.certificate import Leaf, candidate_names, parse_leaf
from dane_radius.chain import verify_paths
from dane_radius.names import identity_domain
from dane_radius.reasons import ReasonCode, Refused, Verdict
from dane_radius.tlsa import MatchingType, Selection, Selector, TlsaRecord, Usage, first_match, matches, select
from policy import Attribute, Grant, Match, Policy, RequestFacts, Rule, grant_attributes


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a decision rests on. Everything is safe to log: no key, no secret."""

    names: tuple[str, ...] = ()
    certificate: str | None = None
    domain: str | None = None
    dns: str | None = None
    ttl: int | None = None
    cached: bool = False
    records: tuple[str, ...] = ()
    set_aside: tuple[tuple[str, str], ...] = ()
    matched: str | None = None
    chain: str | None = None
    chain_failures: tuple[str, ...] = ()
    standing: str | None = None
    policy: str | None = None
    resumed: bool = False

    def to_json(self) -> dict[str, Any]:
        """The fields that say something, ready for JSON."""
        found: dict[str, Any] = {}
        for key in self.__slots__:
            value = getattr(self, key)
            if value not in (None, (), False):
                found[key] = list(value) if isinstance(value, tuple) else value
        return found


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of an authentication. One object feeds reply, log line, metric and command line.

    `monitored`: it would have been a reject with `reason`, but policy only watches. `attributes` are RADIUS reply
    attributes, empty for a reject.
    """

    verdict: Verdict
    reason: ReasonCode
    detail: str
    name: str | None = None
    rule: str | None = None
    monitored: bool = False
    attributes: tuple[Attribute, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)

    @property
    def accepted(self) -> bool:
        return self.verdict is Verdict.ACCEPT

    def to_json(self) -> dict[str, Any]:
        """For logs and `--json`."""
        return {
            "verdict": str(self.verdict),
            "reason": str(self.reason),
            "detail": self.detail,
            "name": self.name,
            "rule": self.rule,
            "monitored": self.monitored,
            "attributes": [list(attribute) for attribute in self.attributes],
            "evidence": self.evidence.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Prepared:
    """An authentication that policy could grant: the DNS may now be asked about `name`."""

    leaf: Leaf
    name: str
    match: Match
    policy: Policy
    request: RequestFacts
    evidence: Evidence

    @property
    def rule(self) -> Rule:
        if self.match.rule is None:
            raise ValueError("a prepared authentication always has its rule")
        return self.match.rule


def prepare(leaf: Leaf, policy: Policy, request: RequestFacts) -> Prepared | Decision:
    """Everything that can be decided without the DNS: the one name, and whether any rule could grant it access.

    A Decision here is a reject (or its monitored form), and must not be followed by a DNS query.
    """
    evidence = Evidence(certificate=leaf.fingerprint, policy=policy.digest[:12] or None)
    try:
        names = candidate_names(leaf)
        evidence = replace(evidence, names=tuple(names))
        name = _one_name(names, policy)
    except Refused as refusal:
        return refuse(refusal, policy, evidence=evidence)
    evidence = replace(evidence, domain=identity_domain(name))
    match = policy.match(name, request)
    if match.rule is None:
        if match.named:
            cause = Refused(ReasonCode.POLICY_NETWORK, f"rules cover {name}, but none of them at {_place(request)}")
        else:
            cause = Refused(ReasonCode.POLICY_NO_RULE, f"no rule covers {name}")
        return refuse(cause, policy, name=name, evidence=evidence)
    evidence = replace(evidence, standing=str(match.standing))
    if match.rule.grant is None:
        cause = Refused(ReasonCode.POLICY_DENIED, f"rule {match.rule.name} denies {name}")
        return refuse(cause, policy, name=name, rule=match.rule, evidence=evidence)
    return Prepared(leaf, name, match, policy, request, evidence)


def _one_name(names: list[str], policy: Policy) -> str:
    if len(names) == 1:
        return names[0]
    selected = [name for name in names if policy.selects(name)]
    if len(selected) == 1:
        return selected[0]
    found = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
    how = "none of them is" if not selected else f"{len(selected)} of them are"
    raise Refused(
        ReasonCode.SAN_AMBIGUOUS,
        f"{len(names)} dNSNames ({found}), and {how} covered by policy; exactly one is expected",
    )


def _place(request: RequestFacts) -> str:
    where = [
        f"{what} {value}"
        for what, value in (
            ("SSID", request.ssid),
            ("NAS", request.nas_identifier or request.nas_address),
            ("port type", request.nas_port_type),
        )
        if value
    ]
    return f"this network ({', '.join(where) or 'the request names no SSID and no NAS'})"


def conclude(
    prepared: Prepared,
    answer: Answer,
    anchors: Sequence[Anchor],
    now: datetime,
    *,
    cached: bool = False,
    cui_key: bytes | None = None,
) -> Decision:
    """The decision, given what the DNS said.

    `anchors` are those held for the name's identity domain; `now` is aware.
    """
    evidence = replace(prepared.evidence, cached=cached)
    try:
        secure, evidence = _require_secure(prepared.name, answer, evidence)
        selection = select(secure.records, allow_pkix_cd=prepared.rule.allow_pkix_cd)
        evidence = replace(
            evidence,
            ttl=secure.ttl,
            records=tuple(record.short for record in secure.records),
            set_aside=(
                *((record.short, why) for record, why in selection.set_aside),
                *(("(malformed)", why) for why in secure.malformed),
            ),
        )
        matched, evidence = _match(prepared, selection, anchors, now, evidence)
    except _Refusal as refusal:
        return refuse(
            refusal.cause,
            prepared.policy,
            name=prepared.name,
            rule=prepared.rule,
            evidence=refusal.evidence,
            grant=_monitor_attributes(prepared, now),
        )
    attributes = _grant(prepared, secure.ttl, now, cui_key)
    evidence = replace(evidence, matched=matched.short)
    return Decision(
        Verdict.ACCEPT,
        ReasonCode.DANE_MATCH,
        f"TLSA {matched.short} of {prepared.name} matches; rule {prepared.rule.name}",
        prepared.name,
        prepared.rule.name,
        attributes=attributes,
        evidence=evidence,
    )


class _Refusal(Exception):
    """A refusal with the evidence that had been gathered by then."""

    def __init__(self, code: ReasonCode, detail: str, evidence: Evidence) -> None:
        super().__init__(detail)
        self.cause = Refused(code, detail)
        self.evidence = evidence


def refuse(
    refusal: Refused,
    policy: Policy,
    *,
    name: str | None = None,
    rule: Rule | None = None,
    evidence: Evidence | None = None,
    grant: tuple[Attribute, ...] = (),
) -> Decision:
    """A reject; or, where policy only monitors, the accept that says what it would have been."""
    monitored = policy.is_monitored(rule) and refusal.code is not ReasonCode.INTERNAL_ERROR
    attributes = grant
    if monitored and not attributes and name is not None:
        attributes = (Attribute("User-Name", ":=", name),)
    return Decision(
        Verdict.ACCEPT if monitored else Verdict.REJECT,
        refusal.code,
        refusal.detail,
        name,
        rule.name if rule else None,
        monitored=monitored,
        attributes=attributes if monitored else (),
        evidence=evidence or Evidence(),
    )


def _require_secure(name: str, answer: Answer, evidence: Evidence) -> tuple[Secure, Evidence]:
    match answer:
        case Secure():
            state = "secure, stale" if answer.stale else "secure"
            if answer.canonical_name:
                state += f", CNAME to {answer.canonical_name}"
            return answer, replace(evidence, dns=state)
        case SecureAbsent(absence, ttl):
            evidence = replace(evidence, dns=f"secure {absence}", ttl=ttl)
            raise _Refusal(ReasonCode.TLSA_ABSENT, f"{name} provably has no TLSA record ({absence})", evidence)
        case Insecure(detail):
            raise _Refusal(ReasonCode.DNS_INSECURE, f"{name}: {detail}", replace(evidence, dns="insecure"))
        case Bogus(ede_code, text):
            said = f"EDE {ede_code}{f': {text}' if text else ''}"
            raise _Refusal(
                ReasonCode.DNS_BOGUS,
                f"{name}: DNSSEC validation failed ({said})",
                replace(evidence, dns=f"bogus, {said}"),
            )
        case Unavailable(detail, overloaded):
            code = ReasonCode.DNS_OVERLOADED if overloaded else ReasonCode.DNS_UNAVAILABLE
            raise _Refusal(code, f"{name}: {detail}", replace(evidence, dns="unavailable"))


def _match(
    prepared: Prepared, selection: Selection, anchors: Sequence[Anchor], now: datetime, evidence: Evidence
) -> tuple[TlsaRecord, Evidence]:
    """The record that vouches for the certificate, strongly enough for the rule. Raises _Refusal."""
    if not selection.usable:
        raise _Refusal(ReasonCode.TLSA_UNUSABLE, f"none of the TLSA records of {prepared.name} is usable", evidence)
    leaf = prepared.leaf
    failures: list[str] = []
    weak: TlsaRecord | None = None
    # Strongest usage first: what can be shown by the record alone is shown without building a path.
    for usage in (Usage.DANE_EE, Usage.DANE_TA, Usage.PKIX_EE, Usage.PKIX_TA, Usage.PKIX_CD):
        records = [record for record in selection.usable if record.usage == usage]
        if not records:
            continue
        if not prepared.rule.require.allows(usage):
            weak = weak or records[0]
            continue
        if usage == Usage.DANE_EE:
            matched = first_match(records, leaf.der, leaf.spki)
            if matched:
                return matched, evidence
            continue
        found = _match_by_path(usage, records, prepared, anchors, now, failures)
        if found:
            return found[0], replace(evidence, chain=found[1])
    evidence = replace(evidence, chain_failures=tuple(dict.fromkeys(failures)))
    if failures:
        raise _Refusal(
            ReasonCode.CHAIN_INVALID,
            f"a TLSA record of {prepared.name} asks for a valid chain: {failures[0]}",
            evidence,
        )
    if weak and all(not prepared.rule.require.allows(record.usage) for record in selection.usable):
        raise _Refusal(
            ReasonCode.POLICY_STRENGTH,
            f"rule {prepared.rule.name} requires {prepared.rule.require}; {prepared.name} publishes {weak.short}",
            evidence,
        )
    raise _Refusal(
        ReasonCode.TLSA_MISMATCH,
        f"none of the {len(selection.usable)} usable TLSA records of {prepared.name} matches this certificate",
        evidence,
    )


def _match_by_path(
    usage: Usage,
    records: list[TlsaRecord],
    prepared: Prepared,
    anchors: Sequence[Anchor],
    now: datetime,
    failures: list[str],
) -> tuple[TlsaRecord, str] | None:
    """A record of usage 0, 1, 2 or 4 that holds, with its path. Notes in `failures` why a path did not come about."""
    leaf = prepared.leaf
    held = [anchor.der for anchor in anchors]
    if usage in (Usage.PKIX_EE, Usage.PKIX_CD):
        matched = first_match(records, leaf.der, leaf.spki)
        if not matched:
            return None
        paths, why = verify_paths(leaf, prepared.name, held, (), now)
        if paths:
            return matched, str(paths[0])
        failures += why
        return None
    if usage == Usage.PKIX_TA:
        paths, why = verify_paths(leaf, prepared.name, held, (), now)
    else:
        published = [r.data for r in records if r.selector == Selector.CERT and r.matching_type == MatchingType.FULL]
        candidates = list(dict.fromkeys([*held, *published]))
        trusted = [der for der in candidates if _vouched(records, der)]
        paths, why = verify_paths(leaf, prepared.name, trusted, candidates, now)
    for path in paths:
        for record in records:
            if any(matches(record, link.der, link.spki) for link in path.links):
                return record, str(path)
    if not paths:
        failures += why
    return None


def _vouched(records: list[TlsaRecord], der: bytes) -> bool:
    try:
        certificate = parse_leaf(der)
    except Refused:
        return False
    return first_match(records, certificate.der, certificate.spki) is not None


def _grant(prepared: Prepared, ttl: int, now: datetime, cui_key: bytes | None) -> tuple[Attribute, ...]:
    grant = prepared.match.grant
    if grant is None:
        raise ValueError("a prepared authentication always has its grant")
    return tuple(
        grant_attributes(
            grant,
            user_name=prepared.name,
            session_timeout=session_timeout(grant, prepared.policy, ttl, prepared.leaf, now),
            rule=prepared.rule.name,
            cui=chargeable_user_identity(prepared.name, cui_key) if prepared.request.wants_cui else None,
        )
    )


def session_timeout(grant: Grant, policy: Policy, ttl: int, leaf: Leaf, now: datetime) -> int:
    """Seconds that an admission may last.

    The grant's time, but at most the validated TTL times the policy's factor (with the policy's minimum as floor), and
    not beyond the certificate.

    An expired certificate that a DANE-EE record vouches for sets no bound: RFC 7671 section 5.1 ignores its expiry.
    """
    allowed = min(grant.session_timeout, max(ttl * policy.ttl_factor, policy.minimum_session))
    left = int((leaf.not_after - now).total_seconds())
    return min(allowed, left) if left > 0 else allowed


def chargeable_user_identity(name: str, key: bytes | None) -> str | None:
    """RFC 4372: an opaque, stable handle of the device for accounting between operators; None without a key."""
    if key is None:
        return None
    return hmac.new(key, name.encode("ascii"), hashlib.sha256).hexdigest()[:32]


def _monitor_attributes(prepared: Prepared, now: datetime) -> tuple[Attribute, ...]:
    """What a monitored refusal answers: the rule's access for the shortest time that policy knows."""
    if not prepared.policy.is_monitored(prepared.rule):
        return ()
    return _grant(prepared, 0, now, None)
