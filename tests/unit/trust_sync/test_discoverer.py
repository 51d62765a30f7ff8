"""The Discoverer: policy and limits come before any lookup, and each name is searched for once at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from dane_radius.core import AnchorSource, Answer
from tests.harness.pki import self_signed
from tests.unit.trust_sync.discovery_world import DEVICE, DOMAIN, NOW, OLD, ONE, TWO, World
from trust_sync.anchors import parse_certificate
from trust_sync.discovery import AnchorSearch, DiscoveryStatus, Outcome, Reason
from trust_sync.discovery.discoverer import Discoverer
from trust_sync.discovery.fetch import Fetcher
from trust_sync.discovery.installer import StoreInstaller
from trust_sync.shared import DnsClient

# Far longer than any discovery here takes.
PATIENCE_SECONDS = 30.0


class Hints:
    """A discoverer whose lookups wait until a test lets them go on."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.world = World(folder, **limits)
        self.outcomes: list[Outcome] = []
        self.go_on = asyncio.Event()
        self.clock = 0.0
        context = replace(self.world.context, dns=cast(DnsClient, self))
        installer = StoreInstaller(context.config, self.world.store, context.wall)
        self.search = AnchorSearch(context, cast(Fetcher, self.world), installer, lambda: self.clock)
        self.discoverer = Discoverer(
            context, self.search, lambda outcome, _: self.outcomes.append(outcome), lambda: self.clock
        )

    async def tlsa(self, name: str) -> Answer:
        answer = await self.world.tlsa(name)
        await self.go_on.wait()
        return answer

    async def begin(self, name: str) -> Outcome:
        """Hint, and do not wait for the outcome."""
        return await self.discoverer.hint(name, 0.0)

    async def hint(self, name: str) -> Outcome:
        """Hint, and wait for the outcome."""
        self.go_on.set()
        return await self.discoverer.hint(name, PATIENCE_SECONDS)

    async def finish(self) -> None:
        """Let all lookups go on, and wait for the end of their discoveries."""
        self.go_on.set()
        await asyncio.gather(*self.discoverer._running.values())


@pytest_asyncio.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Hints]]:
    made: list[Hints] = []

    def build(**limits: Any) -> Hints:
        made.append(Hints(tmp_path, **limits))
        return made[-1]

    yield build
    for hints in made:
        await hints.finish()
        hints.world.store.close()


@pytest.mark.parametrize(
    ("claimed", "reason"),
    [
        ("a1._device.example.org", Reason.POLICY_NO_RULE),
        ("*.example.net", Reason.NAME_MALFORMED),
        ("10.0.0.1", Reason.NAME_MALFORMED),
        ("a\0b.example.net", Reason.NAME_MALFORMED),
        ("x" * 300, Reason.NAME_MALFORMED),
    ],
)
async def test_what_policy_does_not_cover_or_is_no_name_is_never_looked_up(
    make: Callable[..., Hints], claimed: str, reason: Reason
) -> None:
    hints = make()
    outcome = await hints.hint(claimed)
    assert (outcome.status, outcome.reason) == (DiscoveryStatus.REFUSED, reason)
    assert len(outcome.name) <= 253
    assert hints.world.asked == []
    assert hints.outcomes == [outcome]


async def test_discovery_that_is_switched_off_looks_nothing_up(make: Callable[..., Hints]) -> None:
    hints = make(enabled=False)
    assert (await hints.hint(ONE)).reason is Reason.DISABLED
    assert hints.world.asked == []


async def test_a_name_is_searched_for_once_however_many_devices_claim_it(make: Callable[..., Hints]) -> None:
    hints = make()
    hints.world.say(ONE, OLD.tlsa(2, 0, 0))
    pending = [await hints.begin(name) for name in (ONE, ONE, ONE.upper() + ".")]
    assert {outcome.status for outcome in pending} == {DiscoveryStatus.PENDING}
    assert (await hints.hint(ONE)).status is DiscoveryStatus.FOUND
    assert hints.world.asked == [ONE]
    assert hints.world.held == {OLD.fingerprint}
    # Another device of the same CA needs no lookup.
    assert (await hints.hint(TWO)).status is DiscoveryStatus.KNOWN
    assert hints.world.asked == [ONE]


async def test_a_device_certificate_that_is_held_makes_its_own_name_known_and_no_other(
    make: Callable[..., Hints],
) -> None:
    hints = make()
    hints.world.store.add(parse_certificate(self_signed(ONE).der), [ONE], AnchorSource.LEAF, NOW)
    assert (await hints.hint(ONE)).status is DiscoveryStatus.KNOWN
    assert (await hints.hint(TWO)).reason is Reason.TLSA_ABSENT


async def test_discoveries_at_once_are_limited_in_total_and_for_a_domain(make: Callable[..., Hints]) -> None:
    hints = make(concurrent=3, concurrent_per_domain=2)
    first = [(await hints.begin(f"d{n}.{DOMAIN}")).reason for n in range(3)]
    assert first == [Reason.STILL_LOOKING, Reason.STILL_LOOKING, Reason.OVERLOADED]
    second = [(await hints.begin(f"d{n}._other.example.net")).reason for n in range(2)]
    assert second == [Reason.STILL_LOOKING, Reason.OVERLOADED]
    await hints.finish()
    # Their places are free again.
    assert (await hints.hint(f"d9.{DOMAIN}")).reason is Reason.TLSA_ABSENT


async def test_discoveries_are_limited_by_rate(make: Callable[..., Hints]) -> None:
    hints = make(rate=100.0, rate_per_domain=2.0)
    reasons = [(await hints.hint(f"d{n}.{DOMAIN}")).reason for n in range(5)]
    assert reasons == [Reason.TLSA_ABSENT] * 2 + [Reason.RATE_LIMITED] * 3
    assert (await hints.hint("d0._other.example.net")).reason is Reason.TLSA_ABSENT
    hints.clock += 1.0
    assert (await hints.hint(f"d9.{DOMAIN}")).reason is Reason.TLSA_ABSENT


async def test_a_failure_is_remembered_for_a_while(make: Callable[..., Hints]) -> None:
    hints = make(negative_ttl=60.0)
    assert (await hints.hint(ONE)).reason is Reason.TLSA_ABSENT
    hints.world.say(ONE, OLD.tlsa(2, 0, 0))
    assert (await hints.hint(ONE)).reason is Reason.FAILED_RECENTLY
    assert hints.world.asked == [ONE]
    hints.clock += 61.0
    assert (await hints.hint(ONE)).status is DiscoveryStatus.FOUND


async def test_an_authority_that_failed_is_not_asked_again_for_another_device(make: Callable[..., Hints]) -> None:
    hints = make()
    hints.world.say(ONE, DEVICE.tlsa(4, 0, 0))
    hints.world.say(TWO, OLD.issue(TWO).tlsa(4, 0, 0))
    assert (await hints.hint(ONE)).reason is Reason.STATUS
    assert (await hints.hint(TWO)).reason is Reason.FAILED_RECENTLY
    assert len([path for path in hints.world.asked if path.startswith("/.well-known/ca/")]) == 1


async def test_a_discovery_that_takes_too_long_is_ended(make: Callable[..., Hints]) -> None:
    hints = make(timeout=0.05)
    outcome = await hints.discoverer.hint(ONE, PATIENCE_SECONDS)
    assert outcome.reason is Reason.TIMEOUT
    # Nothing is left of it.
    await hints.finish()
    assert hints.discoverer._running_by_domain == {}


async def test_a_defect_is_an_outcome(make: Callable[..., Hints], monkeypatch: pytest.MonkeyPatch) -> None:
    hints = make()

    async def stumble(name: str) -> Outcome:
        raise RuntimeError("a defect")

    monkeypatch.setattr(hints.search, "find", stumble)
    outcome = await hints.hint(ONE)
    assert (outcome.status, outcome.reason) == (DiscoveryStatus.REFUSED, Reason.INTERNAL_ERROR)
