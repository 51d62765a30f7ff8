"""SIGKILL at any moment of a quarantine: what was acknowledged is kept, and told to followers.

The short form kills a few times. `OPERATIONS_KILL_ROUNDS=200` kills more often.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from operations.store import change_feed
from operations.store.models import AuditEntry, StandingEntry
from tests.fault.operations.client import Quarantiner
from tests.harness.process import wait_for
from tests.integration.operations.parts import Service
from web_service.store import Database

pytestmark = [pytest.mark.daemons, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[3]
ROUNDS = int(os.environ.get("OPERATIONS_KILL_ROUNDS", "10"))


class Zygote:
    """`start` starts a server process, and returns its number. See `tests.fault.operations.zygote`."""

    def __init__(self, service: Service) -> None:
        command = [sys.executable, "-m", "tests.fault.operations.zygote", str(service.config), str(service.log)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    def start(self) -> int:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("start\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def stop(self) -> None:
        # Standard input ends, and with it the process.
        self._process.communicate(timeout=30)


def test_what_was_acknowledged_is_kept_whenever_the_process_is_killed(tmp_path: Path) -> None:
    choose = random.Random(4)
    service = Service(tmp_path / "service")
    service.run("init")
    key = service.admin
    database = Database(f"sqlite:///{service.state / 'operations.db'}")
    zygote = Zygote(service)
    acknowledged: list[str] = []
    try:
        for number in range(ROUNDS):
            server = zygote.start()
            client = Quarantiner(service, f"k{number}", key)
            wait_for(lambda client=client: client.acknowledged, "the first quarantine", timeout=60)  # type: ignore[misc]
            # Any moment of a quarantine: several fit into this time.
            threading.Event().wait(choose.uniform(0, 0.2))
            os.kill(server, signal.SIGKILL)
            client.stop()
            acknowledged += client.acknowledged
            check(database, acknowledged)
    finally:
        zygote.stop()
        database.close()
    assert len(acknowledged) >= ROUNDS
    # After the last start, followers get every one of them, as quarantined.
    service.start()
    try:
        told = service.api("GET", "/v1/snapshot").json["standing"]
        assert {entry["name"] for entry in told if entry["standing"] == "quarantined"} >= set(acknowledged)
        assert service.curl("/health").json["status"] == "pass"
    finally:
        service.stop()
    print(f"{ROUNDS} kills, {len(acknowledged)} acknowledged quarantines, all kept")


def check(database: Database, acknowledged: list[str]) -> None:
    """Every acknowledged quarantine is in force, has its event, and its line of the audit log; no number is missing."""
    with database.read() as session:
        standing = {row.name: row.standing for row in session.scalars(select(StandingEntry))}
        events, since = [], 0
        while batch := change_feed.read_since(session, since).changes:
            events += batch
            since = batch[-1]["seq"]
        audited = set(session.scalars(select(AuditEntry.target).where(AuditEntry.action == "standing.set")))
    assert {standing.get(name) for name in acknowledged} == {"quarantined"}
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    # A change is there completely or not at all.
    assert {event["name"] for event in events} == standing.keys() == audited


def test_the_check_notices_a_lost_quarantine(tmp_path: Path) -> None:
    service = Service(tmp_path / "service")
    service.run("init")
    service.run("quarantine", "a.example.net")
    database = Database(f"sqlite:///{service.state / 'operations.db'}")
    check(database, ["a.example.net"])
    with pytest.raises(AssertionError):
        check(database, ["a.example.net", "lost.example.net"])
    database.close()
