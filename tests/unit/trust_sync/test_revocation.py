"""Watched names: what ends their sessions, and what does not."""

from __future__ import annotations

from pathlib import Path

from dane_radius.core import Secure, Unavailable
from tests.unit.trust_sync.nas import Nas
from tests.unit.trust_sync.sessions_setting import GONE, ONE, TWO, Setting
from trust_sync.worker.state import WorkerState

OTHERS = [
    "alice", "alice@corp.example", "host/pc1.corp.example", "pc1.corp.example", "A1._device.example.net", "x" * 300,
    "a..b.example.net", "*.example.net", "10.0.0.1", "\u00fc.example.net", "a\nb.example.net", " ",
]  # fmt: skip


async def test_every_session_of_a_name_ends_at_its_nas(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 60), GONE)
        setting.session(1)
        setting.session(2)
        await setting.step()
        assert nas.requests == []
        await setting.revoked()
        await setting.service.settle()
        assert len(nas.requests) == 2
        assert setting.count("ack") == 2
        assert setting.state.sessions.pending == {}
        # Accounting does not show the end yet. No second request is sent.
        await setting.step(61)
        await setting.step(61)
        assert len(nas.requests) == 2
        # Much later, accounting still shows the session. Another request is sent.
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
        second = Setting(tmp_path, nas, Secure((TWO,), 10), state=WorkerState.from_json(first.state.to_json()))
        await second.step()
        assert len(nas.requests) == 1


async def test_accounting_that_cannot_be_read_is_said_so_and_asked_again(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, GONE)
        setting.database.rename(tmp_path / "away.db")
        await setting.step()
        assert setting.service.error
        (tmp_path / "away.db").rename(setting.database)
        setting.session()
        await setting.step(2)
        assert setting.service.error is None
        assert len(nas.requests) == 1


async def test_users_of_the_same_table_that_are_no_devices_are_left_alone(tmp_path: Path) -> None:
    """Their names provably have no TLSA records, which does not concern their sessions."""
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, GONE)
        for number, user in enumerate(OTHERS):
            setting.session(number, user)
        for _ in range(3):
            await setting.step(61)
        assert setting.answers.asked == 0
        assert nas.requests == []
        assert len(setting.service.watched_names) == 0
        # The device among them is not left alone.
        setting.session(99)
        await setting.step(61)
        assert len(nas.requests) == 1


async def test_a_clock_that_is_set_back_by_years_puts_nothing_off_by_years(tmp_path: Path) -> None:
    years = 10 * 365 * 86_400
    with Nas([None], drop=1) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 60), GONE)
        setting.session()
        setting.now += years
        await setting.step()
        await setting.step(-years)
        # The name is looked up again. The pending request is sent, although it was due ten years later.
        assert setting.answers.asked == 2
        assert len(nas.requests) == 1
        (pending,) = setting.state.sessions.pending.values()
        pending.due += years
        pending.noticed += years
        await setting.step(1)
        assert len(nas.requests) == 2
        assert setting.state.sessions.pending == {}
        # A session that was recorded as ended in that future may still be live.
        setting.now += years
        setting.service.pending._finish("u1", pending, "test")
        await setting.step(1)
        await setting.step(-years)
        await setting.step(400)
        assert len(nas.requests) >= 3


async def test_a_secret_file_that_is_away_stops_no_revocation(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        secret = tmp_path / "das.secret"
        secret.write_text("s")
        secret.chmod(0o600)
        setting = Setting(tmp_path, nas, Secure((ONE,), 60), GONE, secret={"secret_file": str(secret)})
        setting.session()
        await setting.step()
        secret.unlink()
        await setting.step(61)
        assert "das.secret" in str(setting.service.error)
        assert [request[0] for request in nas.requests] == [40]
        secret.write_text("s")
        secret.chmod(0o600)
        await setting.step(2)
        assert setting.service.error is None
