"""What the caches are told to forget, over real control sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from dane_radius.local.config import LogConfig
from dane_radius.local.log import open_log
from trust_sync.config import RegistryConfig
from trust_sync.flush import Flusher
from trust_sync.forget import Forgetting
from trust_sync.metrics import Metrics
from trust_sync.owners import Notices, Owners
from trust_sync.standing import Trigger


def registry(name: str, *domains: str) -> RegistryConfig:
    return RegistryConfig(name=name, url="https://localhost", api_key_file="/dev/null", domains=list(domains))


REGISTRIES = [registry("one", "one.example", "uno.example"), registry("two", "two.example")]


class Resolver:
    """Unbound's control socket, as far as flushing needs it."""

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
        self.metrics, self.now = Metrics([]), 1000.0
        log, _ = open_log(LogConfig(destination="none"))
        self.flusher = Flusher(str(unbound) if unbound else None, str(module) if module else None, self.metrics, log)
        self.forgetting = Forgetting(self.flusher, Owners(REGISTRIES), asyncio.get_running_loop().time)

    def failures(self, cache: str) -> float:
        return cast(float, self.metrics.registry.get_sample_value("trust_sync_flush_failures_total", {"cache": cache}))


def names(count: int, domain: str) -> list[str]:
    return [f"d{n}._device.{domain}" for n in range(count)]


async def test_few_names_are_forgotten_one_by_one(resolver: Resolver) -> None:
    setting = Setting(resolver.path, None)
    await setting.forgetting.names(names(32, "one.example"), registry="one")
    assert len(resolver.commands) == 64
    assert resolver.commands[:2] == ["flush_type d0._device.one.example TLSA", "flush d0._device.one.example"]
    setting.flusher.close()


async def test_of_many_names_the_domain_is_forgotten_and_nothing_of_others(resolver: Resolver) -> None:
    setting = Setting(resolver.path, None)
    some = [*names(1000, "one.example"), *names(2, "uno.example"), *names(40, "else.example")]
    await setting.forgetting.names(some, registry="one")
    assert [c for c in resolver.commands if "zone" in c] == [
        "flush_zone one.example",
        "flush_zone _device.else.example",
    ]
    assert len(resolver.commands) == 6
    await setting.forgetting.names([])
    await setting.forgetting.below([])
    assert len(resolver.commands) == 6
    setting.flusher.close()


async def test_a_registry_whose_flushes_take_long_waits_for_its_next_one_and_delays_nobody_else(
    resolver: Resolver,
) -> None:
    setting = Setting(resolver.path, None)
    resolver.seconds = 0.2
    loop = asyncio.get_running_loop()
    await setting.forgetting.below(["one.example"], registry="one")
    resolver.seconds = 0.0
    began = loop.time()
    again = asyncio.create_task(setting.forgetting.below(["one.example"], registry="one"))
    await setting.forgetting.below(["two.example"], registry="two")
    await setting.forgetting.names(["d1.one.example"], registry="one")
    assert not again.done()
    await again
    # Four times as long as the first one took.
    assert loop.time() - began >= 0.7
    assert resolver.commands[-1] == "flush_zone one.example"
    setting.flusher.close()


async def test_a_cache_that_is_not_there_is_tried_once_for_a_whole_batch(resolver: Resolver, tmp_path: Path) -> None:
    setting = Setting(tmp_path / "nobody.sock", tmp_path / "nobody-either.sock")
    await setting.forgetting.names(names(32, "one.example"))
    assert (setting.failures("unbound"), setting.failures("module")) == (1, 1)
    await setting.forgetting.names(names(3, "one.example"), caches=("module",))
    assert (setting.failures("unbound"), setting.failures("module")) == (1, 2)
    # A name that cannot be flushed does not keep the next one from being.
    other = Setting(resolver.path, None)
    await other.forgetting.names(["bad name.one.example", "d1.one.example"])
    assert other.failures("unbound") == 1
    assert resolver.commands == ["flush_type d1.one.example TLSA", "flush d1.one.example"]
    setting.flusher.close()
    other.flusher.close()


# owners


@pytest.mark.parametrize(
    ("name", "owner", "source", "domain"),
    [
        ("a.cam._device.one.example", "one", "registry one", "one.example"),
        ("uno.example", "one", "registry one", "uno.example"),
        ("a.two.example", "two", "registry two", "two.example"),
        ("a.none.example", None, "none.example", "none.example"),
        ("a.cam._device.none.example", None, "_device.none.example", "_device.none.example"),
        ("a.notone.example", None, "notone.example", "notone.example"),
    ],
)
def test_whose_name_it_is(name: str, owner: str | None, source: str, domain: str) -> None:
    owners = Owners(REGISTRIES)
    assert (owners.registry(name), owners.source(name), owners.domain(name)) == (owner, source, domain)


def test_what_was_said_is_remembered_for_a_while_and_of_each_registry_apart() -> None:
    notices = Notices(Owners(REGISTRIES), REGISTRIES)
    notices.add("one", "a.one.example", Trigger.REVOKED, 0.0)
    notices.add("one", "a.one.example", Trigger.FEED, 1.0)
    notices.add("one", "b.one.example", Trigger.FEED, 1.0)
    notices.add("one", "c.one.example", Trigger.ROLLOVER, 1.0)
    for number in range(50_000):
        notices.add("two", f"d{number}.two.example", Trigger.REVOKED, 1.0)
    found = [
        notices.of(f"{name}.example", 2.0) for name in ("a.one", "b.one", "c.one", "d1.two", "d49999.two", "a.else")
    ]
    assert found == [Trigger.REVOKED, Trigger.FEED, Trigger.TTL, Trigger.TTL, Trigger.REVOKED, Trigger.TTL]
    assert notices.of("a.one.example", 120.5) is Trigger.FEED
    assert notices.of("a.one.example", 122.0) is Trigger.TTL
