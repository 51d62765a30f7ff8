"""How the module is told of a change of standing: at once if it answers, and without delaying anything if not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dane_radius.local import ControlServer, LogConfig, open_log
from trust_sync.standing import ModuleSocket, module_socket


def socket(path: Path | None) -> ModuleSocket:
    return ModuleSocket(str(path) if path else None, open_log(LogConfig(destination="none"))[0])


async def test_a_module_that_answers_has_read_the_journal(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    async def handle(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return {"sequence": 7}

    server = ControlServer(str(tmp_path / "module.sock"), handle)
    await server.start()
    try:
        assert await socket(tmp_path / "module.sock").journal_grew()
        assert [request["op"] for request in asked] == ["standing"]
    finally:
        await server.stop()


async def test_a_module_that_has_not_read_the_journal_was_not_told(tmp_path: Path, monkeypatch: Any) -> None:
    replies = ({"done": False, "error": None}, {"done": True, "error": "line 3"}, {"done": True, "latest": 6})
    monkeypatch.setattr(module_socket, "_TIMEOUT_SECONDS", 0.2)
    for number, reply in enumerate(replies):
        path = tmp_path / f"module{number}.sock"

        async def handle(_request: dict[str, Any], reply: dict[str, Any] = reply) -> dict[str, Any]:
            return reply

        server = ControlServer(str(path), handle)
        await server.start()
        try:
            assert not await socket(path).journal_grew(7)
        finally:
            await server.stop()


@pytest.mark.parametrize("busy", [{"done": False, "latest": 7}, {"done": True, "latest": 6, "sequence": 5}])
async def test_a_module_that_is_still_reading_is_asked_again(tmp_path: Path, busy: dict[str, Any]) -> None:
    replies = [busy, busy, {"done": True, "error": None, "sequence": 5, "latest": 7}]
    asked = 0

    async def handle(_request: dict[str, Any]) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return replies[asked - 1]

    server = ControlServer(str(tmp_path / "module.sock"), handle)
    await server.start()
    try:
        assert await socket(tmp_path / "module.sock").journal_grew(7)
        assert asked == 3
    finally:
        await server.stop()


async def test_without_a_socket_or_a_server_nothing_is_waited_for(tmp_path: Path) -> None:
    assert not await socket(None).journal_grew()
    assert not await socket(tmp_path / "none.sock").journal_grew()


async def test_a_module_of_an_earlier_version_is_no_failure(tmp_path: Path) -> None:
    async def handle(request: dict[str, Any]) -> dict[str, Any]:
        raise ValueError(f"op {request['op']!r} is not known")

    server = ControlServer(str(tmp_path / "module.sock"), handle)
    await server.start()
    try:
        assert not await socket(tmp_path / "module.sock").journal_grew()
    finally:
        await server.stop()


async def test_a_module_that_hangs_is_asked_once_and_then_left_alone(tmp_path: Path, monkeypatch: Any) -> None:
    asked = 0

    async def handle(_request: dict[str, Any]) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        return {}

    monkeypatch.setattr(module_socket, "_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(module_socket, "_PAUSE_SECONDS", 3600.0)
    server = ControlServer(str(tmp_path / "module.sock"), handle)
    await server.start()
    try:
        module = socket(tmp_path / "module.sock")
        for _ in range(5):
            assert not await module.journal_grew()
        assert asked == 1
    finally:
        await server.stop()
