"""Checks of `iot-registry doctor` that concern the registry's machine: each with good facts, and with deviations."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest

from health_report import Node, NotTried
from iot_registry.doctor.facts import (
    FeedFacts,
    HealthFacts,
    OutboxFacts,
    RolloverFacts,
    SecretFile,
    SoaFacts,
    TokenFacts,
    UnitFacts,
)
from tests.unit.iot_registry.doctor_facts import (
    DAY,
    FORBIDDEN,
    GONE,
    GOOD,
    NOW,
    SERVER,
    STATE,
    UID,
    Case,
    Found,
    Make,
    absent,
    api_key,
    authorities,
    authority,
    examine,
    keys,
    on,
    path,
    settings,
    whole,
    windows,
    zone,
)

NAME = "a1.camera._device.home.example"
ROOT, ISSUING, TLS = authority("root", 7000), authority("issuing", 1800, "home.example"), authority("server", 7000)
PASS = "/etc/iot-registry/ca.pass"


def secret(setting: str, where: str, mode: int, *, uid: int = UID, folder: int = 0o755) -> SecretFile:
    return SecretFile(setting, path(where, uid, mode, folder=folder))


SURROUNDINGS: list[Case] = [
    (
        "bad file",
        whole(settings=NotTried("x.toml: not TOML")),
        {("configuration.file", "error"), ("database.reachable", "info")},
    ),
    ("no public_url", settings("registry", public_url=None), {("configuration.public_url", "warning")}),
    ("other domain", settings("registry", domain="x.example"), {("configuration.domain", "error")}),
    (
        "slow clock",
        zone(primary=SoaFacts(SERVER, None, True, 7, windows(DAY, 7 * DAY))),
        {("clock.signatures", "error")},
    ),
    ("other clock", on("server", health=HealthFacts(200, {"status": "pass"}, NOW + DAY)), {("clock.http", "warning")}),
    ("no date", on("server", health=HealthFacts(200, {"status": "pass"}, None)), {("clock.http", "info")}),
    ("no signer", whole(signer_problem=NotTried("kind is none")), {("signer.control", "info")}),
    ("dead signer", whole(signer_problem="knotc: code 1"), {("signer.control", "warning")}),
    ("no systemd", whole(unit=GONE), {("service.unit", "info")}),
    ("no unit", whole(unit=UnitFacts("x", "not-found", "inactive", "")), {("service.unit", "info")}),
    ("failed unit", whole(unit=UnitFacts("x", "loaded", "failed", "enabled")), {("service.unit", "error")}),
    ("not by systemd", whole(unit=UnitFacts("x", "loaded", "inactive", "enabled")), {("service.unit", "warning")}),
    ("disabled unit", whole(unit=UnitFacts("x", "loaded", "active", "disabled")), {("service.unit", "warning")}),
    (
        "inactive, and no answer",
        lambda: replace(GOOD, unit=UnitFacts("x", "loaded", "inactive", "enabled"), server=GONE),
        {("service.unit", "error"), ("server.health", "error")},
    ),
]
FILES: list[Case] = [
    ("no state directory", whole(files=GONE), {("files.state_directory", "error")}),
    ("hidden state directory", whole(files=FORBIDDEN), {("files.state_directory", "warning")}),
    ("missing", on("files", state=absent(STATE)), {("files.state_directory", "error")}),
    ("a file", on("files", state=path(STATE, UID, 0o700)), {("files.state_directory", "error")}),
    (
        "open to all",
        on("files", state=path(STATE, UID, 0o705, kind=stat.S_IFDIR)),
        {("files.state_directory", "error")},
    ),
    (
        "open to a group",
        on("files", state=path(STATE, UID, 0o770, kind=stat.S_IFDIR)),
        {("files.state_directory", "error")},
    ),
    (
        "a file of root",
        on("files", foreign=(Node(f"{STATE}/registry.db", 0, 0, 0o100600),)),
        {("files.owners", "error")},
    ),
    ("unknown owner", on("files", owner=GONE), {("files.owners", "error")}),
    ("little space", on("files", free_octets=100 << 20), {("files.space", "warning")}),
    ("no space", on("files", free_octets=10 << 20), {("files.space", "error")}),
    ("few inodes", on("files", free_inodes=10), {("files.space", "warning")}),
    ("no inodes", on("files", free_inodes=0), {("files.space", "error")}),
    (
        "open key",
        on("files", open_keys=(Node(f"{STATE}/ca/aa.key", UID, UID, 0o100640),)),
        {("files.ca_keys", "error")},
    ),
    ("no passphrase", on("files", passphrases=()), {("files.passphrases", "info")}),
    ("lost passphrase", on("files", passphrases=(SecretFile("x", absent(PASS)),)), {("files.passphrases", "error")}),
    ("open passphrase", on("files", passphrases=(secret("x", PASS, 0o604),)), {("files.passphrases", "error")}),
    (
        "root's passphrase",
        on("files", passphrases=(secret("x", PASS, 0o600, uid=0),)),
        {("files.passphrases", "error")},
    ),
    (
        "closed folder",
        on("files", passphrases=(secret("x", PASS, 0o600, folder=0o700),)),
        {("files.passphrases", "error")},
    ),
    (
        "passphrase beside the keys",
        on("files", passphrases=(secret("x", f"{STATE}/ca.pass", 0o600),)),
        {("files.passphrases", "warning")},
    ),
    ("open TSIG key", on("files", tsig=path("/t", UID, 0o644)), {("files.tsig_key", "error")}),
    ("no TSIG key", on("files", tsig_problem=GONE), {("files.tsig_key", "error")}),
    ("hidden TSIG key", on("files", tsig_problem=FORBIDDEN), {("files.tsig_key", "warning")}),
    ("no such TSIG key", on("files", tsig_problem="found no TSIG key"), {("files.tsig_key", "error")}),
    ("TSIG key of root", on("files", tsig=path("/t", 0, 0o600)), {("files.tsig_key", "error")}),
    ("open TLS key", on("files", tls=(secret("tls.key", "/k", 0o644),)), {("files.tls", "error")}),
    ("lost TLS file", on("files", tls=(SecretFile("tls.certificate", absent("/c")),)), {("files.tls", "error")}),
]
DATABASE: list[Case] = [
    ("dead", whole(database=GONE), {("database.reachable", "error")}),
    ("hidden", whole(database=FORBIDDEN), {("database.reachable", "warning")}),
    ("other encoding", on("database", encoding="LATIN1"), {("database.encoding", "error")}),
    ("empty", on("database", revision=None, known=False), {("database.schema", "error")}),
    ("older", on("database", revision="0001"), {("database.schema", "warning")}),
    ("newer", on("database", revision="0099", known=False), {("database.schema", "error")}),
    ("damaged", whole(integrity=("row 7 missing from index",)), {("database.integrity", "error")}),
    ("not checked", whole(integrity=GONE), {("database.integrity", "info")}),
    ("hidden from this user", whole(integrity=FORBIDDEN), {("database.integrity", "warning")}),
    ("no checksums", on("database", checksums=False, encoding="UTF8"), {("database.integrity", "info")}),
    ("nobody publishes", whole(publisher=None), {("database.publisher", "error")}),
    ("unknown publisher", whole(publisher=GONE), {("database.publisher", "info")}),
    ("late", on("contents", outbox=OutboxFacts(2, 61, "timed out")), {("outbox.waiting", "warning")}),
    ("too late", on("contents", outbox=OutboxFacts(2, 901, None)), {("outbox.waiting", "error")}),
    ("old events", on("contents", feed=FeedFacts(9, 9, NOW - 31 * DAY)), {("feed.retention", "warning")}),
    ("no followers", on("server", followers=0), {("feed.followers", "info")}),
    (
        "no contents",
        whole(contents=FORBIDDEN),
        {("outbox.waiting", "info"), ("ca.issuing", "info")},
    ),
]
AUTHORITIES: list[Case] = [
    ("no CA", authorities(), {("ca.root", "error"), ("ca.issuing", "error"), ("ca.server", "error")}),
    ("old root", authorities(authority("root", 700), ISSUING, TLS), {("ca.root", "warning")}),
    ("expired root", authorities(authority("root", 0), ISSUING, TLS), {("ca.root", "error")}),
    ("root's key here", authorities(replace(ROOT, has_key=True), ISSUING, TLS), {("ca.root_key", "info")}),
    (
        "another root key",
        authorities(replace(ROOT, has_key=True, key_problem="not the key"), ISSUING, TLS),
        {("ca.root_key", "warning")},
    ),
    (
        "hidden root key",
        authorities(replace(ROOT, has_key=None, key_problem=FORBIDDEN), ISSUING, TLS),
        {("ca.root_key", "warning")},
    ),
    ("due", authorities(ROOT, replace(ISSUING, is_due=True), TLS), {("ca.issuing", "warning")}),
    ("expired", authorities(ROOT, authority("issuing", -1, "home.example"), TLS), {("ca.issuing", "error")}),
    ("superseded only", authorities(ROOT, replace(ISSUING, is_issuing=False), TLS), {("ca.issuing", "error")}),
    ("no domain", on("contents", domains=()), {("ca.issuing", "error"), ("configuration.domain", "error")}),
    ("old server CA", authorities(ROOT, ISSUING, authority("server", 300)), {("ca.server", "warning")}),
    ("expired server CA", authorities(ROOT, ISSUING, authority("server", 0)), {("ca.server", "error")}),
    ("lost key", authorities(ROOT, replace(ISSUING, key_problem="no private key here"), TLS), {("ca.keys", "error")}),
    ("hidden key", authorities(ROOT, replace(ISSUING, key_problem=FORBIDDEN), TLS), {("ca.keys", "warning")}),
    ("key not read", authorities(ROOT, replace(ISSUING, key_problem=GONE), TLS), {("ca.keys", "info")}),
    (
        "rollover",
        on("contents", rollovers=(RolloverFacts("home.example", "withdraw", NOW),)),
        {("ca.rollover", "error")},
    ),
]
CREDENTIALS: list[Case] = [
    ("expires soon", keys(api_key(expires_at=NOW + 3 * DAY)), {("keys.expiry", "warning")}),
    ("expired", keys(api_key(expires_at=NOW)), {("keys.expiry", "info")}),
    ("unused", keys(api_key(scopes=frozenset({"device:write"}), created_at=NOW - 91 * DAY)), {("keys.unused", "info")}),
    ("everlasting", keys(api_key(scopes=frozenset({"admin"}), expires_at=None)), {("keys.administrators", "info")}),
    ("lost tokens", on("contents", tokens=TokenFacts(0, None, 9, (NAME,))), {("tokens.expired", "warning")}),
]
CASES = [*SURROUNDINGS, *FILES, *DATABASE, *AUTHORITIES, *CREDENTIALS]


@pytest.mark.parametrize(("make", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_deviation_is_found(make: Make, expected: Found) -> None:
    examine(make(), expected)
