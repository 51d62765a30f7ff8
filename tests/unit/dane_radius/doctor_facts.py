"""Facts about a good installation, and deviations from them, for the tests of `dane-radius doctor`."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dane_radius.core.answers import Secure
from dane_radius.core.tlsa import TlsaRecord, association
from dane_radius.doctor.checks import all_findings
from dane_radius.doctor.facts import (
    AccountingFacts,
    AnchorFacts,
    CertificateFacts,
    ChainLink,
    ColdName,
    ConfigurationCheck,
    Essential,
    Facts,
    FileState,
    InstalledFile,
    InstallFacts,
    Link,
    PolicyFacts,
    ProcessFacts,
    Program,
    RadiusClient,
    RadiusdFacts,
    ResolverFacts,
    RunningFacts,
    SyncFacts,
)
from dane_radius.server.config import check_config
from health_report import Account, DnsReply, Node, NotTried, PathFacts

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ROOT = Node("/", 0, 0, stat.S_IFDIR | 0o755)
SERVER = Account("freerad", 101, frozenset({103, 110}))
DER, SPKI = b"certificate", b"key"
MATCHING = TlsaRecord(3, 1, 1, association(DER, SPKI, 1, 1))
OTHER = TlsaRecord(3, 1, 1, bytes(32))


def path(text: str, uid: int, gid: int, mode: int, *, filesystem: str = "ext4", folder: int = 0o755) -> PathFacts:
    """A file or folder in a folder of root."""
    parent = Node(str(Path(text).parent), 0, 0, stat.S_IFDIR | folder)
    return PathFacts(text, (ROOT, parent, Node(text, uid, gid, mode)), filesystem=filesystem)


def absent(text: str) -> PathFacts:
    return PathFacts(text, (ROOT,), missing="No such file or directory")


FILE, FOLDER, SOCKET = stat.S_IFREG, stat.S_IFDIR, stat.S_IFSOCK
EPOCH = int(NOW.timestamp())
REPLY = DnsReply("good.example", "TLSA", 0.001, None, "NOERROR", True, (), ((EPOCH - 86_400, EPOCH + 86_400),))
BAD = DnsReply("bad.example", "TLSA", 0.01, None, "SERVFAIL", False, ((7, "signature expired"),))
DENIED = DnsReply("x.iot.example", "TLSA", 0.01, None, "NXDOMAIN", True)
SILENT = DnsReply("good.example", "TLSA", 0.0, "no answer within 4.5 s")
SAFE = MappingProxyType(
    {
        "port": "53",
        "serve-expired": "no",
        "val-permissive-mode": "no",
        "val-sig-skew-min": "0",
        "val-sig-skew-max": "0",
        "aggressive-nsec": "no",
        "ede": "yes",
        "qname-minimisation": "no",
    }
)
CLIENT = RadiusClient("hall", "clients.conf", False, "yes", None, False, 32)
STATUS: dict[str, Any] = {
    "version": "1.0",
    "started": "2026-03-01T00:00:00+00:00",
    "policy": {"file": "/etc/dane-radius/policy.yaml", "digest": "abc", "rules": 2, "problems": []},
    "anchors": {"count": 3, "error": None},
    "lookups": {"waiting": 0, "may_wait": 896, "slow_domains": []},
    "standing": {"available": True, "error": None, "sequence": 7, "devices": {"quarantined": 2}},
}
SYNC_STATUS: dict[str, Any] = {
    "version": "1.0",
    "started": "2026-03-01T00:00:00+00:00",
    "state_error": None,
    "anchor_count": 3,
    "registries": {"home": {"seq": 7, "last_success_seconds": 3, "error": None, "failures": 0}},
    "sessions": {"watched_names": 5, "error": None, "pending_count": 0},
    "operations": {
        "last_success_seconds": 3, "seq": 7, "error": None, "failures": 0, "kept": 0, "waiting_for_accounting": 0,
        "journal": "/var/lib/standing/journal", "reports": {"decisions": None, "sessions": None}, "decisions_lost": 0,
    },
}  # fmt: skip
SETTINGS: dict[str, Any] = {
    "cache": {"max_waiting": 896},
    "hint": {"socket": "/run/ts.sock"},
    "cui_key_file": "/etc/dane-radius/cui.key",
    "standing": "/var/lib/standing",
}
CONFIG = check_config(SETTINGS, "x")
ESSENTIALS = (
    Essential("sites-available/dane", "dane_eap_only", "forged requests", True),
    Essential("sites-available/dane-check", "Auth-Type := Accept", "no decision", False, is_wanted=False),
)
CHAIN = (
    ChainLink("CN=radius", "CN=issuing", NOW + 60 * DAY, False, None),
    ChainLink("CN=issuing", "CN=root", NOW + 600 * DAY, False, True),
)

GOOD = Facts(
    package_version="1.0",
    now=NOW,
    config_file="/etc/dane-radius/dane-radius.toml",
    config=CONFIG,
    account=SERVER,
    install=InstallFacts(
        (
            InstalledFile("/raddb/sites-available/dane", FileState.UNCHANGED, True, False),
            InstalledFile("/etc/dane-radius/policy.yaml", FileState.CHANGED, False, True),
        ),
        (Link("/raddb/sites-enabled/dane", "../sites-available/dane", "../sites-available/dane"),),
        ESSENTIALS,
    ),
    program=Program("/usr/sbin/freeradius", (3, 2, 7), "/usr/lib/freeradius", ()),
    configuration_check=ConfigurationCheck("freeradius -C", True, "", "freerad"),
    radiusd=RadiusdFacts(
        "/raddb/radiusd.conf",
        {"max_requests": 65_536, "cleanup_delay": 10},
        {"max_servers": 1024},
        {"require_message_authenticator": "yes", "limit_proxy_state": "yes"},
        (CLIENT,),
    ),
    paths={
        "settings": path("/etc/dane-radius/dane-radius.toml", 0, 103, FILE | 0o640),
        "policy": path("/etc/dane-radius/policy.yaml", 0, 103, FILE | 0o640),
        "session_directory": path("/run/freeradius/s", 101, 103, FOLDER | 0o700, filesystem="tmpfs"),
        "control_socket": path("/run/freeradius/dane.sock", 101, 103, SOCKET | 0o660),
        "cui_key": path("/etc/dane-radius/cui.key", 0, 103, FILE | 0o640),
        "anchors": path("/var/lib/anchors", 200, 103, FOLDER | 0o755),
        "anchor_folder": path("/var/lib/anchors/ca", 200, 103, FOLDER | 0o755),
        "anchor_index": path("/var/lib/anchors/index.jsonl", 200, 103, FILE | 0o644),
        "log": path("/var/log/freeradius/dane.log", 101, 103, FILE | 0o640),
        "log_folder": path("/var/log/freeradius", 101, 103, FOLDER | 0o750),
        "server_key": path("/etc/ssl/private/server.key", 0, 110, FILE | 0o640),
        "hint_socket": path("/run/ts.sock", 200, 103, SOCKET | 0o660),
    },
    cui_key=None,
    running=RunningFacts("/run/freeradius/dane.sock", STATUS, ProcessFacts(99, 16_384, 40, 12)),
    policy=PolicyFacts("/etc/dane-radius/policy.yaml", "abcdef", 2, False, ("iot.example",)),
    resolver=ResolverFacts(
        "resolver 127.0.0.1 port 53",
        1.5,
        True,
        True,
        replace(REPLY, rcode="REFUSED"),
        REPLY,
        REPLY,
        BAD,
        replace(BAD, rcode="NOERROR"),
        (ColdName("iot.example", DENIED, DENIED),),
        SAFE,
    ),
    anchors=AnchorFacts("/var/lib/anchors", 3, 3, ("CN=CA", NOW + 300 * DAY), None, ()),
    certificate=CertificateFacts(
        "/etc/ssl/server.pem",
        "/etc/ssl/private/server.key",
        CHAIN,
        ("radius.example.net",),
        NOW - 30 * DAY,
        DER,
        SPKI,
        True,
        True,
        "radius.example.net",
        "radius.example.net",
        Secure((MATCHING,), 300),
    ),
    sync=SyncFacts("/etc/ts.toml", "/run/ts.sock", ("freerad",), "sqlite:////db", SYNC_STATUS),
    accounting=AccountingFacts("/db", True),
    sql_modules=("dane_sql",),
)


def problems(facts: Facts) -> set[tuple[str, str]]:
    return {(f.check.value, f.severity.value) for f in all_findings(facts) if f.problem}


def on(field: str, **changes: Any) -> Callable[[], Facts]:
    """GOOD with some fields of one fact changed."""
    return lambda: replace(GOOD, **{field: replace(getattr(GOOD, field), **changes)})


def whole(**changes: Any) -> Callable[[], Facts]:
    """GOOD with facts replaced as a whole."""
    return lambda: replace(GOOD, **changes)


def at(key: str, facts: PathFacts) -> Callable[[], Facts]:
    """GOOD with another path."""
    return lambda: replace(GOOD, paths={**GOOD.paths, key: facts})


def radiusd(**changes: Any) -> Callable[[], Facts]:
    return on("radiusd", **changes)


def client(**changes: Any) -> Callable[[], Facts]:
    return on("radiusd", clients=(replace(CLIENT, **changes),), security={})


def status(**changes: Any) -> Callable[[], Facts]:
    return on("running", status={**STATUS, **changes})


def sync_status(**changes: Any) -> Callable[[], Facts]:
    return on("sync", status={**SYNC_STATUS, **changes})


def installed(state: FileState, *, is_current: bool | None) -> Callable[[], Facts]:
    return on("install", files=(InstalledFile("/raddb/sites-available/dane", state, is_current, False),))


def unbound(name: str, text: str) -> Callable[[], Facts]:
    return on("resolver", unbound={**SAFE, name: text})


def old_version(*clients: RadiusClient) -> Callable[[], Facts]:
    assert isinstance(GOOD.program, Program)
    assert isinstance(GOOD.radiusd, RadiusdFacts)
    program, settings = replace(GOOD.program, version=(3, 2, 1)), replace(GOOD.radiusd, security={}, clients=clients)
    return whole(program=program, radiusd=settings)


def unprotected(**changes: Any) -> Callable[[], Facts]:
    """A client without Message-Authenticators, and a site that does not require them."""

    def make() -> Facts:
        essentials = (replace(ESSENTIALS[0], is_present=False), ESSENTIALS[1])
        assert isinstance(GOOD.install, InstallFacts)
        return replace(client(**changes)(), install=replace(GOOD.install, essentials=essentials))

    return make


def window(start: timedelta, end: timedelta) -> DnsReply:
    return replace(REPLY, windows=((int((NOW + start).timestamp()), int((NOW + end).timestamp())),))


GONE = NotTried("permission denied")
NO_SECURITY = {("server.message_authenticator", "warning"), ("server.proxy_state", "warning")}

# What a deviation is called, how it is made, and the problems that it must lead to.
Case = tuple[str, Callable[[], Facts], set[tuple[str, str]]]


def judge(make: Callable[[], Facts], expected: set[tuple[str, str]]) -> None:
    """Assert the problems of a deviation, and that each says what to do."""
    facts = make()
    assert problems(facts) == expected
    for finding in all_findings(facts):
        if finding.problem:
            assert finding.expected, finding
            assert finding.fix, finding
            assert "\n" not in finding.fix
