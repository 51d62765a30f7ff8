"""`iot-registry doctor` on a real registry: healthy, and with one fault of its machine or database at a time."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.harness.process import free_port
from tests.integration.iot_registry.doctor_place import (
    DEADLINE_SECONDS,
    DOMAIN,
    Place,
    as_nobody,
    examined,
    invoke,
    running_place,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running_place(tmp_path_factory.mktemp("doctor")) as found:
        yield found


EVERYWHERE = {
    "configuration.file", "configuration.domain", "configuration.public_url", "files.state_directory", "files.owners",
    "files.space", "files.ca_keys", "files.tsig_key", "database.reachable", "database.encoding", "database.schema",
    "database.publisher", "outbox.waiting", "ca.root", "ca.issuing", "ca.server", "ca.keys", "ca.rollover",
    "keys.expiry", "tokens.open", "tokens.expired", "feed.retention", "server.health", "server.version", "server.name",
    "server.chain", "server.expiry", "dns.primary", "dns.signed", "dns.signatures", "dns.update", "dns.validation",
    "dns.delegation", "dns.key_rollover", "dns.records", "dns.ttl", "clock.signatures", "clock.http", "signer.control",
}  # fmt: skip


def test_a_healthy_registry_on_postgresql(place: Place) -> None:
    found = place.examine()
    assert found.problems == set()
    assert found.code == 0
    assert EVERYWHERE - found.ids("ok") == set()


def test_a_healthy_registry_on_sqlite(tmp_path: Path) -> None:
    with running_place(tmp_path, "sqlite") as place:
        found = place.examine()
        assert found.problems == set()
        assert (EVERYWHERE | {"database.integrity"}) - found.ids("ok") == set()
        assert place.registry.daemon is not None
        (publisher,) = found.of("database.publisher", "ok")
        assert publisher["found"] == f"process {place.registry.daemon.pid} publishes"


def test_it_changes_nothing(place: Place) -> None:
    assert place.postgresql is not None

    def state() -> tuple[object, ...]:
        files = sorted((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in place.registry.state.rglob("*"))
        serial = place.registry.knot.ask(DOMAIN, "SOA").answer[0][0].serial
        dump = subprocess.run(["pg_dump", "-d", place.postgresql.url], capture_output=True, check=True, text=True)
        rows = [line for line in dump.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]
        return files, serial, rows

    before = state()
    place.examine()
    assert state() == before


def test_the_table_and_the_problems_alone(place: Place) -> None:
    done = subprocess.run(place.command(), capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert done.returncode == 0, done.stdout
    assert "issuing CA of home.example" in done.stdout
    assert "errors: 0, warnings: 0" in done.stdout
    quiet = subprocess.run(place.command("--quiet"), capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert (quiet.returncode, quiet.stdout) == (0, "")
    serial = subprocess.run(
        place.command(), capture_output=True, timeout=DEADLINE_SECONDS, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert serial.returncode == 0
    assert serial.stdout.isascii()


def test_an_invalid_configuration_is_one_finding(place: Place) -> None:
    found = place.examine(registry={"unheard_of": 1})
    assert found.ids("error") == {"configuration.file"}
    assert "unheard_of" in found.of("configuration.file", "error")[0]["found"]


def test_addresses_and_names_that_are_wrong(place: Place) -> None:
    found = place.examine(registry={"domain": "other.example", "listen": f"0.0.0.0:{place.registry.port}"})
    assert ("configuration.domain", "error") in found.problems
    assert ("configuration.public_url", "warning") in found.problems
    # 127.1 is the same address, and not in the certificate.
    found = place.examine(registry={"public_url": f"https://127.1:{place.registry.port}"})
    assert found.problems == {("server.name", "error")}


def test_an_open_state_directory(place: Place) -> None:
    place.registry.state.chmod(0o755)
    try:
        found = place.examine()
    finally:
        place.registry.state.chmod(0o700)
    assert found.problems == {("files.state_directory", "error")}
    assert f"chmod 700 {place.registry.state}" in found.of("files.state_directory", "error")[0]["fix"]


def test_a_file_of_another_user(place: Place) -> None:
    stray = place.registry.state / "stray"
    stray.write_text("")
    os.chown(stray, 1, 1)
    try:
        found = place.examine()
    finally:
        stray.unlink()
    assert found.problems == {("files.owners", "error")}


def test_keys_that_others_can_read(place: Place) -> None:
    ca_key = next(iter(sorted((place.registry.state / "ca").glob("*.key"))))
    tsig = place.registry.state / "tsig.key"
    ca_key.chmod(0o644)
    tsig.chmod(0o644)
    try:
        found = place.examine()
    finally:
        ca_key.chmod(0o600)
        tsig.chmod(0o600)
    assert {("files.ca_keys", "error"), ("files.tsig_key", "error")} <= found.problems


def test_a_lost_ca_key_and_one_of_another_ca(place: Place) -> None:
    keys = sorted((place.registry.state / "ca").glob("*.key"))
    saved = [key.read_bytes() for key in keys]
    for key, octets in zip(keys, [saved[1], saved[2], saved[0]], strict=True):
        key.write_bytes(octets)
    try:
        swapped = place.examine()
        keys[0].unlink()
        keys[1].unlink()
        keys[2].unlink()
        lost = place.examine()
    finally:
        for key, octets in zip(keys, saved, strict=True):
            key.write_bytes(octets)
            key.chmod(0o600)
    assert swapped.problems == {("ca.keys", "error"), ("ca.root_key", "warning")}
    assert len(swapped.of("ca.keys", "error")) == 2
    # The root's key may be kept offline.
    assert lost.problems == {("ca.keys", "error")}
    assert "second copy" in lost.of("backup.contents", "info")[0]["found"]


def test_a_passphrase_that_others_can_read(place: Place) -> None:
    passphrase = place.registry.folder / "ca.pass"
    passphrase.write_text("correct horse battery staple\n")
    passphrase.chmod(0o644)
    found = place.examine(ca={"passphrase_file": str(passphrase)})
    assert found.problems == {("files.passphrases", "error")}
    found = place.examine(ca={"passphrase_file": str(passphrase.with_name("lost.pass"))})
    assert {("files.passphrases", "error")} <= found.problems


def test_a_database_that_is_gone(place: Place) -> None:
    url = f"postgresql://registry:hunter2@127.0.0.1:{free_port()}/postgres"
    found = place.examine(registry={"database_url": url})
    assert ("database.reachable", "error") in found.problems
    assert "hunter2" not in str(found.findings)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_of_another_encoding(place: Place, encoding: str) -> None:
    assert place.postgresql is not None
    place.sql(f"CREATE DATABASE narrow TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        found = place.examine(registry={"database_url": place.postgresql.url.replace("/postgres", "/narrow")})
    finally:
        place.sql("DROP DATABASE narrow WITH (FORCE)")
    assert ("database.encoding", "error") in found.problems
    assert encoding in found.of("database.encoding", "error")[0]["found"]


def test_an_empty_database(place: Place) -> None:
    assert place.postgresql is not None
    place.sql("CREATE DATABASE empty")
    try:
        found = place.examine(registry={"database_url": place.postgresql.url.replace("/postgres", "/empty")})
    finally:
        place.sql("DROP DATABASE empty WITH (FORCE)")
    assert ("database.schema", "error") in found.problems


@pytest.mark.parametrize(("revision", "severity"), [("0001", "warning"), ("9999", "error")])
def test_another_schema(place: Place, revision: str, severity: str) -> None:
    with place.altered("alembic_version", "version_num", f"'{revision}'", "true"):
        found = place.examine()
    assert found.problems == {("database.schema", severity)}


TOKEN = "id = (SELECT id FROM tokens WHERE used_at IS NULL AND cancelled_at IS NULL)"
EXPIRIES = [
    [
        ("authorities", "not_after", "100 days", "kind = 'issuing'", ("ca.issuing", "warning")),
        ("authorities", "not_after", "1 year", "kind = 'root'", ("ca.root", "warning")),
        ("authorities", "not_after", "300 days", "kind = 'server'", ("ca.server", "warning")),
        ("api_keys", "expires_at", "3 days", "true", ("keys.expiry", "warning")),
    ],
    [
        ("authorities", "not_after", "-1 day", "kind = 'issuing'", ("ca.issuing", "error")),
        ("authorities", "not_after", "-1 day", "kind = 'root'", ("ca.root", "error")),
        ("authorities", "not_after", "-1 day", "kind = 'server'", ("ca.server", "error")),
        ("tokens", "expires_at", "-1 hour", TOKEN, ("tokens.expired", "warning")),
    ],
]


@pytest.mark.parametrize("changes", EXPIRIES, ids=["soon", "already"])
def test_what_expires(place: Place, changes: list[tuple[str, str, str, str, tuple[str, str]]]) -> None:
    with contextlib.ExitStack() as stack:
        for table, column, after, where, _ in changes:
            stack.enter_context(place.altered(table, column, f"now() + interval '{after}'", where))
        found = place.examine()
    assert found.problems == {expected for *_, expected in changes}
    assert place.examine().problems == set()


def test_an_unfinished_rollover(place: Place) -> None:
    place.sql("INSERT INTO rollovers (domain_id, step, started_at, detail) VALUES (1, 'withdraw', now(), '{}')")
    try:
        found = place.examine()
    finally:
        place.sql("DELETE FROM rollovers")
    assert found.problems == {("ca.rollover", "error")}


def test_a_damaged_database(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = invoke(*arguments, "--state-dir", str(tmp_path / "state"))
        structlog.reset_defaults()
        return done

    (tmp_path / "many.csv").write_text("label,type\n" + "".join(f"d{number},t\n" for number in range(50)))
    assert run("init").returncode == 0
    assert run("device", "import", str(tmp_path / "many.csv")).returncode == 0
    database = tmp_path / "state" / "registry.db"
    before = sorted(path.name for path in database.parent.iterdir())
    healthy = examined(run("doctor", "--json"))
    assert healthy.of("database.integrity", "ok")
    # Without a server, no file of SQLite is made beside the database.
    assert sorted(path.name for path in database.parent.iterdir()) == before
    shutil.copy(database, tmp_path / "copy")
    with sqlite3.connect(tmp_path / "copy") as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'ix_devices_domain_status'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    octets = bytearray(database.read_bytes())
    octets[(page - 1) * size + 200 : page * size] = bytes(size - 200)
    database.write_bytes(octets)
    found = examined(run("doctor", "--json"))
    assert ("database.integrity", "error") in found.problems
    database.write_bytes(os.urandom(8192))
    found = examined(run("doctor", "--json"))
    assert found.ids("error") & {"database.reachable", "database.integrity"}


def test_without_rights_it_says_what_it_could_not_see(place: Place) -> None:
    found = as_nobody(place, place.registry.config)
    assert found.problems == {("configuration.file", "warning")}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        found = as_nobody(place, Path(shutil.copy(place.registry.config, folder)))
    hidden = found.of("files.state_directory", "warning")
    assert hidden
    assert "Permission denied" in hidden[0]["found"]
    assert "root" in hidden[0]["fix"]
    # What everybody may see.
    assert {"server.health", "dns.primary"} <= found.ids("ok")


@pytest.mark.parametrize(
    "options", [["--resolver", "127.0.0.1:x"], ["--resolver", "dns.example"], ["--unheard-of"], ["extra"]]
)
def test_wrong_usage(options: list[str]) -> None:
    done = invoke("doctor", *options)
    assert (done.returncode, done.stdout) == (2, "")


def test_no_registry_at_all(tmp_path: Path) -> None:
    found = examined(invoke("doctor", "--json", "--state-dir", str(tmp_path / "nothing")))
    assert {("files.state_directory", "error"), ("database.reachable", "error")} <= found.problems
    assert not (tmp_path / "nothing").exists()
