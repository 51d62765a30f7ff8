"""A changed standing moves or ends live sessions, also those that accounting shows only later."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dane_radius.core import Secure
from dane_radius.local import Entry, Standings
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
        self.setting = Setting(folder, nas, Secure((ONE,), 3600), coa=coa, standing_of=self._standing_of)
        self.setting.policy = parse_policy((POLICY % rule).encode())

    def _standing_of(self, name: str) -> DeviceStanding | None:
        return self.standings.of(name, self.setting.now)

    async def change(self, *entries: Entry) -> bool:
        """Put entries in force, as the feed does. Returns whether the effect has begun."""
        before = Standings()
        for entry in self.standings.entries():
            before.apply(entry)
        for entry in entries:
            self.standings.apply(entry)
        names = tuple(entry.name for entry in entries if not entry.maker)
        makers = tuple(entry.name for entry in entries if entry.maker)
        begun = await self.setting.service.standing_changed(StandingNotice(names, makers, before.of))
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
    """The device was admitted just before the change, and its Accounting-Start came just after it."""
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
