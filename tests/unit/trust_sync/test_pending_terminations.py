"""Requests to NASes are repeated until each session has ended."""

from __future__ import annotations

from pathlib import Path

from tests.unit.trust_sync.nas import Nas
from tests.unit.trust_sync.sessions_setting import GONE, Setting
from trust_sync.worker.state import WorkerState


async def test_a_silent_nas_is_asked_again_until_the_end_and_then_given_up_loudly(tmp_path: Path) -> None:
    with Nas([None], drop=999) as nas:
        setting = Setting(tmp_path, nas, GONE)
        setting.session()
        await setting.step()
        (pending,) = setting.state.sessions.pending.values()
        assert (pending.attempts, pending.last_reply.partition(":")[0]) == (1, "silent")
        waits = []
        while setting.state.sessions.pending:
            (pending,) = setting.state.sessions.pending.values()
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
        assert setting.state.sessions.pending == {}


async def test_a_nas_with_many_sessions_that_is_silent_gets_few_requests(tmp_path: Path) -> None:
    with Nas([None], drop=99) as nas:
        setting = Setting(tmp_path, nas, GONE)
        for number in range(100):
            setting.session(number)
        await setting.step()
        assert len(nas.requests) <= 4
        assert len(setting.state.sessions.pending) == 100
        for _ in range(10):
            await setting.step(5)
        assert len(nas.requests) <= 4 + 4
        # No session is pending beyond the time limit.
        await setting.step(60)
        assert setting.state.sessions.pending == {}


async def test_what_is_pending_is_asked_for_again_after_a_restart(tmp_path: Path) -> None:
    with Nas([None], drop=4) as nas:
        first = Setting(tmp_path, nas, GONE)
        for number in range(20):
            first.session(number)
        await first.step()
        assert len(first.state.sessions.pending) == 20
        asked = len(nas.requests)
        second = Setting(tmp_path, nas, GONE, state=WorkerState.from_json(first.state.to_json()))
        await second.step(40)
        assert second.state.sessions.pending == {}
        assert len(nas.requests) == asked + 20
