"""Notices of registries: caches are flushed, and names with live sessions are looked up."""

from __future__ import annotations

import asyncio
from pathlib import Path

from dane_radius.core import Secure
from tests.unit.trust_sync.nas import Nas
from tests.unit.trust_sync.sessions_setting import GONE, ONE, Setting
from trust_sync.shared import Notice, Trigger


async def test_a_change_during_a_look_is_not_lost(tmp_path: Path) -> None:
    """An answer that is older than the change is discarded, and the name is looked up again."""
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 3600), GONE)
        setting.session()
        await setting.service.step()
        await setting.answers.first_asked.wait()
        await setting.revoked()
        await setting.service.settle()
        await setting.step()
        assert setting.answers.asked == 2
        assert len(nas.requests) == 1


async def test_names_without_sessions_are_not_looked_up(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, GONE)
        setting.session(1, "alice")
        await setting.step()
        strangers = {f"d{n}._device.example.net": Trigger.REVOKED for n in range(2000)}
        names = {**strangers, "alice": Trigger.REVOKED}
        await setting.service.notice(Notice("home", names, {"example.net": Trigger.ROLLOVER}))
        await setting.service.settle()
        await setting.step(2)
        assert setting.answers.asked == 0
        assert nas.requests == []


async def test_a_session_that_nobody_watches_yet_is_found_when_its_name_is_revoked(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, GONE)
        await setting.step()
        # The session begins between two polls of the table.
        setting.session()
        await setting.revoked()
        await setting.service.settle()
        assert len(nas.requests) == 1


async def test_a_session_that_accounting_shows_after_the_revocation_is_ended_although_the_dns_is_behind(
    tmp_path: Path,
) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 3600), GONE)
        await setting.step()
        await setting.revoked()
        await setting.service.settle()
        assert setting.answers.asked == 0
        setting.session()
        await setting.step(1)
        assert setting.answers.asked == 1
        # The lookup is repeated long before the TTL ends, as after any revocation.
        await setting.step(1)
        assert len(nas.requests) == 1


async def test_a_revocation_while_accounting_cannot_be_read_is_not_lost(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        setting = Setting(tmp_path, nas, Secure((ONE,), 3600), GONE)
        await setting.step()
        setting.session()
        setting.database.rename(tmp_path / "away.db")
        await setting.revoked()
        await setting.service.settle()
        assert setting.service.error
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
        await setting.service.settle()
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
                await setting.service.notice(Notice("home", domains={"example.net": Trigger.FEED}))
                await setting.service.settle()
        assert setting.answers.asked == 4
        # The clock of this test stands still, so the second and the third notice waited.
        assert setting.service.notices.allowed_at["home"] == setting.now + 1.0
