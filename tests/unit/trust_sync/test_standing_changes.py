"""A changed standing moves or ends live sessions, also those that accounting shows only later."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dane_radius.core import Secure
from dane_radius.local import EarlierStandings, Entry, Standings
from policy import DeviceStanding, Standing, parse_policy
from tests.harness.process import wait_for
from tests.unit.trust_sync.nas import Nas
from tests.unit.trust_sync.sessions_setting import NAME, ONE, Setting
from trust_sync.shared import StandingNotice

POLICY = """\
version: 2
zones:
  inside: {vlan: 1}
  quarantine: {vlan: 666}
  lab: {vlan: 7, filter_id: lab}
standing: {quarantined: {zone: quarantine}, pending: {zone: quarantine}}
rules:
  - {name: all, identity: ["**.example.net"], %szone: inside}
"""
DISCONNECT, COA = 40, 43


class Place:
    """Sessions, and what is known of their devices."""

    def __init__(self, folder: Path, nas: Nas, *, coa: bool = False, rule: str = "") -> None:
        self.standings, self.nas = Standings(), nas
        self.setting = Setting(folder, nas, Secure((ONE,), 3600), coa=coa, standing_of=self._standing_of, timeout=10.0)
        self.setting.policy = parse_policy((POLICY % rule).encode())

    def _standing_of(self, name: str) -> DeviceStanding | None:
        return self.standings.of(name, self.setting.now)

    async def change(self, *entries: Entry, told: bool = True) -> bool:
        """Put entries in force, as the feed does. Returns whether the effect has begun."""
        before = EarlierStandings(self.standings)
        for entry in entries:
            before.remember(entry.name, maker=entry.maker)
            self.standings.apply(entry)
        names = tuple(entry.name for entry in entries if not entry.maker)
        makers = tuple(entry.name for entry in entries if entry.maker)
        begun = await self.setting.service.standing_changed(StandingNotice(names, makers, before.of, told=told))
        await self.setting.service.settle()
        return begun

    @property
    def codes(self) -> list[int]:
        return [request[0] for request in self.nas.requests]


QUARANTINED, BLOCKED = Entry(NAME, standing=Standing.QUARANTINED), Entry(NAME, standing=Standing.BLOCKED)


@pytest.mark.parametrize(
    ("entry", "coa", "codes"),
    [
        (QUARANTINED, False, [DISCONNECT]),
        (QUARANTINED, True, [COA]),
        (QUARANTINED._replace(zone="lab"), True, [COA]),
        (QUARANTINED._replace(zone="unknown"), True, [DISCONNECT]),
        (BLOCKED, True, [DISCONNECT]),
        # These change nothing of the access.
        (Entry(NAME, standing=Standing.WATCHED), True, []),
        (Entry(NAME, approved=True), True, []),
        (Entry("other.example.net", standing=Standing.BLOCKED), True, []),
    ],
)
async def test_a_session_gets_the_access_of_the_new_standing(
    tmp_path: Path, entry: Entry, coa: bool, codes: list[int]
) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas, coa=coa)
        place.setting.session()
        await place.setting.step()
        assert await place.change(entry)
        assert place.codes == codes
        assert place.setting.state.sessions.pending == {}


async def test_a_release_moves_the_session_back(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas, coa=True)
        place.standings.apply(QUARANTINED)
        place.setting.session()
        await place.setting.step()
        await place.change(Entry(NAME, removed=True))
        assert place.codes == [COA]
        # Tunnel-Private-Group-Id with tag 0: VLAN 1.
        assert b"\x51\x04\x001" in nas.requests[-1]


async def test_what_is_said_of_a_maker_reaches_the_sessions_of_its_devices(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas)
        place.setting.session()
        place.setting.session(2, "b2._device.example.org")
        await place.setting.step()
        await place.change(Entry("example.net", maker=True, standing=Standing.BLOCKED))
        assert place.codes == [DISCONNECT]


@pytest.mark.parametrize("maker", [False, True])
async def test_an_answer_to_a_question_moves_the_waiting_session(tmp_path: Path, maker: bool) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas, coa=True, rule="approval: required, ")
        place.setting.session()
        await place.setting.step()
        await place.change(Entry("example.net" if maker else NAME, maker=maker, approved=True))
        assert place.codes == [COA]
        await place.change(BLOCKED._replace(approved=True))
        assert place.codes == [COA, DISCONNECT]


async def test_a_session_with_an_end_of_its_standing_is_told_the_time(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas, coa=True)
        place.setting.session()
        await place.setting.step()
        await place.change(QUARANTINED._replace(until=place.setting.now + 300))
        # Session-Timeout: 300 s.
        assert b"\x1b\x06\x00\x00\x01\x2c" in nas.requests[-1]


async def test_a_session_that_accounting_shows_later_is_ended_once(tmp_path: Path) -> None:
    """The device was admitted shortly before the change, and its Accounting-Start came shortly after it."""
    with Nas([None]) as nas:
        place = Place(tmp_path, nas)
        await place.setting.step()
        assert await place.change(QUARANTINED)
        assert place.codes == []
        place.setting.session()
        for _ in range(3):
            await place.setting.step(1.5)
        assert place.codes == [DISCONNECT]


async def test_a_release_reaches_the_session_that_accounting_does_not_show_yet(tmp_path: Path) -> None:
    """It still shows the one that the quarantine has ended, and not the one in quarantine."""
    with Nas([None]) as nas:
        place = Place(tmp_path, nas)
        place.setting.session()
        await place.setting.step()
        await place.change(QUARANTINED)
        assert place.codes == [DISCONNECT]
        await place.change(Entry(NAME, removed=True))
        assert place.codes == [DISCONNECT]
        place.setting.session(2)
        for _ in range(3):
            await place.setting.step(1.5)
        assert place.codes == [DISCONNECT] * 2


async def test_a_session_that_began_long_after_the_change_is_not_ended(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas)
        await place.setting.step()
        await place.change(QUARANTINED)
        place.setting.session(started=place.setting.now + 30)
        await place.setting.step(40)
        assert place.codes == []


async def test_what_accounting_cannot_show_is_done_when_it_can(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas)
        place.setting.session()
        await place.setting.step()
        place.setting.database.rename(tmp_path / "away")
        assert not await place.change(QUARANTINED)
        # Later changes wait for it, too, so that none overtakes another.
        assert not await place.change(BLOCKED)
        assert place.setting.service.waiting_standings == 2
        (tmp_path / "away").rename(place.setting.database)
        await asyncio.to_thread(wait_for, lambda: not place.setting.service.waiting_standings, "the retry")
        await place.setting.service.settle()
        wait_for(lambda: place.codes, "the request")
        assert set(place.codes) == {DISCONNECT}
        place.setting.service.close()


@pytest.mark.parametrize(
    ("entry", "codes"),
    [
        (QUARANTINED, [DISCONNECT]),
        (BLOCKED, [DISCONNECT]),
        (Entry(NAME, standing=Standing.WATCHED), []),
        # No rule of this policy asks for an approval.
        (Entry(NAME, approved=True), []),
        (Entry(NAME, zone="lab"), [DISCONNECT]),
    ],
)
async def test_a_session_at_a_place_that_accounting_does_not_store_is_ended(
    tmp_path: Path, entry: Entry, codes: list[int]
) -> None:
    """Its rule depends on the NAS-Identifier, so only the module can say what access the device gets now."""
    with Nas([None]) as nas:
        place = Place(tmp_path, nas, coa=True)
        text = POLICY % "networks: [home], " + "  - {name: others, default: true, refuse: true}\n"
        place.setting.policy = parse_policy(
            text.replace("rules:", "networks: {home: {nas: ['ap-*']}}\nrules:").encode()
        )
        place.setting.session()
        await place.setting.step()
        await place.change(entry)
        assert place.codes == codes


async def test_what_policy_only_monitors_is_not_ended_unless_it_is_blocked(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas, rule="mode: monitor, approval: required, ")
        place.standings.apply(Entry(NAME, approved=True))
        place.setting.policy = parse_policy(
            (POLICY % "mode: monitor, approval: required, ").replace("pending: {zone: quarantine}", "").encode()
        )
        place.setting.session()
        await place.setting.step()
        # Without the approval, the module would refuse, and only monitors that.
        await place.change(Entry(NAME, removed=True))
        assert place.codes == []
        # It refuses a blocked device nevertheless, also one that monitor mode alone has admitted.
        await place.change(BLOCKED)
        assert place.codes == [DISCONNECT]


async def test_a_second_session_by_the_old_standing_is_ended_when_accounting_shows_it(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas)
        place.setting.session()
        await place.setting.step()
        await place.change(QUARANTINED)
        assert place.codes == [DISCONNECT]
        # The same name, admitted elsewhere before the change.
        place.setting.session(2, started=place.setting.now + 3)
        for _ in range(3):
            await place.setting.step(1.5)
        assert place.codes == [DISCONNECT] * 2


async def test_the_device_that_reconnects_after_its_end_is_left_alone(tmp_path: Path) -> None:
    """It has the new standing, although its session began soon after the change."""
    with Nas([None]) as nas:
        place = Place(tmp_path, nas)
        place.setting.session()
        await place.setting.step()
        await place.change(QUARANTINED)
        place.setting.session(3, station="02-01", started=place.setting.now + 1)
        for _ in range(3):
            await place.setting.step(1.5)
        assert place.codes == [DISCONNECT]


async def test_a_reconnection_to_a_module_that_may_not_know_the_change_is_ended_once_more(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas)
        place.setting.session()
        await place.setting.step()
        await place.change(QUARANTINED, told=False)
        place.setting.session(3, station="02-01", started=place.setting.now + 1)
        await place.setting.step(2.5)
        assert place.codes == [DISCONNECT] * 2
        place.setting.session(4, station="02-01", started=place.setting.now + 1)
        for _ in range(3):
            await place.setting.step(1.5)
        assert place.codes == [DISCONNECT] * 2


async def test_a_session_that_the_nas_no_longer_had_may_have_been_followed_by_one_by_the_old_standing(
    tmp_path: Path,
) -> None:
    with Nas([503, None]) as nas:
        place = Place(tmp_path, nas)
        place.setting.session()
        await place.setting.step()
        await place.change(QUARANTINED)
        place.setting.session(3, station="02-01", started=place.setting.now + 1)
        for _ in range(3):
            await place.setting.step(1.5)
        assert place.codes == [DISCONNECT] * 2


async def test_a_late_session_is_not_forgotten_while_accounting_cannot_be_read(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas)
        await place.setting.step()
        await place.change(QUARANTINED)
        place.setting.session()
        place.setting.database.rename(tmp_path / "away")
        await place.setting.step(1.5)
        (tmp_path / "away").rename(place.setting.database)
        await place.setting.step(1.5)
        assert place.codes == [DISCONNECT]


async def test_a_late_session_of_a_makers_device_is_ended(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas)
        await place.setting.step()
        await place.change(Entry("example.net", maker=True, standing=Standing.BLOCKED))
        place.setting.session()
        place.setting.session(2, "b2._device.example.org")
        for _ in range(3):
            await place.setting.step(1.5)
        assert place.codes == [DISCONNECT]


async def test_a_later_change_that_says_the_same_does_not_hide_the_first(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas)
        await place.setting.step()
        await place.change(QUARANTINED)
        await place.change(QUARANTINED._replace(approved=True))
        place.setting.session()
        await place.setting.step(1.5)
        assert place.codes == [DISCONNECT]


async def test_a_moved_session_is_moved_once_for_each_change(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas, coa=True)
        place.setting.session()
        await place.setting.step()
        await place.change(Entry(NAME, standing=Standing.WATCHED))
        await place.change(QUARANTINED)
        for _ in range(3):
            await place.setting.step(1.5)
        assert place.codes == [COA]
        await place.change(Entry(NAME, removed=True))
        for _ in range(3):
            await place.setting.step(1.5)
        assert place.codes == [COA] * 2


async def test_a_session_ends_when_the_standing_that_follows_gives_other_access(tmp_path: Path) -> None:
    """Also if the service is away at that time, and if the access was not changed when the end was set."""
    with Nas([None]) as nas:
        place = Place(tmp_path, nas)
        place.setting.session()
        await place.setting.step()
        end = place.setting.now + 300
        await place.change(Entry(NAME, standing=Standing.WATCHED, until=end, then=Standing.QUARANTINED))
        await place.setting.step(299)
        assert place.codes == []
        await place.setting.step(1)
        assert place.codes == [DISCONNECT]
        # The service says later what follows. The device has reconnected by then.
        place.setting.session(3, station="02-01", started=end + 2)
        await place.setting.step(5)
        await place.change(QUARANTINED)
        await place.setting.step(5)
        assert place.codes == [DISCONNECT]


async def test_a_restart_does_not_forget_the_end_of_a_standing(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas)
        end = place.setting.now + 300
        place.standings.apply(QUARANTINED._replace(until=end))
        place.setting.session()
        await place.setting.step()
        await place.setting.step(300)
        assert place.codes == [DISCONNECT]


async def test_an_end_that_the_service_has_taken_back_ends_nothing(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas)
        place.setting.session()
        await place.setting.step()
        watched = Entry(NAME, standing=Standing.WATCHED, until=place.setting.now + 300, then=Standing.QUARANTINED)
        await place.change(watched)
        await place.change(watched._replace(until=None))
        await place.setting.step(301)
        assert place.codes == []


async def test_a_persons_zone_comes_back_after_the_end_of_a_quarantine(tmp_path: Path) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas, coa=True)
        place.standings.apply(QUARANTINED._replace(approved=True, until=place.setting.now + 300, then_zone="lab"))
        place.setting.policy = parse_policy((POLICY % "").replace(", filter_id: lab", "").encode())
        place.setting.session()
        await place.setting.step()
        await place.setting.step(300)
        assert place.codes == [COA]
        # Tunnel-Private-Group-Id with tag 0: VLAN 7.
        assert b"\x51\x04\x007" in nas.requests[-1]


@pytest.mark.parametrize(
    ("entry", "codes"),
    [
        (BLOCKED._replace(approved=False), [DISCONNECT]),
        # Without a zone, the module refuses this in monitor mode, too.
        (QUARANTINED, [DISCONNECT]),
        (Entry(NAME, standing=Standing.WATCHED), []),
        # What the module would have to say, were the mode not to monitor.
        (Entry(NAME, approved=True), []),
        (Entry(NAME, standing=Standing.PENDING), []),
    ],
)
async def test_a_session_by_monitor_mode_alone_ends_only_by_what_this_mode_refuses(
    tmp_path: Path, entry: Entry, codes: list[int]
) -> None:
    with Nas([None]) as nas:
        place = Place(tmp_path, nas, coa=True)
        text = (POLICY % "mode: monitor, approval: required, ").replace(
            "standing: {quarantined: {zone: quarantine}, pending: {zone: quarantine}}\n", ""
        )
        place.setting.policy = parse_policy(text.encode())
        place.setting.session()
        await place.setting.step()
        await place.change(entry)
        assert place.codes == codes


@pytest.mark.parametrize("network", ["nas: ['ap-*']", "realms: [home.example]"])
async def test_a_session_that_another_rule_may_be_for_is_ended(tmp_path: Path, network: str) -> None:
    """By what accounting stores, the last rule seems to be for it, and that gives the same access as before."""
    rules = f"""\
networks: {{home: {{{network}}}}}
rules:
  - {{name: home, identity: ["**.example.net"], networks: [home], standing: [normal, quarantined], zone: inside}}
  - {{name: all, identity: ["**.example.net"], standing: [normal, quarantined], zone: inside}}
  - {{name: watched, identity: ["**.example.net"], networks: [home], zone: lab}}
  - {{name: rest, identity: ["**.example.net"], zone: inside}}
"""
    with Nas([None]) as nas:
        place = Place(tmp_path, nas, coa=True)
        place.setting.policy = parse_policy((POLICY.partition("rules:")[0] + rules).encode())
        place.setting.session()
        await place.setting.step()
        await place.change(Entry(NAME, approved=True))
        assert place.codes == []
        await place.change(Entry(NAME, standing=Standing.WATCHED))
        assert place.codes == [DISCONNECT]
