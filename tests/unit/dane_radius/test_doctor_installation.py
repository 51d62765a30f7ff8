"""The checks of FreeRADIUS, files, policy and the running module: one deviation from good facts at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dane_radius.doctor.facts import Facts, FileState, Link, ProcessFacts
from health_report import NotTried
from tests.unit.dane_radius.doctor_facts import (
    CLIENT,
    ESSENTIALS,
    FILE,
    FOLDER,
    GONE,
    NO_SECURITY,
    SOCKET,
    STATUS,
    Case,
    absent,
    at,
    client,
    installed,
    judge,
    old_version,
    on,
    path,
    radiusd,
    status,
    unprotected,
    whole,
)

CASES: list[Case] = [
    ("no program", whole(program=GONE), {("server.program", "error")}),
    ("too old", on("program", version=(3, 0, 26)), {("server.program", "error")}),
    ("version 4", on("program", version=(4, 0, 0)), {("server.program", "error")}),
    ("unknown version", on("program", version=()), {("server.program", "error")}),
    ("no module", on("program", missing_modules=("rlm_python3",)), {("server.modules", "error")}),
    ("refused", on("configuration_check", passed=False, output="x"), {("server.configuration", "error")}),
    ("not checked", whole(configuration_check=GONE), {("server.configuration", "warning")}),
    ("no radiusd.conf", whole(radiusd=GONE), {("server.threads", "warning")}),
    ("as many threads as waits", radiusd(pool={"max_servers": 896}), {("server.threads", "error")}),
    ("few spare threads", radiusd(pool={"max_servers": 897}), {("server.threads", "warning")}),
    ("no max_servers", radiusd(pool={}), {("server.threads", "warning")}),
    (
        "few requests",
        radiusd(numbers={"max_requests": 16_384, "cleanup_delay": 10}),
        {("server.requests", "warning")},
    ),
    ("too few requests", radiusd(numbers={"max_requests": 896, "cleanup_delay": 10}), {("server.requests", "error")}),
    ("no max_requests", radiusd(numbers={"cleanup_delay": 10}), {("server.requests", "warning")}),
    ("short delay", radiusd(numbers={"max_requests": 65_536, "cleanup_delay": 9}), {
        ("server.cleanup_delay", "warning"),
    }),
    ("auto", radiusd(security={"require_message_authenticator": "auto"}), NO_SECURITY),
    (
        "not required",
        radiusd(security={"require_message_authenticator": "no", "limit_proxy_state": "yes"}),
        {("server.message_authenticator", "error")},
    ),
    ("client exempt", client(require_message_authenticator="no"), {*NO_SECURITY, ("server.client", "warning")}),
    ("client and site exempt", unprotected(require_message_authenticator=None), {
        *NO_SECURITY, ("server.client", "error"), ("install.decision", "error"),
    }),
    ("loopback and site exempt", unprotected(require_message_authenticator=None, is_loopback=True), {
        *NO_SECURITY, ("server.client", "warning"), ("install.decision", "error"),
    }),
    ("3.2.1 with its own", old_version(CLIENT), set()),
    (
        "3.2.1 without",
        old_version(replace(CLIENT, require_message_authenticator=None)),
        {("server.client", "warning")},
    ),
    ("no client", radiusd(clients=()), {("server.client", "warning")}),
    ("sample secret", radiusd(clients=(replace(CLIENT, is_known_secret=True),)), {("server.client_secret", "error")}),
    (
        "sample secret on loopback",
        radiusd(clients=(replace(CLIENT, is_known_secret=True, is_loopback=True),)),
        {("server.client_secret", "warning")},
    ),
    ("short secret", radiusd(clients=(replace(CLIENT, secret_octets=15),)), {("server.client_secret", "warning")}),
    ("no manifest", whole(install=GONE), {("install.manifest", "error")}),
    ("empty manifest", on("install", files=()), {("install.manifest", "error")}),
    ("missing file", installed(FileState.MISSING, is_current=None), {("install.file", "error")}),
    ("unreadable file", installed(FileState.UNREADABLE, is_current=None), {("install.file", "warning")}),
    ("changed file", installed(FileState.CHANGED, is_current=False), {("install.file", "warning")}),
    ("changed ports", installed(FileState.CHANGED, is_current=True), set()),
    ("old file", installed(FileState.UNCHANGED, is_current=False), {("install.file", "warning")}),
    (
        "site decides itself",
        on("install", essentials=(ESSENTIALS[0], replace(ESSENTIALS[1], is_present=True))),
        {("install.decision", "error")},
    ),
    ("not enabled", on("install", links=(Link("/l", "../t", None),)), {("install.link", "error")}),
    ("other site enabled", on("install", links=(Link("/l", "../t", "../u"),)), {("install.link", "warning")}),
    ("broken configuration", whole(config=NotTried("x.toml: y")), {("install.configuration", "error")}),
    ("no user", whole(account=NotTried("user 'x' does not exist")), {("files.settings", "error")}),
    ("settings of root", at("settings", path("/etc/x", 0, 0, FILE | 0o640)), {("files.settings", "error")}),
    ("policy in a closed folder", at("policy", path("/p/x", 0, 103, FILE | 0o644, folder=0o700)), {
        ("files.policy", "error"),
    }),
    ("policy for all to write", at("policy", path("/p/x", 0, 103, FILE | 0o666)), {("files.policy", "error")}),
    ("no session folder", at("session_directory", absent("/run/s")), {("files.session_directory", "error")}),
    (
        "session folder of another",
        at("session_directory", path("/run/s", 0, 103, FOLDER | 0o700)),
        {("files.session_directory", "error")},
    ),
    (
        "open session folder",
        at("session_directory", path("/run/s", 101, 103, FOLDER | 0o750)),
        {("files.session_directory", "error")},
    ),
    (
        "session folder is a file",
        at("session_directory", path("/run/s", 101, 103, FILE | 0o700)),
        {("files.session_directory", "error")},
    ),
    (
        "session folder out of reach",
        at("session_directory", path("/run/s", 101, 103, FOLDER | 0o700, folder=0o700)),
        {("files.session_directory", "error")},
    ),
    (
        "session folder on a disk",
        at("session_directory", path("/run/s", 101, 103, FOLDER | 0o700)),
        {("files.session_directory", "warning")},
    ),
    ("open socket", at("control_socket", path("/s", 101, 103, SOCKET | 0o666)), {("files.control_socket", "error")}),
    ("no socket", at("control_socket", path("/s", 101, 103, FILE | 0o660)), {("files.control_socket", "error")}),
    ("weak CUI key", whole(cui_key="cui.key: 4 octets"), {("files.cui_key", "error")}),
    ("CUI key of root", at("cui_key", path("/k", 0, 0, FILE | 0o600)), {("files.cui_key", "error")}),
    ("closed anchors", at("anchor_folder", path("/ca", 0, 0, FOLDER | 0o700)), {("files.anchors", "error")}),
    ("no anchor folder", at("anchor_folder", absent("/ca")), {("files.anchors", "error")}),
    ("no index yet", at("anchor_index", absent("/index.jsonl")), set()),
    ("closed index", at("anchor_index", path("/i", 200, 200, FILE | 0o600)), {("files.anchors", "error")}),
    ("log of root", at("log", path("/l", 0, 0, FILE | 0o640)), {("files.log", "error")}),
    ("no log yet", at("log", absent("/l")), set()),
    ("key for all", at("server_key", path("/k", 101, 103, FILE | 0o644)), {("files.server_key", "error")}),
    ("key of root", at("server_key", path("/k", 0, 0, FILE | 0o600)), {("files.server_key", "error")}),
    ("stopped", whole(running=NotTried("no such socket")), {("running.server", "error")}),
    ("other version runs", status(version="0.9"), {("running.version", "warning")}),
    ("policy problems", status(policy={**STATUS["policy"], "problems": ["x"]}), {("running.policy", "error")}),
    ("other policy runs", status(policy={**STATUS["policy"], "digest": "fff"}), {("running.policy", "warning")}),
    ("anchor error", status(anchors={"count": 0, "error": "torn"}), {("running.anchors", "error")}),
    (
        "slow domain",
        status(lookups={**STATUS["lookups"], "slow_domains": [{"domain": "dead.example"}]}),
        {("running.slow_domains", "warning")},
    ),
    ("many wait", status(lookups={**STATUS["lookups"], "waiting": 672}), {("running.waiting", "warning")}),
    ("fewer may wait", status(lookups={**STATUS["lookups"], "may_wait": 100}), {("running.waiting", "warning")}),
    (
        "few descriptors",
        on("running", process=ProcessFacts(99, 1024 + 4 + 895, 40, 12)),
        {("running.descriptors", "error")},
    ),
    ("enough descriptors", on("running", process=ProcessFacts(99, 1024 + 4 + 896, 40, 12)), set()),
    ("no limit", on("running", process=ProcessFacts(99, None, 40, 12)), set()),
    ("no free descriptors", on("running", process=ProcessFacts(99, 4096, 4000, 12)), {
        ("running.descriptors", "warning"),
    }),
    ("all threads run", on("running", process=ProcessFacts(99, 4096, 40, 1020)), {("running.threads", "warning")}),
    ("process unseen", on("running", process=GONE), set()),
    ("invalid policy", whole(policy=NotTried("rules.0: x")), {("policy.file", "error")}),
    ("no rule", on("policy", rules=0), {("policy.rules", "warning")}),
    ("monitor", on("policy", is_monitor=True), {("policy.rules", "warning")}),
]  # fmt: skip


@pytest.mark.parametrize(("make", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_one_deviation(make: Callable[[], Facts], expected: set[tuple[str, str]]) -> None:
    judge(make, expected)
