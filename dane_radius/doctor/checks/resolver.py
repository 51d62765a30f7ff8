"""Checks of the resolver: whether it answers, whether it validates, what it costs, and whether the clock is right."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from dane_radius.doctor.facts import ColdName, ResolverFacts
from dane_radius.doctor.findings import Check, Finding, error, info, ok, warning
from health_report import DnsReply, Fact, NotTried

_UNBOUND = "use containers/unbound/unbound.conf, and run `unbound-control reload`"
_NAME_OTHERS = "name other names with --good-name and --bad-name, which this network can resolve"
# RFC 8914: validation failed, and an expired answer.
_BOGUS_CODES, _STALE_CODES = frozenset({6, 7, 8, 9, 10, 11, 12}), frozenset({3, 19})
# A resolver on this host takes less than a millisecond for what is in its cache.
_SLOW_ROUND_TRIP_SECONDS = 0.05
# Below this, a difference between clocks cannot be told from a zone that signs in advance.
_NEAR = timedelta(minutes=5)

# Settings of Unbound whose other values are unsafe or slow here: the safe values, what other values cause, and whether
# they admit revoked devices.
_UNBOUND_SETTINGS: dict[str, tuple[frozenset[str], str, bool]] = {
    "val-permissive-mode": (frozenset({"no"}), "it returns bogus answers", True),
    "val-sig-skew-min": (frozenset({"0"}), "it accepts signatures that have expired", False),
    "val-sig-skew-max": (frozenset({"0"}), "it accepts signatures that have expired", False),
    "aggressive-nsec": (frozenset({"no"}), "it hides new devices until an older denial expires", False),
    "ede": (frozenset({"yes"}), "it does not report why validation failed", False),
    "qname-minimisation": (frozenset({"no"}), "it asks a zone for each label of a device's name", False),
}


def check_resolver(facts: Fact[ResolverFacts], now: datetime) -> list[Finding]:
    """All checks of the resolver. Without an answer at all, the first one says so alone."""
    if isinstance(facts, NotTried):
        return [error(Check.RESOLVER_REACHABLE, facts.why, "an answer", "correct [resolver] in dane-radius.toml")]
    good = facts.good
    answers = facts.reach.failure is None or (not isinstance(good, NotTried) and good.failure is None)
    if not answers:
        found = f"{facts.title}: {facts.reach.failure}"
        fix = "start it (`systemctl start unbound`), or correct [resolver] in dane-radius.toml"
        return [error(Check.RESOLVER_REACHABLE, found, "an answer", fix)]
    return [
        ok(Check.RESOLVER_REACHABLE, f"{facts.title} answers"),
        *_check_round_trip(facts),
        *_check_good(facts),
        *_check_signatures(good),
        *check_clock(good, now),
        *_check_bad(facts),
        *_check_cold(facts),
        *_check_expired(facts),
        *_check_settings(facts.unbound),
    ]


def _check_round_trip(facts: ResolverFacts) -> list[Finding]:
    again = facts.again
    reply = facts.reach if isinstance(again, NotTried) or again.failure else again
    found = f"a repeated question takes {_milliseconds(reply.seconds)}"
    if reply.failure is None and reply.seconds > _SLOW_ROUND_TRIP_SECONDS:
        fix = "run the resolver on this host, and give it more processor time"
        return [warning(Check.RESOLVER_ROUND_TRIP, found, f"less than {_milliseconds(_SLOW_ROUND_TRIP_SECONDS)}", fix)]
    return [ok(Check.RESOLVER_ROUND_TRIP, found)]


def _check_good(facts: ResolverFacts) -> list[Finding]:
    check = Check.RESOLVER_GOOD_NAME
    good = facts.good
    if isinstance(good, NotTried):
        return [info(check, f"could not be tried: {good.why}", "", _NAME_OTHERS)]
    title = _question(good)
    untried = warning if facts.is_named_good else info
    if good.failure is not None or good.rcode in ("REFUSED", "NOTIMP", "NOTAUTH"):
        found = f"could not be tried: {title}: {good.failure or good.rcode}"
        return [untried(check, found, "a validated answer", _NAME_OTHERS)]
    codes = {code for code, _ in good.extended_errors}
    if good.rcode == "SERVFAIL":
        found = f"{title}: SERVFAIL{_reasons(good)}"
        if codes & _BOGUS_CODES:
            fix = "correct this host's clock and the resolver's trust anchor (`unbound-anchor`, `timedatectl`)"
            return [error(check, found, "a validated answer", fix)]
        return [untried(check, f"could not be tried: {found}", "a validated answer", _NAME_OTHERS)]
    if not good.authentic:
        found = f"{title}: {good.rcode} without the AD flag: the resolver does not validate"
        if facts.is_named_good:
            found += ", or the zone is not signed"
        fix = "enable the validator and its trust anchor (containers/unbound/unbound.conf); no device is admitted"
        return [error(check, found, "the AD flag", fix)]
    return [ok(check, f"{title}: {good.rcode}, validated, in {_milliseconds(good.seconds)}")]


def _check_signatures(good: Fact[DnsReply]) -> list[Finding]:
    if isinstance(good, NotTried) or not good.authentic:
        return []
    if good.windows:
        return [ok(Check.RESOLVER_SIGNATURES, f"answers have their signatures ({len(good.windows)} for {good.name})")]
    fix = "use a resolver that returns RRSIG records if the DO flag asks for them, such as Unbound"
    found = "answers lack signatures although the DO flag asks for them: SHA-1 signatures cannot be refused"
    return [warning(Check.RESOLVER_SIGNATURES, found, "RRSIG records", fix)]


def check_clock(good: Fact[DnsReply], now: datetime) -> list[Finding]:
    """This host's clock, against the validity of signatures that the resolver has accepted."""
    check = Check.RESOLVER_CLOCK
    if isinstance(good, NotTried) or not good.windows or not good.authentic:
        return [info(check, "could not be tried: there is no validated signature to compare with", "", _NAME_OTHERS)]
    # Each of them is valid, so the narrowest window is what the clock must meet.
    begin = datetime.fromtimestamp(max(start for start, _ in good.windows), now.tzinfo)
    end = datetime.fromtimestamp(min(stop for _, stop in good.windows), now.tzinfo)
    expected = f"a time from {begin:%Y-%m-%d %H:%M:%S}Z to {end:%Y-%m-%d %H:%M:%S}Z"
    fix = "set the clock: `timedatectl set-ntp true`"
    if now < begin:
        found = f"the clock is at least {_span(begin - now)} slow, by the signatures of {good.name}"
        return [error(check, found, expected, fix)]
    if now > end:
        found = f"the clock is at least {_span(now - end)} fast, by the signatures of {good.name}"
        return [error(check, found, expected, fix)]
    found = (
        f"the clock is {_span(now - begin)} after the inception of the signatures, {_span(end - now)} before their end"
    )
    if end - now < _NEAR:
        return [warning(check, found, f"at least {_span(_NEAR)} before their end", "compare the clock: `timedatectl`")]
    return [ok(check, found)]


def _check_bad(facts: ResolverFacts) -> list[Finding]:
    check = Check.RESOLVER_BAD_NAME
    bad = facts.bad
    if isinstance(bad, NotTried):
        return [info(check, f"could not be tried: {bad.why}", "", _NAME_OTHERS)]
    title = _question(bad)
    untried = warning if facts.is_named_bad else info
    if bad.rcode == "NOERROR":
        found = f"{title}: NOERROR, although its signatures are wrong: the resolver does not validate"
        if facts.is_named_bad:
            found = f"{title}: NOERROR: the resolver does not validate, or the name is not broken"
        return [error(check, found, "SERVFAIL", f"enable the validator: {_UNBOUND}")]
    codes = {code for code, _ in bad.extended_errors}
    unchecked = facts.bad_unchecked
    exists = not isinstance(unchecked, NotTried) and unchecked.rcode == "NOERROR"
    if bad.rcode != "SERVFAIL" or not (codes & _BOGUS_CODES or exists):
        found = f"could not be tried: {title}: {bad.failure or bad.rcode}{_reasons(bad)}"
        return [untried(check, found, "SERVFAIL because of its signatures", _NAME_OTHERS)]
    findings = [ok(check, f"{title}: refused{_reasons(bad)}")]
    if codes & _BOGUS_CODES:
        findings.append(ok(Check.RESOLVER_EXTENDED_ERRORS, f"the resolver says why validation failed{_reasons(bad)}"))
    else:
        found = "the resolver does not say why validation failed: the log has dns_unavailable instead of dns_bogus"
        findings.append(
            warning(Check.RESOLVER_EXTENDED_ERRORS, found, "an extended error", "set `ede: yes` in Unbound")
        )
    return findings


def _check_cold(facts: ResolverFacts) -> list[Finding]:
    check = Check.RESOLVER_COLD_NAME
    if isinstance(facts.cold, NotTried):
        return [info(check, f"could not be tried: {facts.cold.why}")]
    return [_check_cold_name(item, facts.timeout) for item in facts.cold]


def _check_cold_name(item: ColdName, timeout: float) -> Finding:
    check = Check.RESOLVER_COLD_NAME
    for reply in (item.first, item.second):
        if reply.failure is not None or reply.rcode == "SERVFAIL":
            found = f"a name below {item.domain}: {reply.failure or reply.rcode}{_reasons(reply)}"
            fix = f"ask the operator of {item.domain}, or check the route to its name servers (`dig +trace`)"
            return warning(check, found, "a validated denial", fix)
    found = (
        f"a new name below {item.domain} takes {_milliseconds(item.first.seconds)},"
        f" and a second one {_milliseconds(item.second.seconds)}"
    )
    if not item.second.authentic:
        fix = f"have {item.domain} signed, or correct its DS record: its devices are refused with dns_insecure"
        return warning(check, f"{found}; the denial is not validated", "a validated denial", fix)
    if item.second.seconds > timeout * 2 / 3:
        fix = "raise resolver.timeout, or set `qname-minimisation: no` in Unbound"
        return warning(check, found, f"less than two thirds of resolver.timeout ({timeout:g} s)", fix)
    return ok(check, found)


def _check_expired(facts: ResolverFacts) -> list[Finding]:
    check = Check.RESOLVER_EXPIRED_ANSWERS
    replies = [facts.good, facts.again, *([] if isinstance(facts.cold, NotTried) else _replies(facts.cold))]
    stale = [r for r in replies if not isinstance(r, NotTried) and {c for c, _ in r.extended_errors} & _STALE_CODES]
    if stale:
        found = f"{_question(stale[0])}: the resolver served an expired answer"
        return [error(check, found, "no expired answers", f"set `serve-expired: no`: {_UNBOUND}")]
    if isinstance(facts.unbound, NotTried):
        found = f"no answer was an expired one; the resolver's setting could not be read: {facts.unbound.why}"
        fix = "name Unbound's socket in trust-sync.toml (unbound.control_socket), or see that serve-expired is off"
        return [info(check, found, "serve-expired is off", fix)]
    value = facts.unbound.get("serve-expired")
    if value == "yes":
        found = "serve-expired is on: the resolver returns records that were deleted"
        return [error(check, found, "serve-expired: no", f"set `serve-expired: no`: {_UNBOUND}")]
    return [ok(check, f"serve-expired is {value or 'not set'}")]


def _replies(cold: tuple[ColdName, ...]) -> list[DnsReply]:
    return [reply for item in cold for reply in (item.first, item.second)]


def _check_settings(unbound: Fact[Mapping[str, str]]) -> list[Finding]:
    check = Check.RESOLVER_SETTINGS
    if isinstance(unbound, NotTried):
        return [info(check, f"the settings of the resolver could not be read: {unbound.why}")]
    findings = []
    for name, (safe, consequence, is_error) in _UNBOUND_SETTINGS.items():
        value = unbound.get(name)
        if value is not None and value not in safe:
            kind = error if is_error else warning
            best = min(safe)
            fix = f"set `{name}: {best}` in Unbound, and run `unbound-control reload`"
            findings.append(kind(check, f"{name} is {value}: {consequence}", f"{name}: {best}", fix))
    return findings or [ok(check, "Unbound has safe settings")]


def _question(reply: DnsReply) -> str:
    return f"{reply.name} {reply.rdtype}"


def _reasons(reply: DnsReply) -> str:
    said = "; ".join(f"EDE {code} {text}".strip() for code, text in reply.extended_errors)
    return f" ({said})" if said else ""


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _span(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"
