"""The decision: which device a certificate identifies, whether the DNS vouches for it, and what access it gets.

The functions are pure. `prepare` precedes the DNS lookup, for which the caller is responsible; `rule_by_answer` and
`rule_by_path` follow it. The RADIUS server and the command line call the same functions, so a decision can be replayed
on another computer.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from dane_radius.core.anchor_record import Anchor
from dane_radius.core.answers import Answer, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from dane_radius.core.certificate import Leaf, candidate_names, check_key
from dane_radius.core.names import identity_domain
from dane_radius.core.path_match import PATH_USAGES, match_by_path
from dane_radius.core.reasons import ReasonCode, Refused, Verdict
from dane_radius.core.ruling import NEVER_MONITORED, Decision, Evidence, Ruling, SessionTerms, refuse, session_terms
from dane_radius.core.tlsa import Selection, TlsaRecord, Usage, first_match, select
from dane_radius.core.work import TooMuchWork, Work
from policy import (
    Attribute,
    CuiMode,
    DeviceStanding,
    Grant,
    Match,
    MatchRefusal,
    Policy,
    PolicySettings,
    RequestFacts,
    Rule,
    Standing,
    grant_attributes,
)

# How many elements of each list the evidence shows: a zone may publish more records than a log line should contain.
_MAX_SHOWN = 16


# What is known of the standing of the device with a name; None: nothing. It may raise Refused, if that cannot be said.
StandingOf = Callable[[str], DeviceStanding | None]

_REASONS = {
    MatchRefusal.NO_RULE: ReasonCode.POLICY_NO_RULE,
    MatchRefusal.NETWORK: ReasonCode.POLICY_NETWORK,
    MatchRefusal.TIME: ReasonCode.POLICY_TIME,
    MatchRefusal.DENIED: ReasonCode.POLICY_DENIED,
    MatchRefusal.BLOCKED: ReasonCode.DEVICE_BLOCKED,
    MatchRefusal.QUARANTINED: ReasonCode.DEVICE_QUARANTINED,
    MatchRefusal.PENDING: ReasonCode.APPROVAL_PENDING,
    MatchRefusal.UNKNOWN_ZONE: ReasonCode.ZONE_UNKNOWN,
}
# Rules that are for other standings only refuse a device because of its own.
_REASONS_OF_STANDING = {
    Standing.QUARANTINED: ReasonCode.DEVICE_QUARANTINED,
    Standing.PENDING: ReasonCode.APPROVAL_PENDING,
}


def nothing_known(_name: str) -> DeviceStanding | None:
    """The standing of every device where nothing keeps standings."""
    return None


def reason_of(match: Match) -> ReasonCode:
    """The reason code of a match that gives no access."""
    assert match.refusal is not None
    if match.refusal is MatchRefusal.STANDING:
        return _REASONS_OF_STANDING.get(match.standing, ReasonCode.POLICY_DENIED)
    return _REASONS[match.refusal]


# Somebody isolated the device. Where no rule gives it a zone, monitor mode would admit it to the NAS's default network.
_ISOLATED = frozenset({Standing.QUARANTINED, Standing.BLOCKED})


def is_enforced(match: Match) -> bool:
    """Whether a match that gives no access is a reject in monitor mode, too."""
    return match.standing in _ISOLATED or reason_of(match) in NEVER_MONITORED


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An authentication that policy could grant, so that a lookup of `name` is due.

    `settings`: those of the policy. `device`: what was known of the device's standing. `expires`: seconds since 1970,
    from which on this must not be used again; None: not before the policy or `device` changes.

    Compared by identity, so that it can be a cache key without hashing its contents.
    """

    leaf: Leaf
    name: str
    rule: Rule
    grant: Grant
    settings: PolicySettings
    request: RequestFacts
    evidence: Evidence
    device: DeviceStanding | None = None
    expires: float | None = None


def prepare(
    leaf: Leaf,
    policy: Policy,
    request: RequestFacts,
    standing_of: StandingOf = nothing_known,
    *,
    now: float,
) -> Prepared | Ruling:
    """The part of a decision that needs no DNS: the device's name, and whether a rule could grant it access.

    A Ruling is a reject, or the accept that replaces it in monitor mode. No DNS query may follow it. `standing_of` may
    raise Refused, which becomes a reject. `now`: seconds since 1970.
    """
    evidence = Evidence(certificate=leaf.fingerprint, policy=policy.digest[:12] or None)
    name: str | None = None
    try:
        check_key(leaf)
        names = candidate_names(leaf)
        evidence = replace(evidence, names=tuple(names))
        name = _one_name(names, policy)
        evidence = replace(evidence, domain=identity_domain(name))
        device = standing_of(name)
    except Refused as refusal:
        return refuse(refusal, policy, name=name, evidence=evidence)
    match = policy.match(name, request, device, now=now)
    evidence = replace(
        evidence,
        standing=match.standing.value if match.rule is not None or device is not None else None,
        approved=None if device is None else device.approved,
        assigned_standing=None if device is None or device.standing is Standing.NORMAL else device.standing.value,
        assigned_zone=None if device is None else device.zone,
        zone=match.zone,
    )
    if match.rule is None or match.grant is None:
        cause = Refused(reason_of(match), match.detail)
        return refuse(
            cause,
            policy,
            name=name,
            rule=match.rule,
            evidence=evidence,
            device=device,
            expires=match.expires,
            enforced=is_enforced(match),
        )
    return Prepared(leaf, name, match.rule, match.grant, policy.settings, request, evidence, device, match.expires)


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
    """The decision by the DNS answer. The arguments are those of `rule_by_answer`, `rule_by_path` and `admit`."""
    ruling = rule_by_answer(prepared, answer, cui_key)
    if ruling is None:
        assert isinstance(answer, Secure)
        ruling = rule_by_path(prepared, answer, anchors, now, cui_key, out_of_time)
    return admit(ruling, answer, now.timestamp(), cached=cached)


def admit(ruling: Ruling, answer: Answer, now: float, *, cached: bool = False) -> Decision:
    """The decision by a ruling at `now` (seconds since 1970), with the session time that the remaining TTL allows."""
    ttl = answer.ttl if isinstance(answer, Secure | SecureAbsent) else None
    terms = ruling.terms
    if terms is None:
        return Decision(ruling, ttl, cached)
    # A monitored refusal gets the shortest session: the policy's minimum.
    return Decision(ruling, ttl, cached, terms.seconds(0 if ruling.monitored else ttl or 0, now))


def rule_by_answer(prepared: Prepared, answer: Answer, cui_key: bytes | None = None) -> Ruling | None:
    """The ruling by the answer alone; None if it depends on a certification path.

    `cui_key`: the secret that Chargeable-User-Identity values are derived with; None if there is none.
    """
    if isinstance(answer, Secure):
        records, _, malformed, canonical_name, stale = answer
        return _ruler_for(prepared, records)(prepared, records, malformed, canonical_name, stale, cui_key)
    state, refusal = _not_secure(prepared.name, answer)
    return _refuse(prepared, refusal, replace(prepared.evidence, dns=state))


def _not_secure(name: str, answer: SecureAbsent | Insecure | Bogus | Unavailable) -> tuple[str, Refused]:
    """The state of the answer, for the evidence, and the refusal."""
    match answer:
        case SecureAbsent(absence, _):
            return f"secure {absence}", Refused(
                ReasonCode.TLSA_ABSENT, f"{name} provably has no TLSA record ({absence})"
            )
        case Insecure(detail):
            return "insecure", Refused(ReasonCode.DNS_INSECURE, f"{name}: {detail}")
        case Bogus(ede_code, text):
            said = f"EDE {ede_code}{f': {text}' if text else ''}"
            return f"bogus, {said}", Refused(ReasonCode.DNS_BOGUS, f"{name}: DNSSEC validation failed ({said})")
        case Unavailable(detail, overloaded):
            code = ReasonCode.DNS_OVERLOADED if overloaded else ReasonCode.DNS_UNAVAILABLE
            return "unavailable", Refused(code, f"{name}: {detail}")


# Certificates and RRsets above this are not cached: 8,192 of them could take gigabytes. Ordinary ones have 1 KB.
MAX_CACHED_OCTETS = 4096


def _ruler_for(prepared: Prepared, records: tuple[TlsaRecord, ...]) -> Callable[..., Ruling | None]:
    """`_rule_by_records`, from its cache unless what it would keep is large."""
    octets = sum(len(record.data) for record in records)
    small = octets <= MAX_CACHED_OCTETS and len(prepared.leaf.der) <= MAX_CACHED_OCTETS
    return _rule_by_records if small else _rule_by_records.__wrapped__


# A device that authenticates again usually has the same certificate and the same records. Lookups in this cache are
# cheap: `Prepared` is compared by identity, and Python keeps the hash of the records' octets.
@lru_cache(maxsize=8192)
def _rule_by_records(
    prepared: Prepared,
    records: tuple[TlsaRecord, ...],
    malformed: tuple[str, ...],
    canonical_name: str | None,
    stale: bool,
    cui_key: bytes | None,
) -> Ruling | None:
    rule, leaf, name = prepared.rule, prepared.leaf, prepared.name
    selection = select(records, allow_pkix_cd=rule.allow_pkix_cd)
    usable = selection.usable
    evidence = _evidence(prepared, selection, records, malformed, canonical_name, stale)
    if not usable:
        return _refuse(
            prepared, Refused(ReasonCode.TLSA_UNUSABLE, f"none of the TLSA records of {name} is usable"), evidence
        )
    if rule.require.allows(Usage.DANE_EE):
        matched = first_match([record for record in usable if record.usage == Usage.DANE_EE], leaf.der, leaf.spki)
        if matched is not None:
            return _accept(prepared, matched, evidence, cui_key)
    if any(record.usage in PATH_USAGES and rule.require.allows(record.usage) for record in usable):
        return None
    return _refuse(prepared, _mismatch(prepared, usable), evidence)


def rule_by_path(
    prepared: Prepared,
    answer: Secure,
    anchors: Sequence[Anchor],
    now: datetime,
    cui_key: bytes | None = None,
    out_of_time: Callable[[], bool] | None = None,
) -> Ruling:
    """The ruling by records that require a certification path, for when `rule_by_answer` returns None.

    `anchors` are those for the name's identity domain; `now` must be aware. `out_of_time` says whether the time for the
    decision is over; None: only the amount of work is limited (see `dane_radius.core.work`).
    """
    rule = prepared.rule
    records, _, malformed, canonical_name, stale = answer
    selection = select(records, allow_pkix_cd=rule.allow_pkix_cd)
    usable = selection.usable
    evidence = _evidence(prepared, selection, records, malformed, canonical_name, stale)
    work = Work(out_of_time) if out_of_time else Work()
    failures: list[str] = []
    for usage in PATH_USAGES:
        of_usage = [record for record in usable if record.usage == usage]
        if not of_usage or not rule.require.allows(usage):
            continue
        try:
            found = match_by_path(usage, of_usage, prepared.leaf, prepared.name, anchors, now, work)
        except TooMuchWork as error:
            refusal = Refused(
                ReasonCode.CHAIN_TOO_COMPLEX, f"the certificates for {prepared.name} are refused: {error}"
            )
            return _refuse(prepared, refusal, evidence)
        if found.record is not None:
            return _accept(prepared, found.record, replace(evidence, chain=found.path), cui_key)
        failures += found.failures
    if failures:
        distinct = tuple(dict.fromkeys(failures))
        refusal = Refused(
            ReasonCode.CHAIN_INVALID, f"a TLSA record of {prepared.name} asks for a valid chain: {failures[0]}"
        )
        shown = _first(distinct[: _MAX_SHOWN + 1], len(distinct))
        return _refuse(prepared, refusal, replace(evidence, chain_failures=shown))
    return _refuse(prepared, _mismatch(prepared, usable), evidence)


def _evidence(
    prepared: Prepared,
    selection: Selection,
    records: tuple[TlsaRecord, ...],
    malformed: tuple[str, ...],
    canonical_name: str | None,
    stale: bool,
) -> Evidence:
    """The evidence of `prepared`, with the validated records added."""
    state = "secure, stale" if stale else "secure"
    return replace(
        prepared.evidence,
        dns=f"{state}, CNAME to {canonical_name}" if canonical_name else state,
        records=_first(tuple(record.short for record in records[: _MAX_SHOWN + 1]), len(records)),
        set_aside=(
            *((record.short, why) for record, why in selection.set_aside[:_MAX_SHOWN]),
            *(("(malformed)", why) for why in malformed[:_MAX_SHOWN]),
        ),
    )


def _mismatch(prepared: Prepared, usable: Sequence[TlsaRecord]) -> Refused:
    """The refusal if no usable record matches, and no path has failed."""
    rule, name = prepared.rule, prepared.name
    if not any(rule.require.allows(record.usage) for record in usable):
        return Refused(
            ReasonCode.POLICY_STRENGTH, f"rule {rule.name} requires {rule.require}; {name} publishes {usable[0].short}"
        )
    return Refused(
        ReasonCode.TLSA_MISMATCH, f"none of the {len(usable)} usable TLSA records of {name} matches this certificate"
    )


def _first(shown: tuple[str, ...], count: int) -> tuple[str, ...]:
    return shown if count <= _MAX_SHOWN else (*shown[:_MAX_SHOWN], f"… and {count - _MAX_SHOWN} more")


def _accept(prepared: Prepared, matched: TlsaRecord, evidence: Evidence, cui_key: bytes | None) -> Ruling:
    return Ruling(
        Verdict.ACCEPT,
        ReasonCode.DANE_MATCH,
        f"TLSA {matched.short} of {prepared.name} matches; rule {prepared.rule.name}",
        prepared.name,
        prepared.rule.name,
        attributes=_attributes(prepared, cui_key),
        terms=_terms(prepared),
        evidence=replace(evidence, matched=matched.short),
        device=prepared.device,
        expires=prepared.expires,
    )


def _refuse(prepared: Prepared, refusal: Refused, evidence: Evidence) -> Ruling:
    monitored = prepared.settings.is_monitored(prepared.rule)
    return refuse(
        refusal,
        prepared.settings,
        name=prepared.name,
        rule=prepared.rule,
        evidence=evidence,
        # In monitor mode, the device gets the rule's access in spite of the refusal.
        attributes=_attributes(prepared, None) if monitored else (),
        terms=_terms(prepared) if monitored else None,
        device=prepared.device,
        expires=prepared.expires,
    )


def _attributes(prepared: Prepared, cui_key: bytes | None) -> tuple[Attribute, ...]:
    mode = prepared.settings.cui
    wanted = mode is CuiMode.ALWAYS or (mode is CuiMode.WHEN_ASKED and prepared.request.wants_cui)
    cui = chargeable_user_identity(prepared.name, cui_key) if wanted else None
    return grant_attributes(prepared.grant, user_name=prepared.name, rule=prepared.rule.name, cui=cui)


def _terms(prepared: Prepared) -> SessionTerms:
    return session_terms(prepared.grant, prepared.settings, prepared.leaf, prepared.expires)


def chargeable_user_identity(name: str, key: bytes | None) -> str | None:
    """RFC 4372: an opaque, stable identifier of the device, for accounting between operators; None without a key."""
    if key is None:
        return None
    return hmac.new(key, name.encode("ascii"), hashlib.sha256).hexdigest()[:32]
