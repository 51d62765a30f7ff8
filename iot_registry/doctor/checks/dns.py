"""Checks of the zones: the primary, its signatures and keys, the records of devices, secondaries, and delegation."""

from __future__ import annotations

import datetime as dt

from health_report import Fact, NotTried
from iot_registry.doctor.facts import SoaFacts, ZoneFacts
from iot_registry.doctor.findings import Check, Finding, counted, error, info, ok, warning

# Knot and BIND, as `dns-config` configures them, sign again three days before the expiry.
_SIGNATURES_SOON = dt.timedelta(days=1)
_SERIALS = 1 << 32
# RFC 8914: validation failed.
_BOGUS_CODES = frozenset({6, 7, 8, 9, 10, 11, 12})
_NAME_RESOLVER = "name a validating resolver with --resolver"


def check_zones(zones: Fact[tuple[ZoneFacts, ...]], now: dt.datetime) -> list[Finding]:
    """All checks of all zones, one check after the other."""
    if isinstance(zones, NotTried):
        return [info(Check.DNS_PRIMARY, f"could not be tried: {zones.why}")]
    findings = [finding for zone in zones for finding in _check_zone(zone, now)]
    order = list(Check)
    return sorted(findings, key=lambda finding: order.index(finding.check))


def _check_zone(zone: ZoneFacts, now: dt.datetime) -> list[Finding]:
    """All checks of a zone. Without its primary, those that need no answer of it."""
    primary = zone.primary
    if primary.failure is not None or not primary.is_authoritative or primary.serial is None:
        found = primary.failure or "the answer is not authoritative: it does not serve the zone"
        fix = "start the name server, load the zone there, or correct [publication] server"
        broken = error(Check.DNS_PRIMARY, f"{zone.zone} at {primary.server}: {found}", "an authoritative answer", fix)
        return [broken, *_check_validation(zone)]
    return [
        ok(Check.DNS_PRIMARY, f"{primary.server} serves {zone.zone}, serial {primary.serial}"),
        *_check_signatures(zone, now),
        *_check_update(zone),
        *_check_validation(zone),
        *_check_delegation(zone),
        *_check_key_rollover(zone),
        *_check_records(zone),
        *_check_ttl(zone),
        *(_check_secondary(zone.zone, primary.serial, secondary) for secondary in zone.secondaries),
    ]


def _check_signatures(zone: ZoneFacts, now: dt.datetime) -> list[Finding]:
    if not zone.key_tags or not zone.primary.windows:
        found = f"{zone.zone} is not signed: no network accepts its records"
        fix = "sign the zone, as the configuration of `iot-registry dns-config` does"
        return [error(Check.DNS_SIGNED, found, "DNSKEY and RRSIG records", fix)]
    tags = ", ".join(map(str, zone.key_tags))
    findings = [ok(Check.DNS_SIGNED, f"{zone.zone} is signed, by key {tags}")]
    end = dt.datetime.fromtimestamp(min(stop for _, stop in zone.primary.windows), dt.UTC)
    fix = "let the name server sign again (`knotc zone-sign`), and see its log; a wrong clock has this effect, too"
    if end <= now:
        found = f"the signatures of {zone.zone} have expired, on {end:%Y-%m-%d %H:%M}Z: networks refuse every device"
        return [*findings, error(Check.DNS_SIGNATURES, found, "valid signatures", fix)]
    found = f"the signature of {zone.zone}'s SOA record expires on {end:%Y-%m-%d %H:%M}Z"
    if end - now < _SIGNATURES_SOON:
        return [*findings, warning(Check.DNS_SIGNATURES, found, "valid for a day", fix)]
    return [*findings, ok(Check.DNS_SIGNATURES, found)]


def _check_update(zone: ZoneFacts) -> list[Finding]:
    check = Check.DNS_UPDATE
    problem = zone.update_problem
    if isinstance(problem, NotTried):
        return [info(check, f"could not be tried: {problem.why}")]
    if problem is not None:
        fix = "give the name server the key of tsig_key_file, and permit it updates of TLSA records (`dns-config`)"
        return [error(check, problem, "the server accepts updates with the registry's key", fix)]
    return [ok(check, f"{zone.primary.server} accepts updates of {zone.zone} with the registry's key")]


def _check_validation(zone: ZoneFacts) -> list[Finding]:
    check = Check.DNS_VALIDATION
    reply = zone.validated
    if isinstance(reply, NotTried):
        return [info(check, f"could not be tried: {reply.why}", "", _NAME_RESOLVER)]
    if reply.failure is not None:
        return [warning(check, f"the resolver: {reply.failure}", "an answer", "start it, or name another --resolver")]
    reasons = "".join(f", EDE {code} {text}".rstrip() for code, text in reply.extended_errors)
    if reply.rcode == "SERVFAIL" and {code for code, _ in reply.extended_errors} & _BOGUS_CODES:
        found = f"{zone.zone} is bogus: {reply.rcode}{reasons}"
        fix = "put the DS records of the present keys into the parent zone, and let the name server sign the zone"
        return [error(check, found, "a validated answer", fix)]
    if reply.rcode != "NOERROR":
        found = f"the resolver does not find {zone.zone}: {reply.rcode}{reasons}"
        fix = "delegate the zone in its parent zone, to name servers that the resolver can reach"
        return [error(check, found, "a validated answer", fix)]
    if not reply.authentic:
        found = f"{zone.zone} is insecure{reasons}: no network accepts its records"
        fix = "put the zone's DS record into the parent zone, or give the resolver a trust anchor"
        return [error(check, found, "a validated answer", fix)]
    return [ok(check, f"{zone.zone} is secure{reasons}")]


def _check_delegation(zone: ZoneFacts) -> list[Finding]:
    check = Check.DNS_DELEGATION
    records = zone.ds
    if isinstance(records, NotTried):
        return [info(check, f"could not be tried: {records.why}", "", _NAME_RESOLVER)]
    fix = f"replace the DS records in the parent zone by those of `keymgr {zone.zone} ds`"
    if not records:
        reply = zone.validated
        if not isinstance(reply, NotTried) and reply.authentic:
            return [info(check, f"{zone.zone} has no DS record: the resolver has a trust anchor of its own", "", fix)]
        return [error(check, f"{zone.zone} has no DS record in its parent zone", "the DS record of a key", fix)]
    matching = [text for text, matches in records if matches]
    if not matching:
        found = f"no DS record of {zone.zone} is that of a key of the zone: networks refuse every device"
        return [error(check, found, "the DS record of a key", fix)]
    if len(matching) < len(records):
        found = f"DS records of {zone.zone} that match no key: {len(records) - len(matching)} of {len(records)}"
        return [info(check, found, "", "delete those of former keys from the parent zone")]
    return [ok(check, f"{counted(len(records), 'DS record')} of {zone.zone}, each of a key of the zone")]


def _check_key_rollover(zone: ZoneFacts) -> list[Finding]:
    check = Check.DNS_KEY_ROLLOVER
    if not zone.cds:
        return [ok(check, f"{zone.zone} has no CDS or CDNSKEY record: no new key waits for its DS record")]
    if zone.cds[0].split()[1] == "0":
        found = f"the CDS record of {zone.zone} asks for the deletion of its DS records (RFC 8078)"
        fix = "configure the signing of the zone again, before the parent zone deletes them"
        return [error(check, found, "a zone that stays signed", fix)]
    fix = (
        f"put the DS record ({zone.cds[0]}) into the parent zone, and tell the name server "
        f"(`knotc zone-ksk-submitted {zone.zone}`)"
    )
    if zone.cds_in_ds:
        return [info(check, f"the parent zone has the DS record that the CDS record of {zone.zone} names", "", fix)]
    if zone.cds_in_ds is None:
        return [info(check, f"{zone.zone} has CDS records, which the parent zone may lack", "", fix)]
    found = f"the parent zone lacks the DS record that the CDS record of {zone.zone} names"
    return [warning(check, found, "the DS record of the new key", fix)]


def _check_records(zone: ZoneFacts) -> list[Finding]:
    findings = []
    for served in zone.served:
        check = Check.DNS_RECORDS
        if served.failure is not None:
            fix = "correct that server, or remove it from [publication] confirm"
            findings.append(error(check, f"{served.server}: {served.failure}", "an answer", fix))
        elif served.wrong:
            name, found, expected = served.wrong[0]
            text = (
                f"{served.server}: other records than in the database for {len(served.wrong)} of {served.asked} names, "
                f"such as {name}: it has {_shown(found)}"
            )
            fix = "restart the server, which compares the whole zone with the database; see its log"
            findings.append(error(check, text, _shown(expected), fix))
        elif served.asked:
            text = f"{served.server}: as in the database, for {counted(served.asked, 'name')} of {zone.zone}"
            findings.append(ok(check, text))
        else:
            findings.append(info(check, f"{zone.zone} has no device whose records could be compared"))
    return findings


def _shown(records: frozenset[str]) -> str:
    return "; ".join(f"TLSA {record[:32]}..." for record in sorted(records)) or "no TLSA record"


def _check_ttl(zone: ZoneFacts) -> list[Finding]:
    check = Check.DNS_TTL
    if zone.ttl is None:
        return []
    found, configured = zone.ttl
    if found != configured:
        text = f"records of {zone.zone} have a TTL of {found} s: a revocation takes effect after that time"
        fix = "let the name server keep the TTL of updates, and restart the registry"
        return [warning(check, text, f"{configured} s", fix)]
    return [ok(check, f"records of {zone.zone} have a TTL of {found} s")]


def _check_secondary(zone: str, serial: int, secondary: SoaFacts) -> Finding:
    check = Check.DNS_SECONDARIES
    name = f"{secondary.server}, for {zone}"
    if secondary.failure is not None:
        fix = "start that server, or remove it from [publication] notify or confirm"
        return warning(check, f"{name}: {secondary.failure}", "an answer", fix)
    if not secondary.is_authoritative or secondary.serial is None:
        return info(check, f"{name}: not authoritative; a resolver, which takes no copy of the zone")
    # RFC 1982: serial numbers are compared as a circle.
    behind = (serial - secondary.serial) % _SERIALS
    if 0 < behind < _SERIALS // 2:
        fix = "permit it the transfer, and see the logs of both servers"
        found = f"{name}: serial {secondary.serial}, and the primary has {serial}"
        return warning(check, found, f"serial {serial}", fix)
    return ok(check, f"{name}: serial {secondary.serial}")
