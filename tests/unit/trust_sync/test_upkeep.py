"""Anchors that discovery found: kept while their zones say so, looked at again on schedule, and gone in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.core.anchor_record import AnchorRecord, AnchorSource
from dane_radius.core.answers import Absence, Answer, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from dane_radius.core.tlsa import TlsaRecord
from dane_radius.local.config import LogConfig
from dane_radius.local.log import open_log
from policy import Policy, parse_policy
from tests.harness.pki import Authority, authority, self_signed
from tests.harness.trust_sync import authority_path
from trust_sync.certificate import parse_certificate
from trust_sync.config import DiscoveryConfig
from trust_sync.discovery import Discoverer
from trust_sync.fetch import Fetched, Fetcher, FetchFailed, FetchProblem
from trust_sync.lookup import Lookup
from trust_sync.metrics import Metrics
from trust_sync.reasons import Reason
from trust_sync.reasons import State as Outcomes
from trust_sync.retirement import Holding, retire
from trust_sync.state import State
from trust_sync.store import MAX_DOMAINS, AnchorStore, TooManyDomainsError
from trust_sync.upkeep import Upkeep, spelled_out

NOW = datetime.now(UTC)
DOMAIN = "_device.example.net"
ONE, TWO = f"a1.{DOMAIN}", f"b2.{DOMAIN}"
DAY = 86_400.0
WILD = "version: 1\nrules:\n  - {name: all, identity: ['**.example.net'], pkix_cd: true, grant: {vlan: 1}}\n"
OLD, NEW = authority("Old CA"), authority("New CA")
DEVICE = OLD.issue(ONE)
ABSENT = SecureAbsent(Absence.NXDOMAIN, 60)
FAILURES = [Unavailable("down"), Bogus(6, "bad"), Insecure("no AD")]


class World:
    """What the DNS and the web say, both chosen by a test, and a clock that it moves."""

    def __init__(self, folder: Path, policy: str = WILD, **limits: Any) -> None:
        self.now, self.policy = NOW.timestamp(), parse_policy(policy.encode())
        self.answers: dict[str, Answer] = {}
        self.files: dict[str, Fetched] = {}
        self.asked: list[str] = []
        self.live: list[str] = []
        self.store, self.state, self.metrics = AnchorStore(folder / "anchors"), State(), Metrics([])
        self.config = DiscoveryConfig(**limits)
        log, _ = open_log(LogConfig(destination="none"))
        self.discoverer = Discoverer(
            self.config,
            lambda: self.policy,
            self.store,
            cast(Lookup, self),
            cast(Fetcher, self),
            lambda: datetime.fromtimestamp(self.now, UTC),
        )
        self.upkeep = Upkeep(
            self.config,
            lambda: self.policy,
            self.store,
            cast(Lookup, self),
            self.discoverer,
            self.state,
            lambda: self.live,
            self.metrics,
            log,
            lambda: self.now,
        )

    async def tlsa(self, name: str) -> Answer:
        self.asked.append(name)
        return self.answers.get(name, ABSENT)

    async def get(self, host: str, path: str) -> Fetched:
        self.asked.append(path)
        if path not in self.files:
            raise FetchFailed(FetchProblem.STATUS, "status 404, 200 is expected")
        return self.files[path]

    def say(self, name: str, *records: TlsaRecord, ttl: int = 60) -> None:
        self.answers[name] = Secure(records, ttl)

    async def find(self, name: str) -> None:
        outcome = await self.discoverer.discover(name)
        assert outcome.state is Outcomes.FOUND, outcome
        self.upkeep.remember(outcome)

    async def later(self, seconds: float) -> None:
        self.now += seconds
        await self.upkeep.step()

    @property
    def held(self) -> set[str]:
        return set(self.store.records)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with_world = World(tmp_path)
    yield with_world
    with_world.store.close()


# what goes, and what stays


@pytest.mark.parametrize("answer", FAILURES)
@pytest.mark.parametrize("record", [OLD.tlsa(2, 0, 0), DEVICE.tlsa(3, 0, 0)])
async def test_no_failure_ever_takes_an_anchor_away(world: World, answer: Answer, record: TlsaRecord) -> None:
    world.say(ONE, record)
    await world.find(ONE)
    before = world.held
    world.answers[ONE] = answer
    for _ in range(60):
        await world.later(DAY)
    assert world.held == before
    assert world.state.evidence[ONE].failures > 10
    assert world.state.evidence[ONE].last_error
    assert world.state.unbacked == {}


@pytest.mark.parametrize("answer", [ABSENT, Secure((DEVICE.tlsa(3, 1, 1),), 60), Secure((), 60)])
async def test_a_devices_own_certificate_goes_with_its_record(world: World, answer: Answer) -> None:
    device = self_signed(ONE)
    world.say(ONE, device.tlsa(3, 0, 0))
    await world.find(ONE)
    assert world.held == {device.fingerprint}
    world.answers[ONE] = answer
    await world.later(301)
    assert world.held == set()
    assert ONE not in world.state.evidence


async def test_a_ca_goes_a_while_after_the_last_name_that_led_to_it(world: World) -> None:
    for name in (ONE, TWO):
        world.say(name, OLD.tlsa(2, 0, 0))
        await world.find(name)
    del world.answers[ONE]
    for _ in range(10):
        await world.later(DAY)
    # The other one's record is good for it.
    assert world.held == {OLD.fingerprint}
    del world.answers[TWO]
    await world.later(DAY)
    assert world.state.evidence == {}
    for _ in range(6):
        await world.later(DAY)
        assert world.held == {OLD.fingerprint}
    await world.later(DAY)
    assert world.held == set()


async def test_a_name_that_turns_up_in_between_keeps_it(world: World) -> None:
    world.say(ONE, OLD.tlsa(2, 0, 0))
    await world.find(ONE)
    del world.answers[ONE]
    await world.later(5 * DAY)
    assert world.state.unbacked
    world.say(TWO, OLD.tlsa(2, 0, 0))
    await world.find(TWO)
    for _ in range(10):
        await world.later(DAY)
    assert world.held == {OLD.fingerprint}
    assert world.state.unbacked == {}


async def test_while_a_ca_is_rolled_both_are_held_and_then_the_new_one_alone(world: World) -> None:
    world.say(ONE, OLD.tlsa(2, 0, 0))
    await world.find(ONE)
    world.say(ONE, OLD.tlsa(2, 0, 0), NEW.tlsa(2, 0, 0))
    await world.later(301)
    assert world.held == {OLD.fingerprint, NEW.fingerprint}
    for _ in range(20):
        await world.later(DAY)
    assert world.held == {OLD.fingerprint, NEW.fingerprint}
    world.say(ONE, NEW.tlsa(2, 0, 0))
    for _ in range(9):
        await world.later(DAY)
    assert world.held == {NEW.fingerprint}


async def test_a_ca_behind_a_url_stays_while_the_record_names_it_whatever_the_web_server_says(world: World) -> None:
    world.say(ONE, DEVICE.tlsa(4, 0, 0))
    path = authority_path(OLD)
    world.files[path] = Fetched(OLD.pem, 600.0)
    await world.find(ONE)
    del world.files[path]
    for _ in range(20):
        await world.later(DAY)
    assert world.held == {OLD.fingerprint}
    assert "status 404" in (world.state.evidence[ONE].last_error or "")
    sample = world.metrics.registry.get_sample_value("trust_sync_refresh_failures_total", {"reason": "status"})
    assert sample is not None
    assert sample > 5
    # A device of another CA now: the old CA has nothing behind it, the new one is asked for until it is there.
    world.say(ONE, NEW.issue(ONE).tlsa(4, 0, 0))
    await world.later(2 * DAY)
    assert world.state.evidence[ONE].fingerprints == []
    world.files[authority_path(NEW)] = Fetched(NEW.pem, 600.0)
    await world.later(2 * DAY)
    assert world.held == {OLD.fingerprint, NEW.fingerprint}
    for _ in range(8):
        await world.later(DAY)
    assert world.held == {NEW.fingerprint}


async def test_the_last_ca_of_a_domain_with_live_sessions_stays(world: World) -> None:
    world.say(ONE, OLD.tlsa(2, 0, 0))
    await world.find(ONE)
    del world.answers[ONE]
    world.live = [TWO]
    for _ in range(20):
        await world.later(DAY)
    assert world.held == {OLD.fingerprint}
    world.live = ["x._device.example.org"]
    for _ in range(9):
        await world.later(DAY)
    assert world.held == set()


async def test_what_a_registry_lists_is_not_discoverys_to_take_away(world: World) -> None:
    world.say(ONE, OLD.tlsa(2, 0, 0))
    await world.find(ONE)
    world.store.add(parse_certificate(OLD.der), ["example.net"], AnchorSource.REGISTRY, NOW)
    assert world.store.records[OLD.fingerprint].source is AnchorSource.REGISTRY
    assert world.store.discovered == 0
    del world.answers[ONE]
    for _ in range(20):
        await world.later(DAY)
    assert world.held == {OLD.fingerprint}


async def test_a_policy_that_drops_a_domain_ends_the_looking_and_in_time_the_anchor(world: World) -> None:
    world.say(ONE, OLD.tlsa(2, 0, 0))
    await world.find(ONE)
    world.policy = parse_policy(WILD.replace("example.net", "example.org").encode())
    world.asked.clear()
    for _ in range(9):
        await world.later(DAY)
    assert world.asked == []
    assert world.held == set()


async def test_a_lost_state_file_costs_no_anchor_that_is_still_published(tmp_path: Path) -> None:
    device = self_signed(ONE)
    first = World(tmp_path)
    first.say(ONE, device.tlsa(3, 0, 0))
    await first.find(ONE)
    first.store.close()
    second = World(tmp_path)
    try:
        second.say(ONE, device.tlsa(3, 0, 0))
        for _ in range(9):
            await second.later(DAY)
        assert second.held == {device.fingerprint}
        del second.answers[ONE]
        await second.later(DAY)
        assert second.held == set()
    finally:
        second.store.close()


async def test_a_store_that_cannot_be_changed_keeps_its_anchor_and_lets_go_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.say(ONE, OLD.tlsa(2, 0, 0))
    await world.find(ONE)
    del world.answers[ONE]
    await world.later(DAY)

    def full(line: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world.store, "_append", full)
    await world.later(9 * DAY)
    assert world.held == {OLD.fingerprint}
    assert world.metrics.registry.get_sample_value("trust_sync_store_failures_total")
    monkeypatch.undo()
    await world.later(DAY)
    assert world.held == set()


# schedules


@pytest.mark.parametrize(("ttl", "max_age", "wait"), [(60, None, 300), (3600, 600.0, 600), (3600, None, 3600),
                                                     (10**6, None, 86_400), (3600, 0.0, 300)])  # fmt: skip
async def test_the_next_look_comes_by_ttl_and_cache_control(
    world: World, ttl: int, max_age: float | None, wait: float
) -> None:
    world.say(ONE, DEVICE.tlsa(4, 0, 0), ttl=ttl)
    world.files[authority_path(OLD)] = Fetched(OLD.pem, max_age)
    await world.find(ONE)
    due = world.state.evidence[ONE].due - world.now
    assert wait * 0.9 <= due <= wait
    world.asked.clear()
    await world.later(wait * 0.89)
    assert world.asked == []
    await world.later(wait * 0.12)
    assert world.asked == [ONE, authority_path(OLD)]


async def test_failures_back_off_with_jitter_and_a_success_resets_them(world: World) -> None:
    world.say(ONE, OLD.tlsa(2, 0, 0))
    await world.find(ONE)
    world.answers[ONE] = Unavailable("down")
    waits = []
    for _ in range(12):
        await world.later(max(0.0, world.state.evidence[ONE].due - world.now))
        waits.append(world.state.evidence[ONE].due - world.now)
    for number, wait in enumerate(waits):
        full = min(DAY, 300.0 * 2**number)
        assert 0.9 * full <= wait <= full
    world.say(ONE, OLD.tlsa(2, 0, 0))
    await world.later(DAY)
    assert world.state.evidence[ONE].failures == 0
    assert world.state.evidence[ONE].last_error is None


async def test_a_name_without_anchors_that_keeps_failing_is_forgotten(world: World) -> None:
    world.say(ONE, DEVICE.tlsa(4, 0, 0))
    world.files[authority_path(OLD)] = Fetched(OLD.pem, None)
    await world.find(ONE)
    world.files.clear()
    world.say(ONE, NEW.issue(ONE).tlsa(4, 0, 0))
    for _ in range(12):
        await world.later(DAY)
    assert world.state.evidence == {}


async def test_names_that_policy_spells_out_are_found_before_anybody_turns_up(tmp_path: Path) -> None:
    text = "version: 1\nrules:\n  - {name: one, identity: ['%s'], grant: {vlan: 1}}\n" % ONE  # noqa: UP031
    world = World(tmp_path, text)
    try:
        world.say(ONE, OLD.tlsa(2, 0, 0))
        await world.later(0)
        assert world.held == {OLD.fingerprint}
        # Not there for now: it is looked for again, for as long as policy names it, and not all the time.
        world.answers[ONE] = ABSENT
        await world.later(301)
        world.asked.clear()
        await world.later(1)
        assert world.asked == []
        world.say(ONE, NEW.tlsa(2, 0, 0))
        await world.later(301)
        assert NEW.fingerprint in world.held
        world.policy = parse_policy(WILD.replace("example.net", "example.org").encode())
        await world.later(DAY)
        assert world.state.evidence == {}
    finally:
        world.store.close()


def test_only_names_with_access_and_without_wildcards_are_spelled_out() -> None:
    policy: Policy = parse_policy(
        b"version: 1\nrules:\n"
        b"  - {name: denied, identity: ['a.x.example'], deny: true}\n"
        b"  - {name: granted, identity: ['b.x.example', 'a.x.example', '*.y.example', '**.z.example'],"
        b" grant: {vlan: 1}}\n"
    )
    assert spelled_out(policy) == ["b.x.example"]


async def test_a_clock_that_is_set_back_by_years_does_not_put_the_next_look_off_by_years(world: World) -> None:
    world.now += 3650 * DAY
    world.say(ONE, self_signed(ONE, days=9999).tlsa(3, 0, 0))
    await world.find(ONE)
    world.asked.clear()
    await world.later(-3650 * DAY)
    assert world.asked == [ONE]
    await world.later(1)
    assert world.asked == [ONE]


# bounds


async def test_discovered_anchors_are_bounded_for_a_domain_and_in_all_and_known_ones_still_refresh(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, max_anchors_per_domain=2, max_anchors=3)
    try:
        devices = {f"d{n}.{place}.example.net": self_signed(f"d{n}.{place}.example.net")
                   for place in ("_one", "_two") for n in range(3)}  # fmt: skip
        reasons = []
        for name, device in devices.items():
            world.say(name, device.tlsa(3, 0, 0))
            outcome = await world.discoverer.discover(name)
            world.upkeep.remember(outcome)
            reasons.append(outcome.reason)
        found, full = Reason.INSTALLED, Reason.TOO_MANY_ANCHORS
        assert reasons == [found, found, full, found, full, full]
        await world.later(301)
        assert all(evidence.failures == 0 for evidence in world.state.evidence.values())
        assert len(world.held) == 3
    finally:
        world.store.close()


async def test_names_that_are_looked_after_are_bounded(tmp_path: Path) -> None:
    world = World(tmp_path, max_names=3)
    try:
        for number in range(6):
            name = f"d{number}.{DOMAIN}"
            world.say(name, self_signed(name).tlsa(3, 0, 0))
            await world.find(name)
            await asyncio.sleep(0)
        assert len(world.state.evidence) == 3
        # Anchors of names that fell out are on their way out: they do not add up for ever.
        for _ in range(9):
            await world.later(DAY)
        assert len(world.held) == 3
    finally:
        world.store.close()


async def test_one_name_installs_a_few_anchors_at_the_most(world: World) -> None:
    world.say(ONE, *(authority(f"CA {n}").tlsa(2, 0, 0) for n in range(20)))
    await world.find(ONE)
    assert len(world.held) == 4


def test_a_well_known_ca_does_not_take_on_domains_without_end(tmp_path: Path) -> None:
    with AnchorStore(tmp_path) as store:
        certificate = parse_certificate(OLD.der)
        for number in range(MAX_DOMAINS):
            store.add(certificate, [f"_x{number}.evil.example"], AnchorSource.DANE_TA, NOW)
        with pytest.raises(TooManyDomainsError):
            store.add(certificate, ["_one.more.example"], AnchorSource.DANE_TA, NOW)
        assert store.add(certificate, ["example.net"], AnchorSource.REGISTRY, NOW)


# the decision


def record(ca: Authority, source: AnchorSource, *domains: str, age: float = 0) -> AnchorRecord:
    return AnchorRecord(ca.fingerprint, "f.pem", "CN=x", "", domains, source, NOW - timedelta(seconds=age), NOW)


def test_of_two_cas_without_backing_the_later_one_stays_with_live_sessions() -> None:
    records = [record(OLD, AnchorSource.DANE_TA, DOMAIN, age=50), record(NEW, AnchorSource.PKIX_CD, DOMAIN)]
    since = {Holding(ca.fingerprint, DOMAIN): 0.0 for ca in (OLD, NEW)}
    outcome = retire(records, set(), since, {DOMAIN}, lambda domain: records, 1000.0, 100.0)
    assert outcome.gone == (Holding(OLD.fingerprint, DOMAIN),)
    assert outcome.unbacked == {Holding(NEW.fingerprint, DOMAIN): 1000.0}


def test_each_domain_of_an_anchor_is_judged_by_itself() -> None:
    records = [record(OLD, AnchorSource.DANE_TA, "_a.example.net", "_b.example.net")]
    backed = {Holding(OLD.fingerprint, "_b.example.net")}
    outcome = retire(records, backed, {}, set(), lambda domain: records, 5.0, 0.0)
    assert outcome.gone == (Holding(OLD.fingerprint, "_a.example.net"),)


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_clock_that_steps_back_retires_nothing_early(began: float, now: float) -> None:
    records = [record(OLD, AnchorSource.DANE_TA, DOMAIN)]
    holding = Holding(OLD.fingerprint, DOMAIN)
    outcome = retire(records, set(), {holding: began}, set(), lambda domain: [], now, 100.0)
    assert bool(outcome.gone) == (now - began >= 100.0)


@pytest.mark.parametrize("source", [AnchorSource.REGISTRY, AnchorSource.MANUAL])
def test_configured_anchors_are_never_retired(source: AnchorSource) -> None:
    records = [record(OLD, source, DOMAIN)]
    assert retire(records, set(), {}, set(), lambda domain: records, 1e12, 0.0).gone == ()
