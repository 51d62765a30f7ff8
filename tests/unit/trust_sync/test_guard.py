"""Sessions under guard, with a NAS on a loopback port, accounting in SQLite, and answers that a test chooses."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import cast

import pytest

from dane_radius.core.answers import Absence, Answer, Secure, SecureAbsent, Unavailable
from dane_radius.core.tlsa import TlsaRecord
from dane_radius.local.config import LogConfig
from dane_radius.local.log import open_log
from policy import parse_policy
from tests.unit.trust_sync.nas import Nas
from trust_sync.config import NasConfig, check
from trust_sync.guard import Guard
from trust_sync.lookup import Lookup
from trust_sync.metrics import Metrics
from trust_sync.sessions import open_sessions
from trust_sync.standing import Trigger
from trust_sync.state import State

SCHEMA = Path("/etc/freeradius/3.0/mods-config/sql/main/sqlite/schema.sql")
NAME = "a1._device.example.net"
ONE, TWO = TlsaRecord(3, 1, 1, b"1" * 32), TlsaRecord(3, 1, 1, b"2" * 32)
GONE = SecureAbsent(Absence.NXDOMAIN, 60)
REGISTRY = {
    "name": "home", "url": "https://localhost", "api_key_file": "/dev/null", "domains": ["example.net"],
}  # fmt: skip


class Answers:
    """What the DNS says; each look takes the next one, and the last one stays."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def tlsa(self, name: str) -> Answer:
        assert name == NAME
        self.asked += 1
        await asyncio.sleep(0)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Setting:
    """A guard whose clock a test moves."""

    def __init__(self, folder: Path, nas: Nas, *answers: Answer, coa: bool = False, state: State | None = None) -> None:
        self.database, self.now, self.answers = folder / "radacct.db", 1_700_000_000.0, Answers(*answers)
        self.state = state or State()
        self.policy = parse_policy(policy("grant: {vlan: 1}"))
        config = check(
            {
                "registry": [REGISTRY],
                "nas": [{"address": "127.0.0.0/8", "secret": "s", "port": nas.port, "coa": coa}],
                "sessions": {"database": f"sqlite:///{self.database}", "poll": 1.0},
                "disconnect": {"timeout": 0.05, "tries": 1, "retry_min": 5.0, "retry_max": 40.0, "give_up": 100.0},
            },
            "test",
        )
        log, _ = open_log(LogConfig(destination="none"))
        self.metrics = Metrics([])
        if not self.database.exists():
            self.sql(SCHEMA.read_text())
        self.guard = Guard(
            config,
            None,
            self.state,
            open_sessions(config.sessions.database or ""),
            cast(Lookup, self.answers),
            lambda: self.policy,
            self.metrics,
            log,
            lambda: self.now,
        )

    def sql(self, script: str) -> None:
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            connection.executescript(script)

    def session(self, number: int = 1, name: str = NAME) -> None:
        row = (f"S{number}", f"u{number}", name, "127.0.0.1", f"02-0{number}", "00-00-00-00-00-01:iot")
        columns = "acctsessionid, acctuniqueid, username, nasipaddress, callingstationid, calledstationid"
        with contextlib.closing(sqlite3.connect(self.database)) as connection, connection:
            # Fixed columns; the values are parameters.
            connection.execute(f"INSERT INTO radacct ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)  # noqa: S608

    async def revoked(self) -> None:
        """The registry says that the device is revoked."""
        await self.guard.notice("home", {NAME: Trigger.REVOKED}, {})

    async def step(self, seconds: float = 0.0) -> None:
        self.now += seconds
        await self.guard.step()
        await self.guard.settle()

    def count(self, result: str) -> float:
        return self.metrics.registry.get_sample_value("trust_sync_disconnects_total", {"result": result}) or 0.0


async def test_every_session_of_a_name_ends_at_its_nas(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 60), GONE)
        setting.session(1)
        setting.session(2)
        await setting.step()
        assert nas.requests == []
        await setting.revoked()
        await setting.guard.settle()
        assert len(nas.requests) == 2
        assert setting.count("ack") == 2
        assert setting.state.pending == {}
        # Accounting has not said so yet: nobody is asked twice.
        await setting.step(61)
        await setting.step(61)
        assert len(nas.requests) == 2
        # Much later there is still no word of its end: then it is.
        await setting.step(400)
        assert len(nas.requests) == 4


async def test_an_outage_ends_nothing_and_a_rolled_key_is_noticed_after_it(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(
            tmp_path, nas, Secure((ONE,), 10), Unavailable("down"), Unavailable("down"), Secure((TWO,), 10)
        )
        setting.session()
        for _ in range(3):
            await setting.step(11)
        assert nas.requests == []
        await setting.step(11)
        assert len(nas.requests) == 1


async def test_a_rolled_key_is_noticed_over_a_restart(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        first = Setting(tmp_path, nas, Secure((ONE,), 10))
        first.session()
        await first.step()
        second = Setting(tmp_path, nas, Secure((TWO,), 10), state=State.from_json(first.state.to_json()))
        await second.step()
        assert len(nas.requests) == 1


async def test_a_silent_nas_is_asked_again_until_the_end_and_then_given_up_loudly(tmp_path: Path) -> None:
    with Nas([None], drop=999) as nas:
        setting = Setting(tmp_path, nas, GONE)
        setting.session()
        await setting.step()
        (pending,) = setting.state.pending.values()
        assert (pending.attempts, pending.last_reply.partition(":")[0]) == (1, "silent")
        waits = []
        while setting.state.pending:
            (pending,) = setting.state.pending.values()
            waits.append(round(pending.due - setting.now))
            await setting.step(pending.due - setting.now)
        assert waits == [5, 10, 20, 40, 40]
        assert setting.count("silent") == 6


async def test_a_session_that_accounting_ends_is_not_asked_for_any_more(tmp_path: Path) -> None:
    with Nas([None], drop=999) as nas:
        setting = Setting(tmp_path, nas, GONE)
        setting.session()
        await setting.step()
        asked = len(nas.requests)
        setting.sql("UPDATE radacct SET acctstoptime = '2026-01-01 00:00:00'")
        await setting.step(6)
        assert len(nas.requests) == asked
        assert setting.state.pending == {}


async def test_accounting_that_cannot_be_read_is_said_so_and_asked_again(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, GONE)
        setting.database.rename(tmp_path / "away.db")
        await setting.step()
        assert setting.guard.sessions_error
        (tmp_path / "away.db").rename(setting.database)
        setting.session()
        await setting.step(2)
        assert setting.guard.sessions_error is None
        assert len(nas.requests) == 1


async def test_a_change_during_a_look_is_not_lost(tmp_path: Path) -> None:
    """The answer that was on its way is older than the change: it is thrown away, and the name is looked up again."""
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 3600), GONE)
        setting.session()
        await setting.guard.step()
        # The look is on its way now.
        await asyncio.sleep(0)
        await setting.revoked()
        await setting.guard.settle()
        await setting.step()
        assert setting.answers.asked == 2
        assert len(nas.requests) == 1


async def test_names_without_sessions_are_not_looked_up(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, GONE)
        setting.session(1, "alice")
        await setting.step()
        strangers = {f"d{n}._device.example.net": Trigger.REVOKED for n in range(2000)}
        await setting.guard.notice("home", {**strangers, "alice": Trigger.REVOKED}, {"example.net": Trigger.ROLLOVER})
        await setting.guard.settle()
        await setting.step(2)
        assert setting.answers.asked == 0
        assert nas.requests == []


async def test_a_session_that_nobody_watches_yet_is_found_when_its_name_is_revoked(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, GONE)
        await setting.step()
        # Between two looks at the table.
        setting.session()
        await setting.revoked()
        await setting.guard.settle()
        assert len(nas.requests) == 1


async def test_a_session_that_accounting_shows_after_the_revocation_is_ended_although_the_dns_is_behind(
    tmp_path: Path,
) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 3600), GONE)
        await setting.step()
        await setting.revoked()
        await setting.guard.settle()
        assert setting.answers.asked == 0
        setting.session()
        await setting.step(1)
        assert setting.answers.asked == 1
        # As for a revocation, the look is repeated long before the TTL ends.
        await setting.step(1)
        assert len(nas.requests) == 1


async def test_a_revocation_while_accounting_cannot_be_read_is_not_lost(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 3600), GONE)
        await setting.step()
        setting.session()
        setting.database.rename(tmp_path / "away.db")
        await setting.revoked()
        await setting.guard.settle()
        assert setting.guard.sessions_error
        assert setting.answers.asked == 0
        (tmp_path / "away.db").rename(setting.database)
        await setting.step(1)
        await setting.step(1)
        assert len(nas.requests) == 1


async def test_sessions_of_a_revoked_name_that_cannot_be_read_are_ended_when_they_can(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 3600), GONE)
        setting.session()
        await setting.step()
        setting.database.rename(tmp_path / "away.db")
        await setting.revoked()
        await setting.guard.settle()
        assert nas.requests == []
        (tmp_path / "away.db").rename(setting.database)
        await setting.step(2)
        assert len(nas.requests) == 1


async def test_a_whole_domain_is_looked_at_once_a_second_at_the_most(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 3600))
        setting.session()
        await setting.step()
        async with asyncio.timeout(20):
            for _ in range(3):
                await setting.guard.notice("home", {}, {"example.net": Trigger.FEED})
                await setting.guard.settle()
        assert setting.answers.asked == 4
        # The clock of this test stands still: the second and the third one waited.
        assert setting.guard._domain_free["home"] == setting.now + 1.0


async def test_a_nas_with_many_sessions_that_is_silent_gets_few_requests(tmp_path: Path) -> None:
    with Nas([None], drop=99) as nas:
        setting = Setting(tmp_path, nas, GONE)
        for number in range(100):
            setting.session(number)
        await setting.step()
        assert len(nas.requests) <= 4
        assert len(setting.state.pending) == 100
        for _ in range(10):
            await setting.step(5)
        assert len(nas.requests) <= 4 + 4
        # None is kept beyond its time, asked for or not.
        await setting.step(60)
        assert setting.state.pending == {}


async def test_what_is_pending_is_asked_for_again_after_a_restart(tmp_path: Path) -> None:
    with Nas([None], drop=4) as nas:
        first = Setting(tmp_path, nas, GONE)
        for number in range(20):
            first.session(number)
        await first.step()
        assert len(first.state.pending) == 20
        asked = len(nas.requests)
        second = Setting(tmp_path, nas, GONE, state=State.from_json(first.state.to_json()))
        await second.step(40)
        assert second.state.pending == {}
        assert len(nas.requests) == asked + 20


def policy(grant: str) -> bytes:
    return f"version: 1\nrules:\n  - {{name: all, identity: ['**.example.net'], {grant}}}\n".encode()


@pytest.mark.parametrize(
    ("grant", "coa", "replies", "codes"),
    [
        ("grant: {vlan: 1}", False, [None], []),
        ("grant: {vlan: 2}", False, [None], [40]),
        ("deny: true", True, [None], [40]),
        ("grant: {vlan: 2}", True, [None], [43]),
        ("grant: {vlan: 2, filter_id: x}", True, [None], [40]),
        # A NAS that said that it could, and cannot (hostapd: 402 or 405).
        ("grant: {vlan: 2}", True, [405, None], [43, 40]),
    ],
)
async def test_a_changed_policy_moves_or_ends_sessions(
    tmp_path: Path, grant: str, coa: bool, replies: list[int | None], codes: list[int]
) -> None:
    with Nas(replies) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 60), coa=coa)
        setting.session()
        await setting.step()
        old, setting.policy = setting.policy, parse_policy(policy(grant))
        await setting.guard.policy_changed(old, setting.policy)
        await setting.guard.settle()
        assert [request[0] for request in nas.requests] == codes
        assert setting.state.pending == {}


async def test_a_session_that_was_moved_can_still_be_ended(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 60), GONE, coa=True)
        setting.session()
        await setting.step()
        one, two = (parse_policy(policy(f"grant: {{vlan: {n}}}")) for n in (1, 2))
        await setting.guard.policy_changed(one, two)
        await setting.guard.settle()
        await setting.revoked()
        await setting.guard.settle()
        assert [request[0] for request in nas.requests] == [43, 40]


@pytest.mark.parametrize("revoked", [True, False])
async def test_what_changes_while_a_move_is_not_answered_is_what_counts(tmp_path: Path, revoked: bool) -> None:
    with Nas([None], drop=1) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 60), GONE, coa=True)
        setting.session()
        await setting.step()
        one, two, three = (parse_policy(policy(f"grant: {{vlan: {n}}}")) for n in (1, 2, 3))
        await setting.guard.policy_changed(one, two)
        await setting.guard.settle()
        (pending,) = setting.state.pending.values()
        assert pending.vlan == "2"
        if revoked:
            await setting.revoked()
        else:
            await setting.guard.policy_changed(two, three)
        await setting.guard.settle()
        await setting.step(6)
        # Tunnel-Private-Group-Id (81), tagged 0, or a request that ends the session.
        assert (nas.requests[-1][0], b"\x51\x04\x003" in nas.requests[-1]) == ((40, False) if revoked else (43, True))
        assert setting.state.pending == {}


OTHERS = [
    "alice", "alice@corp.example", "host/pc1.corp.example", "pc1.corp.example", "A1._device.example.net", "x" * 300,
    "a..b.example.net", "*.example.net", "10.0.0.1", "\u00fc.example.net", "a\nb.example.net", " ",
]  # fmt: skip


async def test_users_of_the_same_table_that_are_no_devices_are_left_alone(tmp_path: Path) -> None:
    """Their names have no TLSA records, provably: that takes nothing back which anybody ever said."""
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, GONE)
        for number, user in enumerate(OTHERS):
            setting.session(number, user)
        for _ in range(3):
            await setting.step(61)
        assert setting.answers.asked == 0
        assert nas.requests == []
        assert setting.guard.watched == 0
        # The device among them is not.
        setting.session(99)
        await setting.step(61)
        assert len(nas.requests) == 1


@pytest.mark.parametrize("mode", ["rule", "global"])
async def test_what_policy_only_monitors_is_not_ended(tmp_path: Path, mode: str) -> None:
    """The module lets such a device in whatever the DNS says: ending its session would be a loop."""
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, GONE)
        text = policy("grant: {vlan: 1}, mode: monitor") if mode == "rule" else policy("grant: {vlan: 1}")
        setting.policy = parse_policy(text if mode == "rule" else b"mode: monitor\n" + text)
        setting.session()
        for _ in range(3):
            await setting.step(61)
        assert setting.answers.asked == 3
        assert nas.requests == []
        # The same name, once the rule is meant.
        setting.policy = parse_policy(policy("grant: {vlan: 1}"))
        await setting.step(61)
        assert len(nas.requests) == 1


async def test_a_domain_that_policy_drops_loses_its_sessions(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 60))
        setting.session()
        await setting.step()
        old, setting.policy = setting.policy, parse_policy(policy("grant: {vlan: 1}").replace(b".net", b".org"))
        await setting.guard.policy_changed(old, setting.policy)
        await setting.guard.settle()
        assert [request[0] for request in nas.requests] == [40]


async def test_a_secret_file_that_is_away_stops_no_revocation(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        secret = tmp_path / "das.secret"
        secret.write_text("s")
        secret.chmod(0o600)
        setting = Setting(tmp_path, nas, Secure((ONE,), 60), GONE)
        config = setting.guard._config
        entry = NasConfig(address="127.0.0.0/8", secret_file=str(secret), port=nas.port)
        setting.guard._config = config.model_copy(update={"nas": [entry]})
        setting.session()
        await setting.step()
        secret.unlink()
        await setting.step(61)
        assert "das.secret" in str(setting.guard.sessions_error)
        assert [request[0] for request in nas.requests] == [40]
        secret.write_text("s")
        secret.chmod(0o600)
        await setting.step(2)
        assert setting.guard.sessions_error is None


async def test_a_clock_that_is_set_back_by_years_puts_nothing_off_by_years(tmp_path: Path) -> None:
    years = 10 * 365 * 86_400
    with Nas([None], drop=1) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 60), GONE)
        setting.session()
        setting.now += years
        await setting.step()
        await setting.step(-years)
        # Looked up again; and what is to be ended is, although its next attempt was ten years ahead.
        assert setting.answers.asked == 2
        assert len(nas.requests) == 1
        (pending,) = setting.state.pending.values()
        pending.due += years
        pending.noticed += years
        await setting.step(1)
        assert len(nas.requests) == 2
        assert setting.state.pending == {}
        # What was over in that future is not over now.
        setting.now += years
        setting.guard.endings._finish("u1", pending, "test")
        await setting.step(1)
        await setting.step(-years)
        await setting.step(400)
        assert len(nas.requests) >= 3
