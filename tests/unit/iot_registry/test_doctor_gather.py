"""How `iot-registry doctor` gathers facts, where no daemon is needed."""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import sqlite3
from pathlib import Path

import dns.dnssec
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from dns.dnssectypes import Algorithm, DSDigest
from sqlalchemy import delete, update

from health_report import CannotTry, NotTried
from iot_registry.doctor.checks import all_findings
from iot_registry.doctor.facts import Contents, ExpectedRecords, Subject
from iot_registry.doctor.gather import contents, database, files, gather, server, surroundings, zone_questions
from iot_registry.local.config import RegistrySection, Settings, SignerSection
from iot_registry.service import api_keys, devices
from iot_registry.service.access import Scope
from iot_registry.service.registration import Registration
from iot_registry.service.schemas import DeviceCreate
from iot_registry.store.models import AuthorityKind, Device, DeviceStatus, OutboxEntry, Token
from tests.unit.iot_registry.conftest import WHO, Bench
from web_service.local import Endpoint, utc_now

RECORD = "3 1 1 " + "ab" * 32
AT = Endpoint("192.0.2.1", 53)


def settings_of(folder: Path) -> Settings:
    return Settings(registry=RegistrySection(state_dir=folder))


@pytest.fixture
def closed(bench: Bench) -> Bench:
    """A registry whose database nobody has open."""
    bench.database.close()
    return bench


def files_of(bench: Bench) -> list[str]:
    return sorted(path.name for path in bench.settings.state_dir.iterdir())


def test_reading_makes_no_file_and_cannot_write(closed: Bench) -> None:
    before = files_of(closed)
    found = database.read_database(closed.settings)
    assert (found.encoding, found.revision, found.known, found.checksums) == ("UTF-8", found.latest, True, None)
    assert database.check_integrity(closed.settings) == ()
    assert contents.read_contents(closed.settings).domains[0].name == "home.example"
    with database.session_of(closed.settings) as session, pytest.raises(Exception, match="readonly database"):
        session.execute(delete(Token))
    assert files_of(closed) == before


def test_changes_of_a_running_writer_are_seen(bench: Bench) -> None:
    with bench.database.write() as session:
        Registration(bench.settings, "").create(session, WHO, DeviceCreate(label="d", type="t"), utc_now())
        # Not checkpointed: the change is in the file of the WAL only.
    assert (bench.settings.state_dir / "registry.db-wal").stat().st_size > 0
    assert contents.read_contents(bench.settings).tokens.open == 1


def test_a_missing_and_an_empty_database(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        database.read_database(settings_of(tmp_path))
    assert not (tmp_path / "registry.db").exists()
    sqlite3.connect(tmp_path / "registry.db").close()
    assert database.read_database(settings_of(tmp_path)).revision is None
    with pytest.raises(CannotTry, match="no tables"):
        contents.read_contents(settings_of(tmp_path))


def test_a_damaged_database(closed: Bench) -> None:
    path = closed.settings.state_dir / "registry.db"
    octets = bytearray(path.read_bytes())
    octets[4096:12288] = os.urandom(8192)
    path.write_bytes(octets)
    assert database.check_integrity(closed.settings)
    path.write_bytes(b"no database at all" * 100)
    assert database.check_integrity(closed.settings) == ("file is not a database",)


def test_the_publisher_is_the_process_that_holds_the_lock(closed: Bench) -> None:
    assert database.find_publisher(closed.settings) is None
    with (closed.settings.state_dir / "publisher.lock").open("w") as file:
        assert database.find_publisher(closed.settings) is None
        fcntl.flock(file, fcntl.LOCK_EX)
        assert database.find_publisher(closed.settings) == f"process {os.getpid()}"
    assert database.find_publisher(closed.settings) is None


def test_the_sample_leaves_out_what_is_pending(bench: Bench) -> None:
    now = utc_now()
    with bench.database.write() as session:
        for label in ("a", "b", "c"):
            Registration(bench.settings, "").create(session, WHO, DeviceCreate(label=label, type="t"), now)
        session.execute(update(Device).values(status=DeviceStatus.REVOKED))
        session.execute(delete(OutboxEntry))
    assert {item.name for item in contents.read_contents(bench.settings).sample} == {
        f"{label}.t._device.home.example" for label in ("a", "b", "c")
    }
    name = "a.t._device.home.example"
    assert contents.expected_records(bench.settings, [name])[name].records == frozenset()
    with bench.database.write() as session:
        devices.restore(session, WHO, name, now)
    assert contents.expected_records(bench.settings, [name]) == {}
    assert name not in {item.name for item in contents.read_contents(bench.settings).sample}


def test_devices_whose_token_has_expired(bench: Bench) -> None:
    early = utc_now() - dt.timedelta(days=10)
    with bench.database.write() as session:
        Registration(bench.settings, "").create(session, WHO, DeviceCreate(label="late", type="t"), early)
        Registration(bench.settings, "").create(session, WHO, DeviceCreate(label="early", type="t"), utc_now())
    found = contents.read_contents(bench.settings).tokens
    assert (found.open, found.stranded_count, found.stranded) == (1, 1, ("late.t._device.home.example",))


def test_when_a_key_made_its_last_change(bench: Bench) -> None:
    with bench.database.write() as session:
        used, secret = api_keys.issue_key(session, WHO, "used", frozenset({Scope.DEVICE_WRITE}), utc_now())
        api_keys.issue_key(session, WHO, "unused", frozenset({Scope.DEVICE_WRITE}), utc_now())
        who = api_keys.authenticate(session, secret, utc_now())
        Registration(bench.settings, "").create(session, who, DeviceCreate(label="d", type="t"), utc_now())
        identifier = used.id
    found = {key.id: key.last_change for key in contents.read_contents(bench.settings).api_keys}
    assert found.pop(identifier) is not None
    assert list(found.values()) == [None]


def test_keys_of_cas(bench: Bench) -> None:
    def problems() -> dict[str, tuple[bool | None, object]]:
        found = contents.read_contents(bench.settings).authorities
        return {item.kind: (item.has_key, item.key_problem) for item in found}

    assert problems() == {kind.value: (True, None) for kind in AuthorityKind}
    paths = {item.kind: Path(item.key) for item in contents.read_contents(bench.settings).authorities}
    paths["root"].unlink()
    paths["issuing"].unlink()
    paths["server"].write_text("no key")
    found = problems()
    assert found["root"] == (False, None)
    assert found["issuing"][0] is False
    assert "does not exist" in str(found["issuing"][1])
    assert "not a PKCS #8 key" in str(found["server"][1])


def test_files_of_the_state_directory(closed: Bench) -> None:
    (closed.settings.state_dir / "tsig.key").write_text("no key")
    (closed.settings.state_dir / "tsig.key").chmod(0o600)
    key = next(iter((closed.settings.state_dir / "ca").iterdir()))
    key.chmod(0o640)
    found = files.read_files(closed.settings)
    assert found.foreign == ()
    assert [node.path for node in found.open_keys] == [str(key)]
    assert found.free_octets > 0
    assert "found no TSIG key" in str(found.tsig_problem)
    with pytest.raises(CannotTry, match="No such file"):
        files.read_files(settings_of(closed.settings.state_dir / "missing"))


def test_a_link_to_itself_in_the_state_directory_ends(closed: Bench) -> None:
    (closed.settings.state_dir / "loop").symlink_to(closed.settings.state_dir)
    assert files.read_files(closed.settings).foreign == ()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is searched for programs, alone."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_unit_of_systemd(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "_SYSTEMD", tools / "missing")
    with pytest.raises(CannotTry, match="does not run"):
        surroundings.read_unit("x.service")
    monkeypatch.setattr(surroundings, "_SYSTEMD", tools)
    program(tools, "systemctl", 'echo "ActiveState=active"; echo "LoadState=loaded"; echo "UnitFileState=disabled"')
    unit = surroundings.read_unit("x.service")
    assert (unit.name, unit.load, unit.active, unit.enabled) == ("x.service", "loaded", "active", "disabled")
    program(tools, "systemctl", "echo no bus >&2; exit 1")
    with pytest.raises(CannotTry, match="no bus"):
        surroundings.read_unit("x.service")


def test_the_signers_tools(tools: Path) -> None:
    settings = Settings(signer=SignerSection(kind="knot", conf=tools / "knot.conf"))
    assert surroundings.signer_problem(settings) == "knotc is not installed"
    program(tools, "knotc", "exit 0")
    assert surroundings.signer_problem(settings) == "keymgr is not installed"
    program(tools, "keymgr", "exit 0")
    assert surroundings.signer_problem(settings) is None
    program(tools, "knotc", "echo connection refused >&2; exit 1")
    assert "connection refused" in str(surroundings.signer_problem(settings))


@pytest.mark.parametrize("text", [b"", b"[]", b"1", b"{", b"[" * 100_000, b"\xff", b'"x"'])
def test_an_answer_that_is_no_object(text: bytes) -> None:
    assert server._object(text) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sun, 01 Mar 2026 12:00:00 GMT", dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)),
        ("Sun, 01 Mar 2026 12:00:00 -0000", dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)),
        ("Sun, 01 Mar 2026 14:00:00 +0200", dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)),
        ("yesterday", None),
        ("Sun, 99 Mar 2026 99:00:00 GMT", None),
        (None, None),
    ],
)
def test_dates_of_a_server(text: str | None, expected: dt.datetime | None) -> None:
    assert server._date(text) == expected


def dnskey(flags: int) -> dns.rdata.Rdata:
    return dns.dnssec.make_dnskey(
        ec.generate_private_key(ec.SECP256R1()).public_key(), Algorithm.ECDSAP256SHA256, flags=flags
    )


def test_ds_records_of_keys() -> None:
    key, other, zone_key = dnskey(257), dnskey(257), dnskey(256)
    right = dns.dnssec.make_ds("home.example.", key, DSDigest.SHA256)
    unknown = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.DS, "1 13 99 abcd")
    wrong = dns.dnssec.make_ds("home.example.", other, DSDigest.SHA384)
    found = zone_questions.with_matches("home.example", [right, unknown, wrong], [zone_key, key])
    assert [matches for _, matches in found] == [True, False, False]
    # The name is a part of what is hashed.
    assert zone_questions.with_matches("other.example", [right], [key])[0][1] is False
    assert zone_questions.key_tags([zone_key, key]) == (dns.dnssec.key_id(key),)


def test_ds_records_that_a_zone_asks_for() -> None:
    key = dnskey(257)
    ds = str(dns.dnssec.make_ds("home.example.", key, DSDigest.SHA256))
    cds = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.CDS, ds)
    cdnskey = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.CDNSKEY, str(key))
    deletion = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.CDNSKEY, "0 3 0 AA==")
    for records, keys in (([cds], []), ([], [cdnskey]), ([cds], [cdnskey])):
        assert zone_questions.wanted_ds("home.example", records, keys) == (ds,)
    assert zone_questions.wanted_ds("home.example", [], [deletion]) == ("0 0 0 00",)
    assert zone_questions.wanted_ds("home.example", [], []) == ()


class Served:
    """A name server that serves these records, each time the next of them."""

    def __init__(self, *answers: frozenset[str]) -> None:
        self.answers = list(answers)

    def records(self, name: str, server: Endpoint) -> frozenset[str]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


OLD, NEW = frozenset[str](), frozenset({RECORD})


@pytest.mark.parametrize(
    ("answers", "later", "is_wrong"),
    [
        # As expected at once.
        ([NEW], None, False),
        # The server has got the change in the meantime.
        ([OLD, NEW], NEW, False),
        # The database has changed in the meantime.
        ([OLD], OLD, False),
        # A change is pending now.
        ([OLD], None, False),
        ([OLD], NEW, True),
    ],
)
def test_a_change_during_the_comparison_is_no_difference(
    monkeypatch: pytest.MonkeyPatch, answers: list[frozenset[str]], later: frozenset[str] | None, is_wrong: bool
) -> None:
    monkeypatch.setattr(zone_questions, "_PAUSE_SECONDS", 0)

    def expect(names: object) -> dict[str, ExpectedRecords]:
        return {} if later is None else {"a.example": ExpectedRecords("a.example", "example", later, 60)}

    sample = [ExpectedRecords("a.example", "example", NEW, 60)]
    found = zone_questions.compare(Served(*answers), AT, sample, expect)  # type: ignore[arg-type]
    assert found.wrong == ((("a.example", OLD, NEW),) if is_wrong else ())


@pytest.mark.parametrize(
    "overrides",
    [
        {"registry": {"state_dir": "/nonexistent"}},
        {"registry": {"state_dir": "/nonexistent", "database_url": "postgresql://:hunter2@[::1]:1/x"}},
        {"registry": {"state_dir": "/nonexistent", "database_url": "mysql://x"}},
        {"registry": {"state_dir": "/nonexistent", "database_url": "no URL"}},
        {"registry": {"unheard_of": 1}},
        {"publication": {"server": "127.0.0.1:1"}, "registry": {"state_dir": "/dev/null", "domain": "x.example"}},
    ],
)
def test_gathering_never_fails(overrides: dict[str, dict[str, object]]) -> None:
    facts = gather(Subject(None, overrides))
    findings = all_findings(facts)
    assert any(finding.problem for finding in findings)
    assert "hunter2" not in repr(findings)


def test_facts_of_a_registry_without_a_server(closed: Bench) -> None:
    facts = gather(Subject(None, {"registry": {"state_dir": closed.settings.state_dir, "listen": "127.0.0.1:1"}}))
    assert isinstance(facts.contents, Contents)
    assert not isinstance(facts.server, NotTried)
    assert isinstance(facts.server.health, NotTried)
    errors = {finding.check.value for finding in all_findings(facts) if finding.severity == "error"}
    assert {"server.health", "database.publisher", "dns.primary", "files.tsig_key"} <= errors
