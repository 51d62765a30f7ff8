"""Checks of `iot-registry doctor` that concern the HTTPS server and the zones: each with good facts, and deviations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from health_report import DnsReply
from iot_registry.doctor.checks import all_findings
from iot_registry.doctor.facts import HealthFacts, ServedRecords, SoaFacts
from iot_registry.doctor.findings import Check
from tests.unit.iot_registry.doctor_facts import (
    DAY,
    GONE,
    GOOD,
    NOW,
    RECORD,
    SERVER,
    ZONE,
    Case,
    Found,
    Make,
    certificate,
    examine,
    on,
    whole,
    windows,
    worst,
    zone,
)

NAME = "a1.camera._device.home.example"
# Records that must not be there, and records that are missing.
LEFT = (NAME, frozenset({RECORD}), frozenset[str]())
LOST = (NAME, frozenset[str](), frozenset({RECORD}))


def reply(rcode: str, *errors: tuple[int, str], authentic: bool = False) -> DnsReply:
    return DnsReply("home.example", "SOA", 0.01, rcode=rcode, authentic=authentic, extended_errors=errors)


def served(*wrong: tuple[str, frozenset[str], frozenset[str]]) -> ServedRecords:
    return ServedRecords(SERVER, 3, None, wrong)


HTTPS: list[Case] = [
    ("dead", whole(server=GONE), {("server.health", "error")}),
    ("refused", on("server", health=GONE), {("server.health", "error")}),
    ("no database", on("server", health=HealthFacts(503, {"status": "fail"}, NOW)), {("server.health", "error")}),
    ("another service", on("server", health=HealthFacts(200, {}, NOW)), {("server.health", "error")}),
    ("hostile", on("server", health=HealthFacts(200, {"status": "\x1b[2J"}, NOW)), {("server.health", "error")}),
    (
        "cannot publish",
        on("server", health=HealthFacts(200, {"status": "warn", "dns": "fail"}, NOW)),
        {("server.health", "warning")},
    ),
    ("other version", on("server", version="0.9"), {("server.version", "warning")}),
    ("unknown version", on("server", version=GONE), {("server.version", "info")}),
    ("other name", certificate(name_problem="Hostname mismatch"), {("server.name", "error")}),
    (
        "incomplete chain",
        certificate(chain_problem="no issuer", name_problem=GONE),
        {("server.chain", "error"), ("server.name", "info")},
    ),
    ("chain not tried", certificate(chain_problem=GONE), {("server.chain", "info")}),
    ("ends soon", certificate(not_after=NOW + 13 * DAY), {("server.expiry", "warning")}),
    ("ended", certificate(not_after=NOW), {("server.expiry", "error")}),
    ("begins later", certificate(not_before=NOW + DAY), {("server.expiry", "error")}),
]
SILENT = zone(primary=SoaFacts(SERVER, "no answer"), validated=reply("SERVFAIL", (9, "no key")))
ZONES: list[Case] = [
    ("unknown zones", whole(zones=GONE), {("dns.primary", "info"), ("clock.signatures", "info")}),
    ("silent", SILENT, {("dns.primary", "error"), ("dns.validation", "error"), ("clock.signatures", "info")}),
    (
        "not served",
        zone(primary=SoaFacts(SERVER, None, False, 7)),
        {("dns.primary", "error"), ("clock.signatures", "info")},
    ),
    ("no keys", zone(key_tags=()), {("dns.signed", "error")}),
    (
        "no signatures",
        zone(primary=SoaFacts(SERVER, None, True, 7)),
        {("dns.signed", "error"), ("clock.signatures", "info")},
    ),
    ("expired", zone(primary=SoaFacts(SERVER, None, True, 7, windows(-9 * DAY, -DAY))), {("dns.signatures", "error")}),
    (
        "expires soon",
        zone(primary=SoaFacts(SERVER, None, True, 7, windows(-DAY, DAY / 2))),
        {("dns.signatures", "warning")},
    ),
    ("other TSIG key", zone(update_problem="BADSIG"), {("dns.update", "error")}),
    ("no TSIG key", zone(update_problem=GONE), {("dns.update", "info")}),
    ("no resolver", zone(validated=GONE), {("dns.validation", "info")}),
    ("dead resolver", zone(validated=DnsReply("x", "SOA", 0, "no answer")), {("dns.validation", "warning")}),
    ("bogus", zone(validated=reply("SERVFAIL", (6, "bogus"))), {("dns.validation", "error")}),
    ("unreachable", zone(validated=reply("SERVFAIL")), {("dns.validation", "error")}),
    ("not delegated", zone(validated=reply("NXDOMAIN", authentic=True)), {("dns.validation", "error")}),
    ("insecure", zone(validated=reply("NOERROR")), {("dns.validation", "error")}),
    ("DS unknown", zone(ds=GONE), {("dns.delegation", "info")}),
    ("trust anchor", zone(ds=()), {("dns.delegation", "info")}),
    ("no DS", zone(ds=(), validated=reply("NOERROR")), {("dns.delegation", "error"), ("dns.validation", "error")}),
    ("other DS", zone(ds=(("1 13 2 bb", False),)), {("dns.delegation", "error")}),
    ("former DS, too", zone(ds=(("1 13 2 bb", False), ("2 13 2 aa", True))), {("dns.delegation", "info")}),
    ("waiting key", zone(cds=("1 13 2 cc",)), {("dns.key_rollover", "warning")}),
    ("submitted key", zone(cds=("1 13 2 cc",), cds_in_ds=True), {("dns.key_rollover", "info")}),
    ("CDS alone", zone(cds=("1 13 2 cc",), cds_in_ds=None), {("dns.key_rollover", "info")}),
    ("deletion", zone(cds=("0 0 0 00",)), {("dns.key_rollover", "error")}),
    ("still there", zone(served=(served(LEFT),)), {("dns.records", "error")}),
    ("not there", zone(served=(served(LOST),)), {("dns.records", "error")}),
    (
        "one is silent",
        zone(served=(*ZONE.served, ServedRecords("192.0.2.9:53", 3, "no answer", ()))),
        {("dns.records", "error")},
    ),
    ("no devices", zone(served=(ServedRecords(SERVER, 0, None, ()),)), {("dns.records", "info")}),
    ("other TTL", zone(ttl=(3600, 60)), {("dns.ttl", "warning")}),
    ("behind", zone(secondaries=(SoaFacts("s", None, True, 6),)), {("dns.secondaries", "warning")}),
    ("silent secondary", zone(secondaries=(SoaFacts("s", "no answer"),)), {("dns.secondaries", "warning")}),
    ("resolver", zone(secondaries=(SoaFacts("s", None, False, 6),)), {("dns.secondaries", "info")}),
]
CASES = [*HTTPS, *ZONES]


@pytest.mark.parametrize(("make", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_deviation_is_found(make: Make, expected: Found) -> None:
    examine(make(), expected)


@pytest.mark.parametrize(
    ("primary", "secondary", "is_behind"),
    # RFC 1982: 7 comes after 2**32 - 1.
    [(7, 7, False), (7, 8, False), (7, 6, True), (7, 2**32 - 1, True), (2**32 - 1, 7, False)],
)
def test_serial_numbers_are_a_circle(primary: int, secondary: int, is_behind: bool) -> None:
    found = zone(primary=replace(ZONE.primary, serial=primary), secondaries=(SoaFacts("s", None, True, secondary),))
    assert worst(found()) == ({("dns.secondaries", "warning")} if is_behind else set())


def test_findings_of_several_zones_stand_by_check() -> None:
    other = replace(ZONE, zone="smith.example", primary=replace(ZONE.primary, failure="no answer"))
    findings = all_findings(replace(GOOD, zones=(ZONE, other)))
    found = [finding.check for finding in findings if finding.check.area == "dns"]
    assert found == sorted(found, key=list(Check).index)
    assert found.count(Check.DNS_PRIMARY) == 2
