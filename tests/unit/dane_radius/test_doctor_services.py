"""The checks of resolver, anchors, certificate, trust-sync and accounting: one deviation at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from dane_radius.core.answers import Absence, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from dane_radius.core.tlsa import TlsaRecord
from dane_radius.doctor.facts import ColdName, Facts, ProcessFacts
from dane_radius.server.config import check_config
from health_report import NotTried
from tests.unit.dane_radius.doctor_facts import (
    BAD,
    CHAIN,
    CLIENT,
    DAY,
    DENIED,
    GONE,
    GOOD,
    MATCHING,
    NOW,
    OTHER,
    REPLY,
    SILENT,
    SOCKET,
    Case,
    absent,
    at,
    judge,
    on,
    path,
    radiusd,
    sync_status,
    unbound,
    whole,
    window,
)

CASES: list[Case] = [
    ("no resolver facts", whole(resolver=GONE), {("resolver.reachable", "error")}),
    ("dead resolver", on("resolver", reach=SILENT, good=SILENT), {("resolver.reachable", "error")}),
    ("silent about itself", on("resolver", reach=SILENT), set()),
    ("slow resolver", on("resolver", again=replace(REPLY, seconds=0.06)), {("resolver.round_trip", "warning")}),
    ("no AD", on("resolver", good=replace(REPLY, authentic=False)), {("resolver.good_name", "error")}),
    (
        "good name is bogus",
        on("resolver", good=replace(BAD, name="good.example")),
        {("resolver.good_name", "error")},
    ),
    (
        "good name unreachable",
        on("resolver", good=replace(REPLY, rcode="SERVFAIL", authentic=False, windows=())),
        {("resolver.good_name", "warning")},
    ),
    ("good name refused", on("resolver", good=replace(REPLY, rcode="REFUSED", windows=())), {
        ("resolver.good_name", "warning"), ("resolver.signatures", "warning"),
    }),
    (
        "default good name refused",
        on("resolver", is_named_good=False, good=replace(REPLY, rcode="REFUSED", authentic=False, windows=())),
        set(),
    ),
    ("no signatures", on("resolver", good=replace(REPLY, windows=())), {("resolver.signatures", "warning")}),
    ("slow clock", on("resolver", good=window(DAY, 2 * DAY)), {("resolver.clock", "error")}),
    ("fast clock", on("resolver", good=window(-2 * DAY, -DAY)), {("resolver.clock", "error")}),
    ("clock at the end", on("resolver", good=window(-DAY, timedelta(minutes=4))), {("resolver.clock", "warning")}),
    ("clock at the inception", on("resolver", good=window(timedelta(0), DAY)), set()),
    ("bad name accepted", on("resolver", bad=replace(BAD, rcode="NOERROR")), {("resolver.bad_name", "error")}),
    ("bad name missing", on("resolver", bad=replace(BAD, rcode="NXDOMAIN")), {("resolver.bad_name", "warning")}),
    (
        "bad name unreachable",
        on("resolver", bad=replace(BAD, extended_errors=()), bad_unchecked=BAD),
        {("resolver.bad_name", "warning")},
    ),
    ("default bad name unreachable", on("resolver", is_named_bad=False, bad=SILENT), set()),
    ("no extended errors", on("resolver", bad=replace(BAD, extended_errors=())), {
        ("resolver.extended_errors", "warning"),
    }),
    ("silent zone", on("resolver", cold=(ColdName("iot.example", SILENT, SILENT),)), {
        ("resolver.cold_name", "warning"),
    }),
    (
        "unsigned zone",
        on("resolver", cold=(ColdName("iot.example", DENIED, replace(DENIED, authentic=False)),)),
        {("resolver.cold_name", "warning")},
    ),
    (
        "far zone",
        on("resolver", cold=(ColdName("iot.example", DENIED, replace(DENIED, seconds=1.01)),)),
        {("resolver.cold_name", "warning")},
    ),
    ("no policy domain", on("resolver", cold=GONE), set()),
    ("expired answer", on("resolver", again=replace(REPLY, extended_errors=((3, ""),))), {
        ("resolver.expired_answers", "error"),
    }),
    ("serve-expired", unbound("serve-expired", "yes"), {("resolver.expired_answers", "error")}),
    ("permissive", unbound("val-permissive-mode", "yes"), {("resolver.settings", "error")}),
    ("skew", unbound("val-sig-skew-min", "3600"), {("resolver.settings", "warning")}),
    ("aggressive", unbound("aggressive-nsec", "yes"), {("resolver.settings", "warning")}),
    ("unknown settings", on("resolver", unbound=GONE), set()),
    ("no anchors folder", whole(anchors=GONE), {("anchors.index", "error")}),
    ("no anchor", on("anchors", in_folder=0), {("anchors.count", "warning")}),
    ("broken index", on("anchors", index_error="line 3"), {("anchors.index", "error")}),
    ("lost certificates", on("anchors", lost=("ca/x.pem",)), {("anchors.index", "warning")}),
    ("expired anchor", on("anchors", earliest=("CN=CA", NOW)), {("anchors.expiry", "warning")}),
    ("anchor expires soon", on("anchors", earliest=("CN=CA", NOW + 6 * DAY)), {("anchors.expiry", "warning")}),
    ("no certificate", whole(certificate=GONE), {("certificate.file", "error")}),
    ("wrong order", on("certificate", chain=(CHAIN[0], replace(CHAIN[1], signs_previous=False))), {
        ("certificate.chain", "error"),
    }),
    ("self-signed", on("certificate", chain=(replace(CHAIN[0], is_self_signed=True),)), {
        ("certificate.chain", "warning"),
    }),
    ("expired", on("certificate", chain=(replace(CHAIN[0], not_after=NOW), CHAIN[1])), {
        ("certificate.expiry", "error"),
    }),
    ("issuer expired", on("certificate", chain=(CHAIN[0], replace(CHAIN[1], not_after=NOW - DAY))), {
        ("certificate.expiry", "error"),
    }),
    ("expires soon", on("certificate", chain=(replace(CHAIN[0], not_after=NOW + 13 * DAY), CHAIN[1])), {
        ("certificate.expiry", "warning"),
    }),
    ("not valid yet", on("certificate", not_before=NOW + DAY), {("certificate.expiry", "error")}),
    ("other name", on("certificate", names=("other.example.net",)), {("certificate.name", "error")}),
    ("no name", on("certificate", names=(), wanted_name=None), {("certificate.name", "warning")}),
    ("other key", on("certificate", key_matches=False), {("certificate.key", "error")}),
    ("key unread", on("certificate", key_matches=GONE), set()),
    ("for clients", on("certificate", allows_server=False), {("certificate.purpose", "error")}),
    ("other record", on("certificate", record=Secure((OTHER,), 300)), {("certificate.record", "error")}),
    ("one of two records", on("certificate", record=Secure((OTHER, MATCHING), 300)), set()),
    (
        "matching record of usage 1",
        on("certificate", record=Secure((TlsaRecord(1, 1, 1, MATCHING.data),), 300)),
        {("certificate.record", "error")},
    ),
    ("no record", on("certificate", record=SecureAbsent(Absence.NODATA, 60)), set()),
    ("insecure record", on("certificate", record=Insecure("no AD")), set()),
    ("bogus record", on("certificate", record=Bogus(6, "")), {("certificate.record", "error")}),
    ("unavailable record", on("certificate", record=Unavailable("silent")), set()),
    (
        "no hints",
        whole(config=check_config({"cache": {"max_waiting": 896}, "standing": "/var/lib/standing"}, "x")),
        set(),
    ),
    ("no hint socket", at("hint_socket", absent("/run/ts.sock")), {("sync.hint_socket", "error")}),
    ("hint socket of root", at("hint_socket", path("/run/ts.sock", 0, 0, SOCKET | 0o660)), {
        ("sync.hint_socket", "error"),
    }),
    ("other hint socket", on("sync", socket="/run/other.sock"), {("sync.hint_socket", "error")}),
    ("user not listed", on("sync", users=("root",)), {("sync.hint_socket", "error")}),
    ("hint socket without a server", whole(hint_accepts=NotTried("Connection refused")), {
        ("sync.hint_socket", "error"),
    }),
    ("no trust-sync", whole(sync=None, accounting=None, sql_modules=()), {("standing.feed", "warning")}),
    ("broken trust-sync.toml", whole(sync=GONE), {("sync.configuration", "error")}),
    ("stopped trust-sync", on("sync", status=GONE), {("sync.worker", "error")}),
    ("state not saved", sync_status(state_error="disk full"), {("sync.state", "error")}),
    (
        "registry never reached",
        sync_status(registries={"home": {"last_success_seconds": None, "error": "refused", "failures": 3}}),
        {("sync.registry", "error")},
    ),
    (
        "registry failed once",
        sync_status(registries={"home": {"last_success_seconds": 9, "error": "refused", "failures": 1}}),
        {("sync.registry", "warning")},
    ),
    (
        "registry silent",
        sync_status(registries={"home": {"last_success_seconds": 601, "error": None}}),
        {("sync.registry", "error")},
    ),
    ("sessions unread", sync_status(sessions={"error": "locked"}), {("sync.sessions", "error")}),
    ("sessions pending", sync_status(sessions={"pending_count": 2}), {("sync.sessions", "warning")}),
    ("no sql", whole(sql_modules=()), {("accounting.module", "error")}),
    ("two sql", whole(sql_modules=("dane_sql", "sql")), {("accounting.module", "warning")}),
    ("accounting unread", whole(accounting=GONE), {("accounting.table", "warning")}),
    ("no log folder", whole(paths={**GOOD.paths, "log": absent("/l/x"), "log_folder": absent("/l")}), {
        ("files.log", "error"),
    }),
    # The last values that are good.
    ("oldest version", on("program", version=(3, 2, 0)), set()),
    ("short enough round trip", on("resolver", again=replace(REPLY, seconds=0.05)), set()),
    ("near enough zone", on("resolver", cold=(ColdName("iot.example", DENIED, replace(DENIED, seconds=1.0)),)), set()),
    ("clock five minutes before the end", on("resolver", good=window(-DAY, timedelta(minutes=5))), set()),
    ("clock at the end itself", on("resolver", good=window(-DAY, timedelta(0))), {("resolver.clock", "warning")}),
    ("long enough secret", radiusd(clients=(replace(CLIENT, secret_octets=16),)), set()),
    ("anchor for a week", on("anchors", earliest=("CN=CA", NOW + 7 * DAY)), set()),
    ("certificate for two weeks", on("certificate", chain=(replace(CHAIN[0], not_after=NOW + 14 * DAY),)), set()),
    ("certificate from now on", on("certificate", not_before=NOW), set()),
    (
        "registry late enough",
        sync_status(registries={"home": {"last_success_seconds": 600, "error": None}}),
        set(),
    ),
    ("nine tenths of the descriptors", on("running", process=ProcessFacts(99, 4000, 3600, 12)), set()),
    ("nine tenths of the threads", on("running", process=ProcessFacts(99, 4096, 40, 921)), set()),
    ("no table", on("accounting", has_table=False), {("accounting.table", "error")}),
    ("no database", on("accounting", has_table=GONE), {("accounting.table", "error")}),
]  # fmt: skip


@pytest.mark.parametrize(("make", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_one_deviation(make: Callable[[], Facts], expected: set[tuple[str, str]]) -> None:
    judge(make, expected)
