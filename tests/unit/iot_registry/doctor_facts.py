"""Facts about a good registry, and deviations from them, for the tests of `iot-registry doctor`."""

from __future__ import annotations

import datetime as dt
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from health_report import Account, DnsReply, Node, NotTried, PathFacts, Severity
from iot_registry.doctor.checks import all_findings
from iot_registry.doctor.facts import (
    ApiKeyFacts,
    AuthorityFacts,
    Contents,
    DatabaseFacts,
    DomainFacts,
    Facts,
    FeedFacts,
    FileFacts,
    HealthFacts,
    OutboxFacts,
    SecretFile,
    ServedCertificate,
    ServedRecords,
    ServerFacts,
    SoaFacts,
    TokenFacts,
    UnitFacts,
    ZoneFacts,
)
from iot_registry.local.config import CaSection, PublicationSection, RegistrySection, Settings

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
STATE = "/var/lib/iot-registry"
UID = 990
OWNER = Account("iot-registry", UID, frozenset({990}))
ROOT = Node("/", 0, 0, stat.S_IFDIR | 0o755)
GONE = NotTried("gone")
FORBIDDEN = NotTried("/x: Permission denied")
RECORD = "3 1 1 " + "ab" * 32
SERVER = "192.0.2.1:53"


def path(text: str, uid: int, mode: int, *, folder: int = 0o755, kind: int = stat.S_IFREG) -> PathFacts:
    """A file or folder in a folder of root."""
    parent = Node(str(Path(text).parent), 0, 0, stat.S_IFDIR | folder)
    return PathFacts(text, (ROOT, parent, Node(text, uid, UID, kind | mode)))


def absent(text: str) -> PathFacts:
    return PathFacts(text, (ROOT,), "No such file or directory")


def windows(begin: dt.timedelta, end: dt.timedelta) -> tuple[tuple[int, int], ...]:
    """The validity of a signature, from now."""
    return ((int((NOW + begin).timestamp()), int((NOW + end).timestamp())),)


def authority(kind: str, days: int, domain: str | None = None) -> AuthorityFacts:
    has_key = kind != "root"
    return AuthorityFacts(kind, domain, "aa", NOW + days * DAY, True, False, 7, f"{STATE}/ca/aa.key", has_key, None)


def api_key(label: str = "laptop", **changes: Any) -> ApiKeyFacts:
    key = ApiKeyFacts("ab12", label, frozenset({"device:read", "device:write"}), None, NOW - DAY, NOW + 300 * DAY, None)
    return replace(key, **changes)


ZONE = ZoneFacts(
    zone="home.example",
    primary=SoaFacts(SERVER, None, True, 7, windows(-DAY, 6 * DAY)),
    key_tags=(4711,),
    update_problem=None,
    cds=(),
    cds_in_ds=False,
    validated=DnsReply("home.example", "SOA", 0.01, rcode="NOERROR", authentic=True),
    ds=(("4711 13 2 aa", True),),
    served=(ServedRecords(SERVER, 3, None, ()),),
    ttl=(60, 60),
    secondaries=(SoaFacts("192.0.2.2:53", None, True, 7),),
)
GOOD = Facts(
    package_version="1.0",
    now=NOW,
    title="/etc/iot-registry/iot-registry.toml",
    settings=Settings(
        registry=RegistrySection(
            state_dir=Path(STATE), public_url="https://registry.home.example", domain="home.example", listen="[::]:8443"
        ),
        ca=CaSection(passphrase_file=Path("/etc/iot-registry/ca.pass")),
        publication=PublicationSection(server=SERVER),
    ),
    files=FileFacts(
        state=path(STATE, UID, 0o700, kind=stat.S_IFDIR),
        owner=OWNER,
        foreign=(),
        open_keys=(),
        free_octets=10 << 30,
        free_inodes=100_000,
        passphrases=(SecretFile("ca.passphrase_file", path("/etc/iot-registry/ca.pass", UID, 0o600)),),
        tls=(
            SecretFile("tls.certificate", path("/etc/iot-registry/tls.pem", 0, 0o644)),
            SecretFile("tls.key", path("/etc/iot-registry/tls.key", 0, 0o640)),
        ),
        tsig=path(f"{STATE}/tsig.key", UID, 0o600),
        tsig_problem=None,
    ),
    database=DatabaseFacts("sqlite:///registry.db", "UTF-8", "0002", "0002", True, None),
    integrity=(),
    publisher="process 7",
    contents=Contents(
        domains=(DomainFacts("home.example", "home.example", 60),),
        outbox=OutboxFacts(0, 0.0, None),
        authorities=(authority("root", 7000), authority("issuing", 1800, "home.example"), authority("server", 7000)),
        api_keys=(api_key(),),
        tokens=TokenFacts(2, NOW + DAY, 0, ()),
        feed=FeedFacts(5, 9, NOW - 3 * DAY),
        rollovers=(),
        sample=(),
    ),
    server=ServerFacts(
        url="https://registry.home.example",
        health=HealthFacts(200, {"status": "pass", "database": "pass", "dns": "pass"}, NOW),
        certificate=ServedCertificate(
            ("registry.home.example",), NOW - DAY, NOW + 80 * DAY, "CN=server anchor", None, None
        ),
        version="1.0",
        followers=3,
    ),
    zones=(ZONE,),
    signer_problem=None,
    unit=UnitFacts("iot-registry.service", "loaded", "active", "enabled"),
)

Found = set[tuple[str, str]]
# What is saved cannot be seen.
ALWAYS: Found = {("backup.contents", "info")}
Make = Callable[[], Facts]
Case = tuple[str, Make, Found]


def whole(**changes: Any) -> Callable[[], Facts]:
    """The good facts with other ones."""
    return lambda: replace(GOOD, **changes)


def on(part: str, **changes: Any) -> Callable[[], Facts]:
    """The good facts with changes in one of them."""
    return lambda: replace(GOOD, **{part: replace(getattr(GOOD, part), **changes)})


def settings(section: str, **changes: Any) -> Callable[[], Facts]:
    """The good facts with other settings in one section."""

    def make() -> Facts:
        assert isinstance(GOOD.settings, Settings)
        changed = getattr(GOOD.settings, section).model_copy(update=changes)
        return replace(GOOD, settings=GOOD.settings.model_copy(update={section: changed}))

    return make


def certificate(**changes: Any) -> Callable[[], Facts]:
    assert isinstance(GOOD.server, ServerFacts)
    assert isinstance(GOOD.server.certificate, ServedCertificate)
    return on("server", certificate=replace(GOOD.server.certificate, **changes))


def zone(**changes: Any) -> Callable[[], Facts]:
    return whole(zones=(replace(ZONE, **changes),))


def authorities(*rows: AuthorityFacts) -> Callable[[], Facts]:
    return on("contents", authorities=rows)


def keys(*rows: ApiKeyFacts) -> Callable[[], Facts]:
    return on("contents", api_keys=rows)


def worst(facts: Facts) -> Found:
    """The worst finding of each check that is not `ok`, except what each registry has."""
    order = list(Severity)
    found: dict[str, Severity] = {}
    for finding in all_findings(facts):
        found[finding.check.value] = max(found.get(finding.check.value, Severity.OK), finding.severity, key=order.index)
    return {(check, severity.value) for check, severity in found.items() if severity is not Severity.OK} - ALWAYS


def examine(facts: Facts, expected: Found) -> None:
    """Judge facts, and see what is expected, each with its text and its fix."""
    assert worst(facts) == expected
    for finding in all_findings(facts):
        assert finding.found
        if finding.problem:
            assert finding.expected, finding
            assert finding.fix, finding
