"""The decision: who is this certificate, does the DNS vouch for it, what may it do?

Pure functions over values and a clock. `prepare` comes before the DNS is asked, `conclude` after it; what happens
between the two is the caller's. The same functions serve the RADIUS server and the command line, so that a decision can
be replayed on a laptop.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from dane_radius.core.anchor_record import Anchor, AnchorSource
from dane_radius.core.answers import Answer, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from dane_radius.core.certificate import Leaf, candidate_names, parse_leaf
from dane_radius.core.chain import Path, verify_paths
from dane_radius.core.names import identity_domain
from dane_radius.core.reasons import ReasonCode, Refused, Verdict
from dane_radius.core.tlsa import MatchingType, Selection, Selector, TlsaRecord, Usage, first_match, select
from dane_radius.core.work import MAX_CANDIDATES, TooMuchWork, Work
from policy import Attribute, Grant, Match, Policy, RequestFacts, Rule, grant_attributes

# Anchors that came from the very records that they would have to confirm: with them, "a valid chain besides"
# (usages 0 and 1) would say nothing that the DNS did not say already.
_NOT_PKIX = {AnchorSource.DANE_TA, AnchorSource.LEAF}


class Evidence(NamedTuple):
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
        for key, value in zip(self._fields, self, strict=True):
            # Not `in (None, (), False)`: a TTL of 0 says something, and 0 == False.
            if value is not None and value is not False and value != ():
                found[key] = list(value) if isinstance(value, tuple) else value
        return found


class Decision(NamedTuple):
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
    evidence: Evidence = Evidence()

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


# Evidence as it gathers: keyword arguments of Evidence.
_Found = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """An accept that followed from leaf and records alone, taken apart: what stays for a device that comes back.

    What does not stay: the time-out among the attributes; what is left of the TTL, and whether it was cached, in the
    evidence. `not_after`: the certificate's, in seconds since 1970.
    """

    records: tuple[TlsaRecord, ...]
    cui_key: bytes | None
    not_after: float
    before: tuple[Any, ...]
    attributes: tuple[tuple[Attribute, ...], tuple[Attribute, ...]]
    evidence: tuple[tuple[Any, ...], tuple[Any, ...]]


@dataclass(slots=True, eq=False)
class Prepared:
    """An authentication that policy could grant: the DNS may now be asked about `name`.

    `known` is the latest accept that followed from leaf and records alone: a device that comes back while its records
    are the same needs no second thought.
    """

    leaf: Leaf
    name: str
    match: Match
    policy: Policy
    request: RequestFacts
    found: Mapping[str, Any]
    known: _Known | None = None

    @property
    def rule(self) -> Rule:
        if self.match.rule is None:
            raise ValueError("a prepared authentication always has its rule")
        return self.match.rule

    @property
    def grant(self) -> Grant:
        if self.match.grant is None:
            raise ValueError("a prepared authentication always has its grant")
        return self.match.grant


def prepare(leaf: Leaf, policy: Policy, request: RequestFacts) -> Prepared | Decision:
    """Everything that can be decided without the DNS: the one name, and whether any rule could grant it access.

    A Decision here is a reject (or its monitored form), and must not be followed by a DNS query.
    """
    found: _Found = {"certificate": leaf.fingerprint, "policy": policy.digest[:12] or None}
    try:
        names = candidate_names(leaf)
        found["names"] = tuple(names)
        name = _one_name(names, policy)
    except Refused as refusal:
        return refuse(refusal, policy, evidence=Evidence(**found))
    found["domain"] = identity_domain(name)
    match = policy.match(name, request)
    if match.rule is None:
        if match.named:
            cause = Refused(ReasonCode.POLICY_NETWORK, f"rules cover {name}, but none of them at {_place(request)}")
        else:
            cause = Refused(ReasonCode.POLICY_NO_RULE, f"no rule covers {name}")
        return refuse(cause, policy, name=name, evidence=Evidence(**found))
    found["standing"] = match.standing.value
    if match.rule.grant is None:
        cause = Refused(ReasonCode.POLICY_DENIED, f"rule {match.rule.name} denies {name}")
        return refuse(cause, policy, name=name, rule=match.rule, evidence=Evidence(**found))
    return Prepared(leaf, name, match, policy, request, found)


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
    out_of_time: Callable[[], bool] | None = None,
) -> Decision:
    """The decision, given what the DNS said.

    `anchors` are those held for the name's identity domain; `now` is aware. `out_of_time`: whether the decision has
    taken all the time that it may; None for no limit but that on its work (see `dane_radius.core.work`).
    """
    found: _Found = {**prepared.found, "cached": cached}
    try:
        secure = _require_secure(prepared.name, answer, found)
        work = Work(out_of_time) if out_of_time else Work()
        matched = _match(prepared, secure, anchors, now, found, work)
    except Refused as refusal:
        return refuse(
            refusal,
            prepared.policy,
            name=prepared.name,
            rule=prepared.rule,
            evidence=Evidence(**found),
            grant=_monitor_attributes(prepared, now),
        )
    found["matched"] = matched.short
    decision = Decision(
        Verdict.ACCEPT,
        ReasonCode.DANE_MATCH,
        f"TLSA {matched.short} of {prepared.name} matches; rule {prepared.rule.name}",
        prepared.name,
        prepared.rule.name,
        attributes=_grant(prepared, secure.ttl, now, cui_key),
        evidence=Evidence(**found),
    )
    # Any other usage depends on anchors and the clock as well.
    if matched.usage == Usage.DANE_EE and not secure.stale:
        prepared.known = _take_apart(decision, prepared, secure, cui_key)
    return decision


def _take_apart(decision: Decision, prepared: Prepared, answer: Secure, cui_key: bytes | None) -> _Known:
    *before, attributes, evidence = decision
    names = [name for name, _, _ in attributes]
    timeout = names.index("Session-Timeout")
    ttl = Evidence._fields.index("ttl")
    return _Known(
        answer.records,
        cui_key,
        prepared.leaf.not_after.timestamp(),
        tuple(before),
        (attributes[:timeout], attributes[timeout + 1 :]),
        (evidence[:ttl], evidence[ttl + 2 :]),
    )


def returning(
    prepared: Prepared, answer: Answer, now: float, *, cached: bool = False, cui_key: bytes | None = None
) -> Decision | None:
    """The accept of a device that comes back while its records are the same: what `conclude` would say, for less.

    None for everything else, which is for `conclude` to decide. `now`: seconds since 1970. Nothing is taken over from
    the last time but what leaf, records and policy lead to; what is left of the TTL bounds the session anew.
    """
    known = prepared.known
    if known is None or answer.__class__ is not Secure:
        return None
    # The records of one answer stay the same object for as long as the cache holds it, whatever is left of its TTL.
    records, ttl, _, _, stale = answer
    if records is not known.records or stale or known.cui_key is not cui_key:
        return None
    first, others = known.attributes
    found, more = known.evidence
    seconds = _bounded(prepared.grant, prepared.policy, ttl, known.not_after - now)
    # Without the constructors of the two, which cost more than the rest of this decision.
    evidence = tuple.__new__(Evidence, (*found, ttl, cached, *more))
    attributes = (*first, ("Session-Timeout", ":=", str(seconds)), *others)
    return tuple.__new__(Decision, (*known.before, attributes, evidence))


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
        attributes = (("User-Name", ":=", name),)
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


def _require_secure(name: str, answer: Answer, found: _Found) -> Secure:
    """The answer if it is secure. Notes the state in `found`. Raises Refused for every other answer."""
    match answer:
        case Secure():
            state = "secure, stale" if answer.stale else "secure"
            found["dns"] = f"{state}, CNAME to {answer.canonical_name}" if answer.canonical_name else state
            found["ttl"] = answer.ttl
            return answer
        case SecureAbsent(absence, ttl):
            found["dns"], found["ttl"] = f"secure {absence}", ttl
            raise Refused(ReasonCode.TLSA_ABSENT, f"{name} provably has no TLSA record ({absence})")
        case Insecure(detail):
            found["dns"] = "insecure"
            raise Refused(ReasonCode.DNS_INSECURE, f"{name}: {detail}")
        case Bogus(ede_code, text):
            said = f"EDE {ede_code}{f': {text}' if text else ''}"
            found["dns"] = f"bogus, {said}"
            raise Refused(ReasonCode.DNS_BOGUS, f"{name}: DNSSEC validation failed ({said})")
        case Unavailable(detail, overloaded):
            found["dns"] = "unavailable"
            raise Refused(ReasonCode.DNS_OVERLOADED if overloaded else ReasonCode.DNS_UNAVAILABLE, f"{name}: {detail}")


@dataclass(frozen=True, slots=True)
class _Examined:
    """A TLSA RRset held against a leaf, as far as neither the clock nor the anchors matter."""

    selection: Selection
    shown: tuple[str, ...]
    set_aside: tuple[tuple[str, str], ...]
    device_match: TlsaRecord | None


# What an evidence shows of each list: a zone may publish more records than a log line should hold.
_MAX_SHOWN = 16


def _first(shown: tuple[str, ...], count: int) -> tuple[str, ...]:
    return shown if count <= _MAX_SHOWN else (*shown[:_MAX_SHOWN], f"… and {count - _MAX_SHOWN} more")


# Devices come back with the same certificate, to the same records: a pure function worth remembering.
@lru_cache(maxsize=8192)
def _examine(leaf: Leaf, records: tuple[TlsaRecord, ...], malformed: tuple[str, ...], allow_pkix_cd: bool) -> _Examined:
    selection = select(records, allow_pkix_cd=allow_pkix_cd)
    device_records = [record for record in selection.usable if record.usage == Usage.DANE_EE]
    return _Examined(
        selection,
        _first(tuple(record.short for record in records[: _MAX_SHOWN + 1]), len(records)),
        (
            *((record.short, why) for record, why in selection.set_aside[:_MAX_SHOWN]),
            *(("(malformed)", why) for why in malformed[:_MAX_SHOWN]),
        ),
        first_match(device_records, leaf.der, leaf.spki),
    )


def _match(
    prepared: Prepared, answer: Secure, anchors: Sequence[Anchor], now: datetime, found: _Found, work: Work
) -> TlsaRecord:
    """The record that vouches for the certificate, strongly enough for the rule. Raises Refused."""
    rule = prepared.rule
    examined = _examine(prepared.leaf, answer.records, answer.malformed, rule.allow_pkix_cd)
    found["records"], found["set_aside"] = examined.shown, examined.set_aside
    usable = examined.selection.usable
    if not usable:
        raise Refused(ReasonCode.TLSA_UNUSABLE, f"none of the TLSA records of {prepared.name} is usable")
    if examined.device_match is not None and rule.require.allows(Usage.DANE_EE):
        return examined.device_match
    failures: list[str] = []
    for usage in (Usage.DANE_TA, Usage.PKIX_EE, Usage.PKIX_TA, Usage.PKIX_CD):
        records = [record for record in usable if record.usage == usage]
        if records and rule.require.allows(usage):
            try:
                outcome = _match_by_path(usage, records, prepared, anchors, now, failures, work)
            except TooMuchWork as error:
                raise Refused(
                    ReasonCode.CHAIN_TOO_COMPLEX, f"the certificates for {prepared.name} are refused: {error}"
                ) from error
            if outcome:
                found["chain"] = outcome[1]
                return outcome[0]
    if failures:
        distinct = tuple(dict.fromkeys(failures))
        found["chain_failures"] = _first(distinct[: _MAX_SHOWN + 1], len(distinct))
        raise Refused(
            ReasonCode.CHAIN_INVALID, f"a TLSA record of {prepared.name} asks for a valid chain: {failures[0]}"
        )
    if not any(rule.require.allows(record.usage) for record in usable):
        raise Refused(
            ReasonCode.POLICY_STRENGTH,
            f"rule {rule.name} requires {rule.require}; {prepared.name} publishes {usable[0].short}",
        )
    raise Refused(
        ReasonCode.TLSA_MISMATCH,
        f"none of the {len(usable)} usable TLSA records of {prepared.name} matches this certificate",
    )


def needs_anchors(answer: Answer) -> bool:
    """Whether `conclude` can make use of anchors for this answer: only usages other than DANE-EE build a path."""
    return isinstance(answer, Secure) and any(record.usage != Usage.DANE_EE for record in answer.records)


def _match_by_path(
    usage: Usage,
    records: list[TlsaRecord],
    prepared: Prepared,
    anchors: Sequence[Anchor],
    now: datetime,
    failures: list[str],
    work: Work,
) -> tuple[TlsaRecord, str] | None:
    """A record of usage 0, 1, 2 or 4 that holds, with its path. Notes in `failures` why a path did not come about.

    Raises TooMuchWork.
    """
    leaf = prepared.leaf
    domain = identity_domain(prepared.name)
    # The directory gave them for this domain; that it did is not left to trust.
    anchors = [anchor for anchor in anchors if anchor.record.vouches_for(domain)]
    held = [anchor.der for anchor in anchors]

    def on(path: Path) -> TlsaRecord | None:
        """The record that one of the path's certificates matches."""
        found = (first_match(records, link.der, link.spki) for link in path.links)
        return next((record for record in found if record is not None), None)

    if usage != Usage.DANE_TA:
        foreign = _NOT_PKIX if usage != Usage.PKIX_CD else {AnchorSource.LEAF}
        trusted = [anchor.der for anchor in anchors if anchor.record.source not in foreign]
        candidates = held
        matched = first_match(records, leaf.der, leaf.spki) if usage != Usage.PKIX_TA else None
        if usage != Usage.PKIX_TA and not matched:
            return None
    else:
        published = [r.data for r in records if r.selector == Selector.CERT and r.matching_type == MatchingType.FULL]
        # A leaf cannot be its own CA: this usage names what stands above it (RFC 7671 section 5.2).
        candidates = [der for der in dict.fromkeys([*held, *published]) if der != leaf.der]
        matched = None
    if len(candidates) > MAX_CANDIDATES:
        raise TooMuchWork(f"{len(candidates)} certificates to look for a path in, at most {MAX_CANDIDATES} expected")
    if usage == Usage.DANE_TA:
        trusted = [der for der in candidates if _vouched(records, der)]
        if not trusted:
            failures.append(f"the CA that {records[0].short} names is neither held as an anchor nor published in full")
            return None
    paths, why = verify_paths(
        leaf,
        prepared.name,
        trusted,
        candidates,
        now,
        enough=lambda path: matched is not None or on(path) is not None,
        work=work,
    )
    for path in paths:
        record = matched or on(path)
        if record is not None:
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
    return tuple(
        grant_attributes(
            prepared.grant,
            user_name=prepared.name,
            session_timeout=session_timeout(prepared.grant, prepared.policy, ttl, prepared.leaf, now),
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
    return _bounded(grant, policy, ttl, (leaf.not_after - now).total_seconds())


def _bounded(grant: Grant, policy: Policy, ttl: int, left: float) -> int:
    """`left`: seconds until the certificate ends."""
    allowed = ttl * policy.ttl_factor
    if allowed < policy.minimum_session:
        allowed = policy.minimum_session
    if allowed > grant.session_timeout:
        allowed = grant.session_timeout
    if left >= allowed or left < 0:
        return allowed
    return int(left) or 1


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
