"""Live sessions with a NAS on a loopback port, accounting in SQLite, and DNS answers that a test chooses."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import cast

from dane_radius.core import Absence, Answer, SecureAbsent, TlsaRecord
from dane_radius.local import LogConfig, open_log
from policy import DeviceStanding, parse_policy
from tests.unit.trust_sync.nas import Nas
from trust_sync.sessions import SessionContext, SessionService, open_accounting
from trust_sync.shared import DnsClient, Notice, Reporting, Trigger, check_config
from trust_sync.worker.metrics import Metrics
from trust_sync.worker.state import WorkerState

SCHEMA = Path("/etc/freeradius/3.0/mods-config/sql/main/sqlite/schema.sql")


NAME = "a1._device.example.net"


ONE, TWO = TlsaRecord(3, 1, 1, b"1" * 32), TlsaRecord(3, 1, 1, b"2" * 32)


GONE = SecureAbsent(Absence.NXDOMAIN, 60)


REGISTRY = {
    "name": "home", "url": "https://localhost", "api_key_file": "/dev/null", "domains": ["example.net"],
}  # fmt: skip


def policy(grant: str) -> bytes:
    return f"version: 1\nrules:\n  - {{name: all, identity: ['**.example.net'], {grant}}}\n".encode()


class Answers:
    """DNS answers. Each lookup takes the next one, and the last one repeats."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.first_asked = asyncio.Event()

    async def tlsa(self, name: str) -> Answer:
        if name != NAME:
            raise LookupError(name)
        self.asked += 1
        self.first_asked.set()
        await asyncio.sleep(0)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Setting:
    """The sessions room, with a clock that a test moves."""

    def __init__(
        self,
        folder: Path,
        nas: Nas,
        *answers: Answer,
        coa: bool = False,
        secret: dict[str, str] | None = None,
        state: WorkerState | None = None,
        standing_of: Callable[[str], DeviceStanding | None] = lambda name: None,
        timeout: float = 0.05,
    ) -> None:
        """timeout: seconds to wait for the NAS. One that always answers may take long on a busy machine."""
        self.database, self.now, self.answers = folder / "radacct.db", 1_700_000_000.0, Answers(*answers)
        self.state = state or WorkerState()
        self.policy = parse_policy(policy("grant: {vlan: 1}"))
        config = check_config(
            {
                "registry": [REGISTRY],
                "nas": [{"address": "127.0.0.0/8", "port": nas.port, "coa": coa, **(secret or {"secret": "s"})}],
                "sessions": {"database": f"sqlite:///{self.database}", "poll": 1.0},
                "disconnect": {"timeout": timeout, "tries": 1, "retry_min": 5.0, "retry_max": 40.0, "give_up": 100.0},
            },
            "test",
        )
        log, _ = open_log(LogConfig(destination="none"))
        self.metrics = Metrics([])
        if not self.database.exists():
            self.sql(SCHEMA.read_text())
        reporting = Reporting(self.metrics.sessions, log)
        self.service = SessionService(
            SessionContext(config, lambda: self.policy, reporting, lambda: self.now, standing_of),
            open_accounting(config.sessions.database or ""),
            cast(DnsClient, self.answers),
            self.state.sessions,
            None,
        )

    def sql(self, script: str) -> None:
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            connection.executescript(script)

    def session(
        self, number: int = 1, name: str = NAME, started: float | None = None, station: str | None = None
    ) -> None:
        station = station or f"02-0{number}"
        row = (f"S{number}", f"u{number}", name, "127.0.0.1", station, "00-00-00-00-00-01:iot", started)
        columns = (
            "acctsessionid, acctuniqueid, username, nasipaddress, callingstationid, calledstationid, acctstarttime"
        )
        with contextlib.closing(sqlite3.connect(self.database)) as connection, connection:
            # The columns are fixed. Values are passed as parameters.
            connection.execute(f"INSERT INTO radacct ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608

    async def revoked(self) -> None:
        """Report the revocation of the device."""
        await self.service.notice(Notice("home", {NAME: Trigger.REVOKED}))

    async def step(self, seconds: float = 0.0) -> None:
        self.now += seconds
        await self.service.step()
        await self.service.settle()

    def count(self, result: str) -> float:
        return self.metrics.registry.get_sample_value("trust_sync_disconnects_total", {"result": result}) or 0.0
