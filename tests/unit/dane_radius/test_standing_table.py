"""The standing journal as the module reads it: what counts, and what a damaged or replaced file leaves in force."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.local import (
    EarlierStandings,
    Entry,
    Header,
    JournalFormatError,
    Position,
    Standings,
    StandingTable,
    read_entry,
    read_header,
    read_line,
    standing_table,
)
from policy import DeviceStanding, Standing

NAME, OTHER = "a1.camera._device.example.net", "b2.camera._device.example.net"
HEADER = Header("https://operations.example.net", 10)
NOW = 1_790_000_000.0


def quarantined(name: str = NAME, **more: Any) -> Entry:
    return Entry(name, standing=Standing.QUARANTINED, **more)


def write(folder: Path, *lines: bytes, header: Header | None = HEADER, name: str = "journal") -> Path:
    octets = b"".join(line + b"\n" for line in ((header.to_line(), *lines) if header else lines))
    path = folder / name
    path.write_bytes(octets)
    return path


def append(folder: Path, octets: bytes) -> None:
    with (folder / "journal").open("ab") as file:
        file.write(octets)


def read(folder: Path) -> StandingTable:
    table = StandingTable(folder)
    assert table.refresh(paced=False)
    return table


def standing(table: StandingTable, name: str = NAME, now: float = NOW) -> Standing | None:
    found = table.of(name, now)
    return found.standing if found is not None else None


# --- the format


@pytest.mark.parametrize(
    "entry",
    [
        quarantined(),
        quarantined(zone="büro", until=1.5, then=Standing.WATCHED, approved=True),
        Entry("_device.example.net", maker=True, approved=True),
        Entry(NAME, removed=True),
        quarantined(kept=True),
        quarantined(zone="lab", until=NOW, then_zone="guests"),
    ],
)
def test_an_entry_is_read_as_it_was_written(entry: Entry) -> None:
    assert read_line(entry.to_line(7)) == entry


def test_header_and_position_are_read_as_they_were_written() -> None:
    full = Header("https://o.example", 3, "origin", "id", "before", 900)
    assert read_header(full.to_line()) == full
    assert read_line(Position(9).to_line()) == Position(9)
    # What other versions of the writer may leave out.
    assert read_header(b'{"format": 1, "source": "https://o.example", "sequence": 3}   ') == Header(
        "https://o.example", 3
    )


UNREADABLE = [
    b"", b"{", b"[]", b"7", b'"x"', b"{}", b"\xff\xfe", b'{"sequence": 1}', b'{"position": -1}', b'{"position": true}',
    b'{"sequence": 1, "subject": "zone", "name": "a.example", "standing": "normal"}',
    b'{"sequence": 1, "subject": "device", "name": "", "standing": "normal"}',
    b'{"sequence": 1, "subject": "device", "name": "a.example"}',
    b'{"sequence": -1, "subject": "device", "name": "a.example", "standing": "normal"}',
    b'{"sequence": 1, "subject": "device", "name": "a.example", "standing": "normal", "approved": 1}',
    b'{"sequence": 1, "subject": "device", "name": "a.example", "standing": "normal", "until": "tomorrow"}',
    b'{"sequence": 1, "subject": "device", "name": "a.example", "standing": "normal", "until": 1e300}',
    b'{"sequence": 1, "subject": "device", "name": "a.example", "standing": "normal", "then_zone": ""}',
    b'{"sequence": 1, "subject": "device", "name": "a.example", "standing": "normal", "zone": 7}',
    b"[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("line", UNREADABLE)
def test_a_line_without_meaning_is_refused(line: bytes) -> None:
    with pytest.raises(JournalFormatError):
        read_line(line)


def test_an_unknown_word_counts_as_blocked() -> None:
    entry = read_entry({"subject": "device", "name": NAME, "standing": "suspended", "then": "paroled", "until": NOW})
    assert (entry.standing, entry.then) == (Standing.BLOCKED, Standing.BLOCKED)


# --- what counts


def test_a_standing_ends_at_its_time_and_another_follows() -> None:
    standings = Standings()
    standings.apply(quarantined(zone="lab", until=NOW, then=Standing.WATCHED, approved=True))
    assert standings.of(NAME, NOW - 0.001) == DeviceStanding(Standing.QUARANTINED, True, "lab", NOW)
    assert standings.of(NAME, NOW) == DeviceStanding(Standing.WATCHED, True)
    assert standings.of(OTHER, NOW) is None


def test_the_stricter_of_device_and_maker_counts_and_either_may_approve() -> None:
    standings = Standings()
    standings.apply(Entry("_device.example.net", maker=True, approved=True))
    assert standings.of(NAME, NOW) == DeviceStanding(approved=True)
    assert standings.of("a1.camera._device.example.org", NOW) is None
    standings.apply(quarantined(until=NOW + 5))
    assert standings.of(NAME, NOW) == DeviceStanding(Standing.QUARANTINED, True, None, NOW + 5)
    standings.apply(Entry("example.net", maker=True, standing=Standing.BLOCKED, until=NOW + 9))
    # The earlier end counts, because something else may follow there.
    assert standings.of(NAME, NOW) == DeviceStanding(Standing.BLOCKED, True, None, NOW + 5)
    # A device of this name is not its maker.
    assert standings.of("_device.example.net", NOW) != DeviceStanding(approved=True)


def test_what_counted_before_a_change_can_still_be_said() -> None:
    standings = Standings()
    standings.apply(quarantined())
    earlier = EarlierStandings(standings)
    for entry in (Entry(NAME, removed=True), Entry("example.net", maker=True, standing=Standing.BLOCKED)):
        earlier.remember(entry.name, maker=entry.maker)
        standings.apply(entry)
    assert earlier.of(NAME, NOW) == DeviceStanding(Standing.QUARANTINED)
    assert earlier.of(OTHER, NOW) is None
    assert standings.of(OTHER, NOW) == DeviceStanding(Standing.BLOCKED)


def test_before_a_change_a_standing_counted_although_its_end_has_come() -> None:
    """A service says at the end of a standing what follows. Sessions were admitted before that."""
    standings = Standings()
    standings.apply(Entry(NAME, standing=Standing.WATCHED, until=NOW, then=Standing.QUARANTINED))
    earlier = EarlierStandings(standings)
    earlier.remember(NAME, maker=False)
    standings.apply(quarantined())
    assert earlier.of(NAME, NOW + 1) == DeviceStanding(Standing.WATCHED)
    # An end that is still to come is one of what counted.
    assert earlier.of(NAME, NOW - 1) == DeviceStanding(Standing.WATCHED, until=NOW)
    assert standings.of(NAME, NOW + 1) == DeviceStanding(Standing.QUARANTINED)


_entries = st.builds(
    Entry,
    st.sampled_from([NAME, OTHER, "c.example.org"]),
    st.booleans(),
    st.sampled_from(Standing),
    st.booleans(),
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, 0.0, 1.5, NOW]),
    st.sampled_from(Standing),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, "a", "c"]),
)


@given(st.lists(_entries, max_size=30))
def test_standings_say_what_the_last_entry_of_each_subject_says(entries: list[Entry]) -> None:
    standings, model = Standings(), {}
    for entry in entries:
        standings.apply(entry)
        model[entry.maker, entry.name] = entry
    kept = {key: entry for key, entry in model.items() if not entry.is_plain}
    # An end of 0 s is stored as the first millisecond: 0 would mean none.
    expected = {key: e._replace(until=0.001) if e.until == 0.0 else e for key, e in kept.items()}
    assert {(e.maker, e.name): e for e in standings.entries()} == expected
    assert len(standings) == len(kept)
    assert standings.makers == sum(maker for maker, _ in kept)
    devices = [e for (maker, _), e in kept.items() if not maker]
    assert {s: n for s, n in standings.counts.items() if n} == {
        s: sum(e.standing is s for e in devices) for s in {e.standing for e in devices}
    }
    assert standings.approved == sum(e.approved for e in devices)
    assert standings.kept == sum(e.kept for e in kept.values())


# --- the file


def test_lines_count_when_they_are_whole(tmp_path: Path) -> None:
    write(tmp_path, quarantined().to_line(11))
    table = read(tmp_path)
    assert (table.available, table.error, table.source, table.sequence) == (True, None, HEADER.source, 10)
    assert standing(table) is Standing.QUARANTINED
    line = Entry(NAME, standing=Standing.BLOCKED).to_line(12)
    append(tmp_path, line)
    table.refresh()
    assert standing(table) is Standing.QUARANTINED
    append(tmp_path, b"\n" + Position(12).to_line() + b"\n")
    table.refresh()
    assert standing(table) is Standing.BLOCKED
    assert table.sequence == 12


def test_octets_that_come_one_at_a_time_mean_the_same(tmp_path: Path) -> None:
    octets = b"".join(quarantined(f"d{n}.example.net").to_line(n) + b"\n" for n in range(3))
    write(tmp_path)
    table = read(tmp_path)
    for number in range(len(octets)):
        append(tmp_path, octets[number : number + 1])
        table.refresh()
        assert len(table) == octets[: number + 1].count(b"\n")


def test_without_a_file_nothing_is_available_until_there_is_one(tmp_path: Path) -> None:
    table = read(tmp_path / "none")
    assert not table.available
    assert "no such file" in (table.error or "")
    (tmp_path / "none").mkdir()
    write(tmp_path / "none", quarantined().to_line(1))
    table.refresh()
    assert table.available
    assert standing(table) is Standing.QUARANTINED


@pytest.mark.parametrize("line", UNREADABLE[:10])
def test_a_damaged_line_leaves_in_force_what_was_read(tmp_path: Path, line: bytes) -> None:
    write(tmp_path, quarantined().to_line(11))
    table = read(tmp_path)
    append(tmp_path, line + b"\n" + Entry(NAME, removed=True).to_line(13) + b"\n")
    table.refresh()
    assert table.available
    assert table.error
    assert "line 3" in table.error
    assert standing(table) is Standing.QUARANTINED
    # A process that starts now has nothing to rely on.
    assert not read(tmp_path).available
    # Another file is read.
    write(tmp_path, Entry(NAME, standing=Standing.WATCHED).to_line(14), name="new")
    os.rename(tmp_path / "new", tmp_path / "journal")
    table.refresh()
    assert table.error is None
    assert standing(table) is Standing.WATCHED


@pytest.mark.parametrize("octets", [b"", b"\n", b"{}\n", b'{"format": 2, "source": "x", "sequence": 1}\n', b"{"])
def test_a_file_without_a_header_replaces_nothing(tmp_path: Path, octets: bytes) -> None:
    write(tmp_path, quarantined().to_line(11))
    table = read(tmp_path)
    (tmp_path / "other").write_bytes(octets)
    os.rename(tmp_path / "other", tmp_path / "journal")
    table.refresh()
    assert table.error
    assert standing(table) is Standing.QUARANTINED


def test_a_file_that_goes_away_leaves_in_force_what_was_read(tmp_path: Path) -> None:
    write(tmp_path, quarantined().to_line(11)).rename(tmp_path / "elsewhere")
    write(tmp_path, quarantined().to_line(11))
    table = read(tmp_path)
    (tmp_path / "journal").unlink()
    table.refresh()
    assert "no such file" in (table.error or "")
    assert table.available
    assert standing(table) is Standing.QUARANTINED


def test_another_file_in_its_place_is_read_from_its_beginning(tmp_path: Path) -> None:
    write(tmp_path, quarantined().to_line(11), quarantined(OTHER).to_line(12))
    table = read(tmp_path)
    write(tmp_path, quarantined(OTHER).to_line(3), name="new", header=Header("https://another.example", 3))
    os.rename(tmp_path / "new", tmp_path / "journal")
    table.refresh()
    assert standing(table) is None
    assert standing(table, OTHER) is Standing.QUARANTINED
    assert (table.source, table.sequence) == ("https://another.example", 3)


def test_a_file_that_was_shortened_in_its_place_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path, quarantined().to_line(11), quarantined(OTHER).to_line(12))
    table = read(tmp_path)
    path.write_bytes(HEADER.to_line() + b"\n")
    table.refresh()
    assert len(table) == 0
    assert table.error is None


def test_a_compacted_file_is_not_read_again_by_who_has_read_the_old_one(tmp_path: Path) -> None:
    first = HEADER._replace(journal="one")
    write(tmp_path, quarantined().to_line(11), header=first)
    table = read(tmp_path)
    # What the old file got last is read before the new one, although it no longer has the name.
    append(tmp_path, quarantined(OTHER).to_line(12) + b"\n")
    body = quarantined("wrong.example.net").to_line(12) + b"\n"
    header = Header(HEADER.source, 12, None, "two", "one", 0)
    for _ in range(2):
        # The length of the header depends on the number of octets.
        header = header._replace(octets=len(header.to_line()) + 1 + len(body))
    (tmp_path / "new").write_bytes(header.to_line() + b"\n" + body)
    os.rename(tmp_path / "new", tmp_path / "journal")
    append(tmp_path, Entry("c.example.net", standing=Standing.BLOCKED).to_line(13) + b"\n")
    table.refresh()
    assert {entry.name for entry in table.standings.entries()} == {NAME, OTHER, "c.example.net"}
    # Who has not read it reads everything.
    assert {entry.name for entry in read(tmp_path).standings.entries()} == {"wrong.example.net", "c.example.net"}


def test_what_is_written_between_two_looks_at_a_compacted_file_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old file gets another line, and then its successor, right after its end was read."""
    write(tmp_path, quarantined().to_line(11), header=HEADER._replace(journal="one"))
    table = read(tmp_path)
    is_at, done = standing_table._OpenJournal.is_at, []

    def late(file: Any, path: Path) -> bool:
        if not done:
            done.append(1)
            append(tmp_path, quarantined(OTHER).to_line(12) + b"\n")
            body = quarantined().to_line(12) + b"\n" + quarantined(OTHER).to_line(12) + b"\n"
            header = Header(HEADER.source, 12, None, "two", "one", 0)
            for _ in range(2):
                header = header._replace(octets=len(header.to_line()) + 1 + len(body))
            (tmp_path / "new").write_bytes(header.to_line() + b"\n" + body)
            os.rename(tmp_path / "new", tmp_path / "journal")
        return is_at(file, path)

    monkeypatch.setattr(standing_table._OpenJournal, "is_at", late)
    table.refresh()
    assert standing(table, OTHER) is Standing.QUARANTINED
    assert table.error is None


def test_a_line_without_end_is_not_held_in_memory(tmp_path: Path) -> None:
    write(tmp_path, quarantined().to_line(11))
    table = read(tmp_path)
    append(tmp_path, b"x" * 1_000_000)
    table.refresh()
    assert "longer than" in (table.error or "")
    assert standing(table) is Standing.QUARANTINED


def test_a_long_file_is_read_in_slices_that_leave_time_to_others(tmp_path: Path) -> None:
    write(tmp_path, *(quarantined(f"d{n}.example.net").to_line(n) for n in range(5000)))
    rests: list[float] = []
    table = StandingTable(tmp_path, rests.append)
    table.refresh()
    assert len(table) == 5000
    # On any machine, 5,000 lines take more than two slices of a millisecond.
    assert len(rests) > 2
