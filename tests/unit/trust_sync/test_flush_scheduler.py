"""What the caches are told to flush, over real control sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest_asyncio

from dane_radius.local import LogConfig, open_log
from tests.unit.trust_sync.registries import REGISTRIES
from trust_sync.sessions.cache_flush import CacheFlusher
from trust_sync.sessions.flush_scheduler import FlushScheduler
from trust_sync.sessions.registry_map import RegistryMap
from trust_sync.shared import Reporting
from trust_sync.worker.metrics import Metrics


class Resolver:
    """Unbound's control socket, as far as flushes need it."""

    def __init__(self, path: Path) -> None:
        self.path, self.commands = path, list[str]()
        self.seconds = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode()
        self.commands.append(line.removeprefix("UBCT1 ").strip())
        await asyncio.sleep(self.seconds)
        writer.write(b"ok\n")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest_asyncio.fixture
async def resolver(tmp_path: Path) -> AsyncIterator[Resolver]:
    found = Resolver(tmp_path / "unbound.sock")
    server = await asyncio.start_unix_server(found.serve, found.path)
    async with server:
        yield found


class Setting:
    def __init__(self, unbound: Path | None, module: Path | None) -> None:
        self.metrics = Metrics([])
        log, _ = open_log(LogConfig(destination="none"))
        reporting = Reporting(self.metrics.sessions, log)
        self.flusher = CacheFlusher(str(unbound) if unbound else None, str(module) if module else None, reporting)
        self.flushes = FlushScheduler(self.flusher, RegistryMap(REGISTRIES), asyncio.get_running_loop().time)

    def failures(self, cache: str) -> float:
        return cast(float, self.metrics.registry.get_sample_value("trust_sync_flush_failures_total", {"cache": cache}))


def names(count: int, domain: str) -> list[str]:
    return [f"d{n}._device.{domain}" for n in range(count)]


async def test_few_names_are_forgotten_one_by_one(resolver: Resolver) -> None:
    setting = Setting(resolver.path, None)
    await setting.flushes.names(names(32, "one.example"), registry="one")
    assert len(resolver.commands) == 64
    assert resolver.commands[:2] == ["flush_type d0._device.one.example TLSA", "flush d0._device.one.example"]
    setting.flusher.close()


async def test_of_many_names_the_domain_is_forgotten_and_nothing_of_others(resolver: Resolver) -> None:
    setting = Setting(resolver.path, None)
    some = [*names(1000, "one.example"), *names(2, "uno.example"), *names(40, "else.example")]
    await setting.flushes.names(some, registry="one")
    assert [c for c in resolver.commands if "zone" in c] == [
        "flush_zone one.example",
        "flush_zone _device.else.example",
    ]
    assert len(resolver.commands) == 6
    await setting.flushes.names([])
    await setting.flushes.domains([])
    assert len(resolver.commands) == 6
    setting.flusher.close()


async def test_a_registry_whose_flushes_take_long_waits_for_its_next_one_and_delays_nobody_else(
    resolver: Resolver,
) -> None:
    setting = Setting(resolver.path, None)
    resolver.seconds = 0.2
    loop = asyncio.get_running_loop()
    await setting.flushes.domains(["one.example"], registry="one")
    resolver.seconds = 0.0
    began = loop.time()
    again = asyncio.create_task(setting.flushes.domains(["one.example"], registry="one"))
    await setting.flushes.domains(["two.example"], registry="two")
    await setting.flushes.names(["d1.one.example"], registry="one")
    assert not again.done()
    await again
    # The pause is four times the duration of the first flush.
    assert loop.time() - began >= 0.7
    assert resolver.commands[-1] == "flush_zone one.example"
    setting.flusher.close()


async def test_a_cache_that_is_not_there_is_tried_once_for_a_whole_batch(resolver: Resolver, tmp_path: Path) -> None:
    setting = Setting(tmp_path / "nobody.sock", tmp_path / "nobody-either.sock")
    await setting.flushes.names(names(32, "one.example"))
    assert (setting.failures("unbound"), setting.failures("module")) == (1, 1)
    await setting.flushes.names(names(3, "one.example"), caches=("module",))
    assert (setting.failures("unbound"), setting.failures("module")) == (1, 2)
    # An invalid name does not prevent the flush of the next one.
    other = Setting(resolver.path, None)
    await other.flushes.names(["bad name.one.example", "d1.one.example"])
    assert other.failures("unbound") == 1
    assert resolver.commands == ["flush_type d1.one.example TLSA", "flush d1.one.example"]
    setting.flusher.close()
    other.flusher.close()
