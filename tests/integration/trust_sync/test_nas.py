"""FreeRADIUS as a NAS (RFC 5176 server), and accounting that FreeRADIUS writes to PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.harness.freeradius import SECRET, FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import self_signed
from tests.harness.process import run, wait_for
from tests.harness.trust_sync import TrustSync
from tests.harness.unbound import Unbound
from tests.integration.iot_registry.parts import PostgreSQL
from tests.integration.trust_sync.radius_nas import DAS_SECRET, RadiusNas

pytestmark = pytest.mark.daemons

ZONE = "iot.example"
SCHEMA = Path("/etc/freeradius/3.0/mods-config/sql/main/postgresql/schema.sql")


def policy(vlan: int) -> str:
    return f"version: 1\nrules:\n  - {{name: all, identity: ['**.{ZONE}'], grant: {{vlan: {vlan}}}}}\n"


@dataclass
class Branch:
    """A site whose accounting is in PostgreSQL."""

    folder: Path
    knot: Knot
    unbound: Unbound
    radius: FreeRadius
    database: PostgreSQL
    nas: RadiusNas

    def account(self, status: str, name: str, session: str) -> None:
        """Send a NAS's accounting request (RFC 2866) by radclient."""
        attributes = {
            "Acct-Status-Type": status, "User-Name": f'"{name}"', "Acct-Session-Id": f'"{session}"',
            "NAS-IP-Address": self.nas.address, "NAS-Port": "1", "Calling-Station-Id": '"02-00-00-00-00-77"',
            "Called-Station-Id": '"00-00-00-00-00-01:iot"', "NAS-Port-Type": "Wireless-802.11",
        }  # fmt: skip
        text = ", ".join(f"{key} = {value}" for key, value in attributes.items())
        run(["radclient", "-x", f"127.0.0.1:{self.radius.acct_port}", "acct", SECRET], stdin=text + "\n")

    def execute(self, query: str, *values: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def sync(self, settings: str, name: str) -> TrustSync:
        return TrustSync(
            self.folder / name,
            self.radius.config_file,
            f"[sessions]\ndatabase = '{self.database.url}'\npoll = 0.2\nrecheck_min = 0.5\nnas_table = true\n"
            f"{settings}",
        )


@pytest.fixture(scope="module")
def branch() -> Iterator[Branch]:
    folder = Path(tempfile.mkdtemp(prefix="nas-test-"))
    folder.chmod(0o755)
    address = f"127.77.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250 + 1}"
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        knot = stack.enter_context(Knot(folder / "knot", [Zone(ZONE, f"keep._device TLSA 3 1 1 {'00' * 32}\n")]))
        stubs = {ZONE: ("127.0.0.1", knot.port)}
        unbound = stack.enter_context(Unbound(folder / "unbound", stubs, knot.trust_anchors(ZONE)))
        database = stack.enter_context(PostgreSQL())
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute(SCHEMA.read_text().encode())
        radius = FreeRadius(folder / "radius", unbound.port, policy(42), accounting="sqlite")
        radius.prepare()
        use_postgresql(radius, database)
        stack.enter_context(radius)
        nas = stack.enter_context(RadiusNas(folder / "nas", address))
        yield Branch(folder, knot, unbound, radius, database, nas)


def use_postgresql(radius: FreeRadius, database: PostgreSQL) -> None:
    """Follow the comment in mods-available/dane_sql."""
    module = radius.raddb / "mods-available" / "dane_sql"
    text = module.read_text().replace('dialect = "sqlite"', 'dialect = "postgresql"')
    server = f'server = "127.0.0.1"\n\tport = {database.port}\n\tlogin = "registry"\n\tradius_db = "postgres"\n'
    text = text.replace('\tradius_db = "radius"\n', "\t" + server)
    start_at, end = text.index("\tsqlite {"), text.index('\tserver = "127.0.0.1"')
    module.write_text(text[:start_at] + text[end:])


def test_accounting_in_postgresql_and_secrets_from_the_nas_table(branch: Branch) -> None:
    name = f"s1._device.{ZONE}"
    branch.knot.add_tlsa(ZONE, name, str(self_signed(name).tlsa()), 1)
    branch.account("Start", name, "PG-1")
    # A user with a password, whose name is not in the DNS.
    branch.account("Start", "alice", "PG-0")
    live = "SELECT username FROM radacct WHERE acctstoptime IS NULL ORDER BY username"
    assert branch.execute(live) == [("alice",), (name,)]
    limits = "[disconnect]\ntimeout = 0.3\ntries = 1\nretry_min = 0.5\nretry_max = 0.5\n"
    with branch.sync(limits, "sync-postgresql") as sync:
        wait_for(lambda: sync.status()["sessions"]["watched_names"] == 1, "the worker to see the session")
        branch.knot.delete_tlsa(ZONE, name)
        # The secret is not configured yet. The status says so, and the session stays pending.
        wait_for(lambda: sync.status()["sessions"]["pending"], "the session to be pending", timeout=15)
        assert sync.status()["sessions"]["pending"][0]["reply"].startswith("unknown_nas")
        assert branch.nas.conversation() == []
        row = "INSERT INTO nas (nasname, shortname, secret) VALUES (%s, 'ap', %s)"
        branch.execute(row, branch.nas.address, DAS_SECRET)
        wait_for(lambda: sync.events("session over"), "the session to be over", timeout=15)
        assert branch.nas.conversation() == ["Received Disconnect-Request", "Sent Disconnect-ACK"]
        assert 'Acct-Session-Id = "PG-1"' in branch.nas.text()
        assert sync.status()["sessions"]["pending"] == []
        branch.account("Stop", name, "PG-1")
        wait_for(lambda: sync.status()["sessions"]["watched_names"] == 0, "the worker to see the end")
        assert DAS_SECRET not in sync.log.read_text()
        assert branch.execute(live) == [("alice",)]
        branch.account("Stop", "alice", "PG-0")


def test_postgresql_that_goes_away_is_said_so_and_found_again(branch: Branch) -> None:
    name = f"s2._device.{ZONE}"
    branch.knot.add_tlsa(ZONE, name, str(self_signed(name).tlsa()), 60)
    branch.account("Start", name, "PG-2")
    with branch.sync("", "sync-outage") as sync:
        wait_for(lambda: sync.status()["sessions"]["watched_names"] == 1, "the worker to see the session")
        branch.database.kill()
        wait_for(lambda: sync.status()["sessions"]["error"], "the error")
        # A session that cannot be read has not ended.
        assert sync.status()["sessions"]["watched_names"] == 1
        branch.database.start()
        wait_for(lambda: not sync.status()["sessions"]["error"], "the database to be read again", timeout=15)
        assert sync.status()["sessions"]["watched_names"] == 1
    # radiusd's connection was closed, too. It opens another one.
    branch.account("Stop", name, "PG-2")


def test_a_changed_vlan_is_sent_as_coa_and_as_disconnect_where_the_nas_cannot(branch: Branch) -> None:
    name = f"s3._device.{ZONE}"
    branch.knot.add_tlsa(ZONE, name, str(self_signed(name).tlsa()), 60)
    branch.account("Start", name, "COA-1")
    entry = f"[[nas]]\naddress = '{branch.nas.address}'\nsecret = '{DAS_SECRET}'\ncoa = true\n"
    with branch.sync(entry, "sync-coa") as sync:
        wait_for(lambda: name in str(branch.execute("SELECT username FROM radacct")), "the record")
        wait_for(lambda: sync.status()["sessions"]["watched_names"] == 1, "the worker to see the session")
        mark = len(branch.nas.text())
        branch.radius.write_policy(policy(43))
        wait_for(lambda: len(sync.events("session over")) == 1, "the CoA", timeout=15)
        assert branch.nas.conversation(mark) == ["Received CoA-Request", "Sent CoA-ACK"]
        received = branch.nas.text()[mark:]
        for attribute in (
            'Tunnel-Private-Group-Id:0 = "43"',
            "Tunnel-Type:0 = VLAN",
            "Tunnel-Medium-Type:0 = IEEE-802",
            'Acct-Session-Id = "COA-1"',
        ):
            assert attribute in received
        # The session was moved, so it has not ended, and the next change applies to it. The NAS refuses that one.
        mark = len(branch.nas.text())
        branch.radius.write_policy(policy(44))
        wait_for(lambda: len(sync.events("session over")) == 2, "the Disconnect", timeout=15)
        assert branch.nas.conversation(mark) == [
            "Received CoA-Request", "Sent CoA-NAK", "Received Disconnect-Request", "Sent Disconnect-ACK",
        ]  # fmt: skip
        assert "Error-Cause := Unsupported-Service" in branch.nas.text()[mark:]
    branch.account("Stop", name, "COA-1")
