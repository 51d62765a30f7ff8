"""The findings of `iot-registry doctor` as a whole: their ids, links and texts, and that each check is tested."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from health_report import Node, Severity
from iot_registry.doctor.checks import all_findings
from iot_registry.doctor.facts import FeedFacts, OutboxFacts
from iot_registry.doctor.findings import GUIDE, Check
from tests.unit.iot_registry.doctor_facts import (
    DAY,
    GOOD,
    NOW,
    OWNER,
    STATE,
    Make,
    authorities,
    on,
    settings,
    worst,
    zone,
)
from tests.unit.iot_registry.test_doctor_machine import CASES as MACHINE
from tests.unit.iot_registry.test_doctor_machine import ISSUING, ROOT, TLS
from tests.unit.iot_registry.test_doctor_network import CASES as NETWORK
from tests.unit.iot_registry.test_doctor_network import LEFT, reply, served


@pytest.mark.parametrize(
    "make",
    [
        lambda: GOOD,
        on("contents", feed=FeedFacts(0, 0, None)),
        on("contents", outbox=OutboxFacts(1, 59, None)),
        on("database", checksums=True, encoding="UTF8"),
        on("files", free_inodes=None),
    ],
    ids=["SQLite", "an empty feed", "a change that is on its way", "PostgreSQL", "a file system without inodes"],
)
def test_good_facts_are_no_problem(make: Make) -> None:
    assert worst(make()) == set()


def test_each_check_was_seen_to_deviate() -> None:
    reached = {id_ for _, _, expected in (*MACHINE, *NETWORK) for id_, _ in expected}
    # These only tell.
    assert {check.value for check in Check} - reached == {"tokens.open", "backup.contents"}


def test_each_check_was_seen_to_pass() -> None:
    good = {finding.check for finding in all_findings(GOOD) if finding.severity is Severity.OK}
    assert set(Check) - good == {Check.BACKUP_CONTENTS}


def test_links_lead_to_headings_of_the_guide() -> None:
    guide = Path(__file__).parents[3] / GUIDE
    headings = re.findall(r"^#+ (.+)$", guide.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for check in Check:
        assert check.link.partition("#")[2] in anchors, check
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", check.value)


@pytest.mark.parametrize(
    ("check", "make", "said"),
    [
        (Check.FILES_OWNERS, on("files", foreign=(Node(f"{STATE}/x", 0, 0, 0o100600),)), f"chown -R {OWNER.name}"),
        (Check.CA_ISSUING, authorities(ROOT, replace(ISSUING, is_due=True), TLS), "ca renew home.example"),
        (Check.OUTBOX_WAITING, on("contents", outbox=OutboxFacts(2, 61, "timed out")), "last error: timed out"),
        (Check.DNS_VALIDATION, zone(validated=reply("SERVFAIL", (9, "no DNSKEY"))), "EDE 9 no DNSKEY"),
        (Check.DNS_RECORDS, zone(served=(served(LEFT),)), LEFT[0]),
        (Check.DNS_KEY_ROLLOVER, zone(cds=("1 13 2 cc",)), "zone-ksk-submitted home.example"),
        (Check.BACKUP_CONTENTS, settings("registry", database_url="postgresql://registry@db/x"), "pg_dump"),
        (Check.BACKUP_CONTENTS, lambda: GOOD, "sqlite3"),
        (Check.BACKUP_CONTENTS, lambda: GOOD, "a second copy of the root's key"),
        (Check.BACKUP_CONTENTS, lambda: GOOD, "elsewhere /etc/iot-registry/ca.pass"),
        (Check.CONFIGURATION_PUBLIC_URL, settings("registry", public_url=None), "localhost"),
    ],
)
def test_what_a_finding_says(check: Check, make: Make, said: str) -> None:
    texts = [f"{finding.found} {finding.fix}" for finding in all_findings(make()) if finding.check is check]
    assert any(said in text for text in texts), texts


def test_times_are_those_of_the_facts() -> None:
    later = replace(GOOD, now=NOW + 8000 * DAY)
    assert {("ca.root", "error"), ("ca.issuing", "error"), ("server.expiry", "error")} <= worst(later)
