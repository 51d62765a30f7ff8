"""The operations feed: what a service can say that lies, repeats itself, goes back or is another one, over real TLS."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dane_radius.local import JOURNAL_FILE, Entry, StandingTable
from policy import DeviceStanding, Standing
from tests.unit.trust_sync.feed_setting import Registry
from tests.unit.trust_sync.standing_setting import NAME, NOW, OTHER, Setting, change, entry
from trust_sync.feeds import FeedError
from trust_sync.shared import OPERATIONS
from trust_sync.standing import JournalError, StandingJournal


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("operations"), ["localhost"]) as started:
        yield started


@pytest.fixture
async def make(tmp_path: Path, server: Registry) -> Any:
    made: list[Setting] = []

    def build(**options: Any) -> Setting:
        if made:
            made[-1].journal.close()
        made.append(Setting(tmp_path / "standing", server, **options))
        return made[-1]

    yield build
    for setting in made:
        await setting.feed.close()
        setting.journal.close()
    # Transports that were closed end when the server has answered, which nothing else waits for.
    await asyncio.sleep(0.02)


@pytest.fixture
def setting(make: Callable[..., Setting]) -> Setting:
    return make()


async def test_standing_comes_with_the_snapshot_and_follows_the_changes(setting: Setting) -> None:
    await setting.begin(entry(), entry("example.org", "normal", "maker", approved=True))
    assert setting.standing() == "quarantined"
    assert setting.journal.standings.of("x._device.example.org", NOW) == DeviceStanding(approved=True)
    assert [notice.everything for notice in setting.heard.notices] == [True]
    await setting.poll(change(11, OTHER, "blocked"), change(12, standing="normal"))
    assert (setting.standing(), setting.standing(OTHER)) == (None, "blocked")
    assert setting.heard.changes == [(OTHER, None, "blocked"), (NAME, "quarantined", None)]
    assert setting.position.seq == setting.journal.position == 12
    assert setting.saved == 2


async def test_nothing_is_available_before_the_first_snapshot(setting: Setting) -> None:
    setting.answer("/snapshot", 503)
    with pytest.raises(FeedError, match="503"):
        await setting.feed.step(0)
    assert not (setting.folder / JOURNAL_FILE).exists()


async def test_names_are_compared_as_dns_names(setting: Setting) -> None:
    await setting.begin(entry("A1.Camera._device.Example.NET."))
    assert setting.standing() == "quarantined"


async def test_a_restart_goes_on_where_the_journal_ends(make: Callable[..., Setting]) -> None:
    await make().begin(entry())
    again = make()
    assert again.position.seq == 10
    assert again.standing() == "quarantined"
    again.answer("/changes", 503)
    again.answer("/snapshot", 503)
    for _ in range(10):
        again.now += 86_400
        with pytest.raises(FeedError):
            await again.feed.step(0)
    assert again.standing() == "quarantined"


async def test_missed_changes_lead_to_a_comparison(setting: Setting) -> None:
    await setting.begin(entry(), entry(OTHER))
    setting.answer("/changes", 410)
    await setting.feed.step(0)
    await setting.begin(entry(OTHER, "blocked"), seq=30)
    assert (setting.standing(), setting.standing(OTHER)) == (None, "blocked")
    assert setting.heard.changes == [(OTHER, "quarantined", "blocked"), (NAME, "quarantined", None)]


async def test_what_is_repeated_changes_nothing(setting: Setting) -> None:
    await setting.begin(entry())
    size = (setting.folder / JOURNAL_FILE).stat().st_size
    await setting.begin(entry())
    assert len(setting.heard.notices) == 1
    # A snapshot adds its position only.
    assert (setting.folder / JOURNAL_FILE).stat().st_size < size + 30
    await setting.poll(change(10, standing="normal"), change(11, OTHER))
    assert (setting.standing(), setting.standing(OTHER)) == ("quarantined", "quarantined")


# --- what cannot be read


async def test_an_unknown_word_blocks(setting: Setting) -> None:
    await setting.begin()
    await setting.poll(change(11, standing="suspended"))
    assert setting.standing() == "blocked"


UNREADABLE: list[dict[str, Any]] = [
    {"standing": None}, {"standing": 7}, {"approved": 1}, {"zone": 7}, {"zone": ""}, {"until": "tomorrow"},
    {"until": -1}, {"until": True}, {"then": 7}, {"removed": "yes"},
]  # fmt: skip


@pytest.mark.parametrize("more", UNREADABLE)
async def test_a_device_of_which_something_unreadable_is_said_is_blocked(
    setting: Setting, more: dict[str, Any]
) -> None:
    await setting.begin()
    await setting.poll({**change(11, standing="normal"), **more}, change(12, OTHER))
    assert (setting.standing(), setting.standing(OTHER)) == ("blocked", "quarantined")
    # A comparison follows.
    setting.now += 11
    await setting.begin(entry(), entry(OTHER), seq=12)
    assert setting.standing() == "quarantined"


NO_DEVICES: list[Any] = [
    "",
    "x",
    "*.example.net",
    "10.0.0.1",
    "a\0.example.net",
    "x" * 300,
    "ä.example.net",
    None,
    7,
    [],
]


@pytest.mark.parametrize("name", NO_DEVICES)
async def test_a_name_that_no_device_can_have_changes_nothing(setting: Setting, name: Any) -> None:
    await setting.begin(entry())
    await setting.poll(change(11, name), change(12, OTHER))
    assert (setting.standing(), setting.standing(OTHER)) == ("quarantined", "quarantined")
    assert len(setting.journal.standings) == 2


@pytest.mark.parametrize("item", [None, 7, "text", [], {}, {"name": NAME}, entry(subject="zone"), entry("*")])
async def test_a_snapshot_with_something_unreadable_takes_nothing_away(setting: Setting, item: Any) -> None:
    await setting.begin(entry())
    await setting.begin(item, entry(OTHER))
    assert (setting.standing(), setting.standing(OTHER)) == ("quarantined", "quarantined")
    assert setting.metrics.registry.get_sample_value(
        "trust_sync_source_failures_total", {"source": OPERATIONS, "reason": "malformed"}
    )


@pytest.mark.parametrize("item", [None, 7, {}, {"name": 7, "subject": "device"}])
async def test_a_first_snapshot_that_may_lack_a_device_is_not_begun_with(setting: Setting, item: Any) -> None:
    with pytest.raises(FeedError, match="first snapshot"):
        await setting.begin(entry(OTHER), item)
    assert not (setting.folder / JOURNAL_FILE).exists()
    assert setting.heard.notices == []


NONSENSE: list[Any] = [
    "", "{", "[]", "null", '{"seq": 1}', '{"seq": "1", "standing": []}', '{"standing": [], "seq": -1}',
    '{"seq": 11, "standing": {}}', '{"seq": 11, "origin": 7, "standing": []}', 500, 302, 204,
]  # fmt: skip


@pytest.mark.parametrize("body", NONSENSE)
async def test_a_snapshot_without_sense_changes_nothing(setting: Setting, body: Any) -> None:
    await setting.begin(entry())
    setting.position.seq = None
    setting.answer("/snapshot", body)
    with pytest.raises(FeedError):
        await setting.feed.step(0)
    assert setting.standing() == "quarantined"
    assert not (setting.folder / ".journal.new").exists()


async def test_entries_before_their_number_are_refused(setting: Setting) -> None:
    """Without the number, it is not known whether the service went back."""
    await setting.begin(entry())
    setting.answer("/snapshot", {"standing": [entry(OTHER)], "seq": 11})
    setting.position.seq = None
    with pytest.raises(FeedError, match="seq"):
        await setting.feed.step(0)
    assert setting.standing(OTHER) is None


async def test_a_snapshot_that_breaks_off_changes_nothing(setting: Setting) -> None:
    await setting.begin(entry())
    setting.position.seq = None
    setting.answer("/snapshot", '{"seq": 11, "standing": [' + '{"name": "' + NAME)
    with pytest.raises(FeedError):
        await setting.feed.step(0)
    assert setting.standing() == "quarantined"


async def test_too_many_entries_are_refused_as_a_whole(make: Callable[..., Setting]) -> None:
    setting = make(max_standing=2)
    await setting.begin(entry(), entry(OTHER))
    with pytest.raises(FeedError, match="3 standing or more, at most 2"):
        await setting.begin(*(entry(f"d{n}.example.net") for n in range(3)), seq=11)
    assert setting.standing() == "quarantined"


# --- a service that is not the one from before


@pytest.mark.parametrize(("seq", "origin"), [(9, "one"), (500, "two"), (9, None)])
async def test_a_service_that_lost_something_makes_nobody_normal(
    setting: Setting, seq: int, origin: str | None
) -> None:
    await setting.begin(
        entry(),
        entry(OTHER, "blocked"),
        entry("w.example.net", "watched"),
        entry("p.example.net", "normal", approved=True),
    )
    await setting.begin(entry(OTHER, "quarantined"), entry("n.example.net"), seq=seq, origin=origin)
    assert (setting.standing(), setting.standing(OTHER)) == ("quarantined", "blocked")
    assert setting.standing("n.example.net") == "quarantined"
    # The loss gives no device anything: an approval, and being watched, are given up.
    assert (setting.standing("w.example.net"), setting.standing("p.example.net")) == (None, None)
    assert setting.kept() == {NAME, OTHER}
    # It stays so with further snapshots and restarts, until the service says something of the device.
    await setting.begin(entry(OTHER, "quarantined"), entry("n.example.net"), seq=seq, origin=origin)
    assert setting.standing() == "quarantined"
    await setting.poll(change(seq + 1, standing="normal"), origin=origin)
    assert setting.standing() is None
    assert setting.kept() == {OTHER}
    # Or until an operator adopts its word.
    setting.feed.adopt()
    await setting.begin(entry(OTHER, "quarantined"), seq=seq + 1, origin=origin)
    assert (setting.standing(OTHER), setting.kept()) == ("quarantined", set())
    assert not setting.feed.adopting


async def test_numbers_that_go_back_in_the_feed_lead_to_a_careful_comparison(setting: Setting) -> None:
    await setting.begin(entry(), seq=40)
    with pytest.raises(FeedError, match="goes back"):
        await setting.poll(change(4, standing="normal"), following=4)
    assert setting.standing() == "quarantined"
    await setting.begin(seq=4)
    assert setting.standing() == "quarantined"


async def test_another_origin_in_the_feed_is_not_followed(setting: Setting) -> None:
    await setting.begin(entry())
    with pytest.raises(FeedError, match="origin"):
        await setting.poll(change(11, standing="normal"), origin="two")
    assert setting.standing() == "quarantined"
    assert setting.position.seq is None


async def test_another_url_is_another_service_unless_its_origin_is_the_same(
    make: Callable[..., Setting], server: Registry
) -> None:
    await make().begin(entry())
    moved = make(url=f"https://localhost:{server.port}/")
    assert moved.position.seq == 10
    # The certificate has both names.
    elsewhere = make(url=f"https://LOCALHOST:{server.port}")
    assert elsewhere.position.seq is None
    await elsewhere.begin(seq=11)
    assert elsewhere.standing() is None
    assert elsewhere.journal.header is not None
    assert elsewhere.journal.header.source == f"https://LOCALHOST:{server.port}"


async def test_another_url_without_an_origin_makes_nobody_normal(
    make: Callable[..., Setting], server: Registry
) -> None:
    await make().begin(entry(), origin=None)
    elsewhere = make(url=f"https://LOCALHOST:{server.port}")
    await elsewhere.begin(seq=11, origin=None)
    assert elsewhere.standing() == "quarantined"
    assert make(url=f"https://LOCALHOST:{server.port}").position.seq == 11


# --- effect, disk and restart


async def test_an_effect_that_has_not_begun_is_repeated_after_a_restart(make: Callable[..., Setting]) -> None:
    setting = make()
    await setting.begin()
    setting.heard.applies = False
    await setting.poll(change(11))
    assert (setting.position.seq, setting.journal.position) == (11, 10)
    assert setting.standing() == "quarantined"
    again = make()
    assert again.position.seq == 10
    assert [item.name for item in again.journal.unsettled] == [NAME]
    await again.feed._settle()
    assert again.heard.changes == [(NAME, None, "quarantined")]
    await again.poll(change(11))
    assert again.journal.position == 11
    assert make().journal.unsettled == []


async def test_a_full_disk_keeps_the_old_state_and_is_reported(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    await setting.begin(entry())

    def full(*_: Any) -> None:
        raise JournalError("No space left on device")

    monkeypatch.setattr(setting.journal, "append", full)
    with pytest.raises(JournalError):
        await setting.poll(change(11, OTHER))
    assert setting.position.seq == 10
    assert setting.heard.changes == []
    assert setting.standing(OTHER) is None
    monkeypatch.undo()
    await setting.poll(change(11, OTHER))
    assert setting.standing(OTHER) == "quarantined"


async def test_a_damaged_journal_stays_until_a_snapshot_replaces_it(make: Callable[..., Setting]) -> None:
    setting = make()
    await setting.begin(entry())
    path = setting.folder / JOURNAL_FILE
    path.write_bytes(path.read_bytes().replace(b'"device"', b'"devil",', 1))
    damaged = path.read_bytes()
    again = make()
    assert again.journal.problem
    assert again.position.seq is None
    again.answer("/snapshot", 503)
    with pytest.raises(FeedError):
        await again.feed.step(0)
    assert path.read_bytes() == damaged
    await again.begin(entry(), seq=11)
    assert again.standing() == "quarantined"


async def test_a_journal_that_grew_is_compacted_and_says_the_same(setting: Setting) -> None:
    await setting.begin(entry())
    for start in range(11, 2211, 200):
        await setting.poll(*(change(n, OTHER, "blocked" if n % 2 else "watched") for n in range(start, start + 200)))
    assert setting.feed._compaction is not None
    await setting.feed._compaction
    await setting.poll(change(3000, OTHER, "quarantined"))
    assert (setting.standing(), setting.standing(OTHER)) == ("quarantined", "quarantined")
    lines = (setting.folder / JOURNAL_FILE).read_bytes().count(b"\n")
    assert lines < 1300
    restarted = StandingJournal(setting.folder)
    assert restarted.position == 3000
    assert restarted.unsettled == []
    assert {e.name: e.standing for e in restarted.standings.entries()} == {
        NAME: Standing.QUARANTINED,
        OTHER: Standing.QUARANTINED,
    }
    restarted.close()


async def test_a_compaction_keeps_the_effects_that_have_not_begun(make: Callable[..., Setting]) -> None:
    setting = make()
    await setting.begin()
    setting.heard.applies = False
    await setting.poll(change(11, OTHER, "blocked"))
    assert setting.journal.position == 10
    await setting.journal.compact()
    again = make()
    assert [found.name for found in again.journal.unsettled] == [OTHER]
    assert again.journal.position == 10
    await again.poll(change(11, OTHER, "blocked"))
    await again.journal.compact()
    assert make().journal.unsettled == []


async def test_a_journal_that_cannot_be_opened_for_appending_does_not_take_the_place_of_the_old_one(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    await setting.begin(entry())
    really = os.open

    def failing(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_APPEND:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return really(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", failing)
    with pytest.raises(JournalError):
        await setting.journal.compact()
    monkeypatch.undo()
    setting.journal.append([(11, Entry(OTHER, standing=Standing.BLOCKED))], 11)
    found = StandingTable(setting.folder)
    found.refresh()
    assert found.of(OTHER, NOW) == DeviceStanding(Standing.BLOCKED)
    found.close()


async def test_the_zone_of_what_follows_reaches_the_reader(setting: Setting) -> None:
    await setting.begin(entry(until=NOW + 60, then_zone="guests"))
    await setting.poll(change(11, OTHER, "watched", until=NOW + 60, then_zone="lab"))
    table = StandingTable(setting.folder)
    table.refresh()
    assert (table.of(NAME, NOW), table.of(NAME, NOW + 60)) == (
        DeviceStanding(Standing.QUARANTINED, until=NOW + 60),
        DeviceStanding(zone="guests"),
    )
    assert table.of(OTHER, NOW + 60) == DeviceStanding(zone="lab")
    assert table.latest == 11
    table.close()
