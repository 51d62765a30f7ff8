"""Live sessions from FreeRADIUS's stock schema, on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.integration.iot_registry.parts import PostgreSQL
from trust_sync.sessions import AccountingDatabase, AccountingUnavailable, open_accounting

pytestmark = pytest.mark.daemons

SCHEMAS = Path("/etc/freeradius/3.0/mods-config/sql/main")
NAME = "a1._device.example.net"
ROWS = """
INSERT INTO radacct (acctsessionid, acctuniqueid, username, nasipaddress, callingstationid, calledstationid,
                     nasporttype, acctstarttime, acctstoptime) VALUES
('S1', 'u1', 'a1._device.example.net', '192.0.2.1', '02-01', '00-01:iot', 'Wireless-802.11', '2026-01-01', NULL),
('S2', 'u2', 'a1._device.example.net', '192.0.2.2', '02-02', '00-02', 'Ethernet', '2026-01-01 00:00:00', NULL),
('S3', 'u3', 'a1._device.example.net', '192.0.2.1', '02-03', '', NULL, '2026-01-01 00:00:00', '2026-01-01'),
('S4', 'u4', 'b2._device.example.net', '192.0.2.1', '02-04', '', NULL, '2026-01-01 00:00:00', NULL),
('S5', 'u5', '', '192.0.2.1', '02-05', '', NULL, '2026-01-01 00:00:00', NULL);
INSERT INTO nas (nasname, shortname, secret) VALUES ('192.0.2.1', 'one', 's3cret');
"""
Execute = Callable[[str], None]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Execute]]:
    """The URL of a database with the stock schema, and a function that changes it."""
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("radacct") / "radacct.db"

        def change(script: str) -> None:
            with contextlib.closing(sqlite3.connect(path)) as connection:
                connection.executescript(script)

        change((SCHEMAS / "sqlite" / "schema.sql").read_text())
        yield f"sqlite:///{path}", change
        return
    with PostgreSQL() as server, psycopg.connect(server.url, autocommit=True) as connection:

        def execute(script: str) -> None:
            connection.execute(script.encode())

        execute((SCHEMAS / "postgresql" / "schema.sql").read_text())
        yield server.url, execute


@pytest.fixture(scope="module")
def source(database: tuple[str, Execute]) -> AccountingDatabase:
    url, change = database
    change(ROWS)
    return open_accounting(url)


def test_live_sessions_are_those_that_have_not_ended(source: AccountingDatabase) -> None:
    assert source.names() == {NAME, "b2._device.example.net"}
    sessions = sorted(source.of([NAME]), key=lambda session: session.session_id)
    assert [(s.session_id, s.unique_id, s.nas, s.station) for s in sessions] == [
        ("S1", "u1", "192.0.2.1", "02-01"),
        ("S2", "u2", "192.0.2.2", "02-02"),
    ]
    assert (sessions[0].called_station, sessions[0].port_type, sessions[1].port_type) == (
        "00-01:iot",
        "Wireless-802.11",
        "Ethernet",
    )
    assert source.of(["nobody.example.net"]) == []
    assert source.of(["x' OR '1'='1"]) == []
    assert source.of([]) == []
    assert source.live([]) == set()
    many = [f"d{n}.example.net" for n in range(1234)]
    assert source.live([*many, NAME, "b2._device.example.net"]) == {NAME, "b2._device.example.net"}
    assert len(source.of([NAME, *many, "b2._device.example.net"])) == 3
    assert source.nas_secrets() == [("192.0.2.1", "s3cret")]


def test_a_session_that_ends_is_not_live(source: AccountingDatabase, database: tuple[str, Execute]) -> None:
    session = source.of(["b2._device.example.net"])[0]
    assert source.is_live(session)
    database[1]("UPDATE radacct SET acctstoptime = '2026-01-02 00:00:00' WHERE acctuniqueid = 'u4'")
    assert not source.is_live(session)
    assert source.names() == {NAME}


@pytest.mark.parametrize("url", ["sqlite:////nowhere/radacct.db", "postgresql://radius:hush@127.0.0.1:1/radius"])
def test_a_database_that_cannot_be_read_is_said_so_without_its_password(url: str) -> None:
    with pytest.raises(AccountingUnavailable) as caught:
        open_accounting(url).names()
    assert "hush" not in str(caught.value)


def test_a_database_is_never_written(tmp_path: Path) -> None:
    path = tmp_path / "missing.db"
    with pytest.raises(AccountingUnavailable):
        open_accounting(f"sqlite:///{path}").names()
    assert not path.exists()
