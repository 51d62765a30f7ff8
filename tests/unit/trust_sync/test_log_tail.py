"""The decision log as it is reported: every line once, over rotations and restarts; what is lost is counted."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trust_sync.reports.log_tail import Batch, LogTail
from trust_sync.reports.position import Position, PositionFile


def line(number: int) -> bytes:
    return b'{"verdict":"accept","name":"d%d.example.net","event":"decision","level":"info"}' % number


def write(path: Path, *numbers: int) -> None:
    with path.open("ab") as file:
        file.write(b"".join(line(number) + b"\n" for number in numbers))


def numbers(batch: Batch | None) -> list[int]:
    return [] if batch is None else [int(one.partition(b'"d')[2].partition(b".")[0]) for one in batch.decisions]


def rest(tail: LogTail, lines: int = 1000) -> list[int]:
    """Everything that there is now."""
    found: list[int] = []
    while (batch := tail.read(lines, 1_000_000)) is not None:
        found += numbers(batch)
        tail.take(batch)
    return found


def rotate(path: Path) -> None:
    """As logrotate does with `create` and `delaycompress`."""
    old, older = path.with_name("log.1"), path.with_name("log.2.gz")
    if old.exists():
        older.write_bytes(gzip.compress(old.read_bytes()))
        old.unlink()
    path.rename(old)
    path.touch()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_decisions_come_in_their_order_and_other_lines_do_not(path: Path) -> None:
    write(path, 1, 2)
    with path.open("ab") as file:
        file.write(b'{"event":"started"}\nnonsense\n')
    write(path, 3)
    tail = LogTail(path, settle=0)
    assert rest(tail) == [1, 2, 3]
    write(path, 4)
    assert rest(tail) == [4]
    assert tail.gaps == 0


def test_without_a_log_there_is_nothing_until_there_is_one(path: Path) -> None:
    tail = LogTail(path, settle=0)
    assert tail.read(10, 1000) is None
    write(path, 1)
    assert rest(tail) == [1]


def test_a_line_counts_when_it_is_whole(path: Path) -> None:
    octets = line(1) + b"\n"
    path.write_bytes(b"")
    tail = LogTail(path, settle=0)
    for number in range(len(octets)):
        with path.open("ab") as file:
            file.write(octets[number : number + 1])
        assert rest(tail) == ([1] if number + 1 == len(octets) else [])


def test_a_batch_has_its_limits(path: Path) -> None:
    write(path, *range(10))
    tail = LogTail(path, settle=0)
    assert numbers(tail.read(3, 1_000_000)) == [0, 1, 2]
    assert numbers(tail.read(10, 200)) == [0, 1]
    # It is the same until it is taken.
    assert tail.read(3, 1_000_000) == tail.read(3, 1_000_000)


def test_a_piece_without_an_end_is_passed_by(path: Path) -> None:
    path.write_bytes(b"x" * 300_000 + b"\n")
    write(path, 1)
    tail = LogTail(path, settle=0)
    found = []
    while (batch := tail.read(1000, 100_000)) is not None:
        found += numbers(batch)
        tail.take(batch)
    assert found == [1]


@pytest.mark.parametrize("read_before", [True, False])
def test_a_rotation_loses_nothing(path: Path, read_before: bool) -> None:
    write(path, 1)
    tail = LogTail(path, settle=0)
    found = rest(tail) if read_before else numbers(tail.read(1, 10_000)) and []
    write(path, 2)
    rotate(path)
    # The module writes into the old file until it notices the rotation.
    with path.with_name("log.1").open("ab") as file:
        file.write(line(3) + b"\n")
    write(path, 4)
    assert found + rest(tail) == [1, 2, 3, 4]
    assert tail.gaps == 0


def test_what_the_module_writes_before_it_notices_a_rotation_is_not_lost(path: Path) -> None:
    now = 100.0
    tail = LogTail(path, clock=lambda: now)
    write(path, 1)
    assert rest(tail) == [1]
    rotate(path)
    # The tail looks before the module writes once more into the old file.
    assert rest(tail) == []
    write(path, 3)
    with path.with_name("log.1").open("ab") as file:
        file.write(line(2) + b"\n")
    now += 4
    assert rest(tail) == [2]
    now += 2
    assert rest(tail) == [3]


def test_two_rotations_during_a_stop_lose_nothing_that_is_not_compressed(path: Path) -> None:
    write(path, 1)
    tail = LogTail(path, settle=0)
    assert rest(tail) == [1]
    position = tail.position
    tail.close()
    write(path, 2)
    os.utime(path, ns=(1, 1))
    path.rename(path.with_name("log.2"))
    write(path, 3)
    os.utime(path, ns=(2, 2))
    path.rename(path.with_name("log.1"))
    write(path, 4)
    again = LogTail(path, position, settle=0)
    assert rest(again) == [2, 3, 4]
    assert again.gaps == 0


def test_a_part_that_is_gone_is_counted(path: Path) -> None:
    write(path, 1)
    tail = LogTail(path, settle=0)
    assert rest(tail) == [1]
    position = tail.position
    tail.close()
    write(path, 2)
    rotate(path)
    rotate(path)
    write(path, 3)
    again = LogTail(path, position, settle=0)
    assert rest(again) == [3]
    assert again.gaps == 1


def test_a_log_that_is_truncated_in_its_place_is_read_from_its_beginning(path: Path) -> None:
    write(path, 1, 2)
    tail = LogTail(path, settle=0)
    assert rest(tail) == [1, 2]
    path.write_bytes(b"")
    write(path, 3)
    assert rest(tail) == [3]
    assert tail.gaps == 1


def test_another_file_with_the_same_number_is_not_taken_for_the_old_one(path: Path) -> None:
    write(path, 1)
    inode = path.stat().st_ino
    again = LogTail(path, Position(inode, "0" * 32, 20, 20, 20))
    assert rest(again) == [1]
    assert (again.gaps, path.stat().st_ino) == (1, inode)


def test_what_was_under_way_is_sent_again_in_the_same_pieces(path: Path, tmp_path: Path) -> None:
    write(path, 1, 2)
    file = PositionFile(tmp_path / "position.json")
    tail = LogTail(path, file.load(), settle=0)
    batch = tail.read(1000, 1_000_000)
    assert batch is not None
    file.save(tail.under_way(batch))
    # The process ends here. The service may or may not have taken the lines.
    write(path, 3)
    again = LogTail(path, PositionFile(tmp_path / "position.json").load())
    assert again.read(1000, 1_000_000) == batch
    again.take(batch)
    following = again.read(1000, 1_000_000)
    assert following is not None
    assert numbers(following) == [3]
    assert following.identifier != batch.identifier


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"inode": "x"}', '{"offset": -1}', '{"offset": true}', '{"x": 1}']
)
def test_a_damaged_position_means_the_end_of_the_log_and_is_counted(path: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "position.json").write_text(text)
    file = PositionFile(tmp_path / "position.json")
    assert file.load() is None
    assert file.problem
    write(path, 1)
    tail = LogTail(path, None, from_end=True)
    assert rest(tail) == []
    assert tail.gaps == 1
    write(path, 2)
    assert rest(tail) == [2]


_steps = st.lists(st.sampled_from(["write", "rotate", "read", "restart", "kill"]), max_size=25)


@settings(deadline=None)
@given(_steps)
def test_every_line_arrives_in_order_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """A line may arrive twice after a kill, but then in a batch with the same identifier."""
    path = tmp_path_factory.mktemp("log") / "log"
    path.touch()
    file = PositionFile(path.with_name("position.json"))
    tail, written, arrived = LogTail(path, settle=0), 0, {}
    for step in ["read", *steps, "read"]:
        match step:
            case "write":
                write(path, written, written + 1)
                written += 2
            case "rotate":
                if not path.with_name("log.1").exists():
                    rotate(path)
            case "restart" | "kill":
                tail.close()
                tail = LogTail(path, file.load(), settle=0)
            case "read":
                while (batch := tail.read(3, 1_000_000)) is not None:
                    file.save(tail.under_way(batch))
                    if batch.decisions:
                        arrived.setdefault(batch.identifier, numbers(batch))
                        assert arrived[batch.identifier] == numbers(batch)
                    tail.take(batch)
                file.save(tail.position)
    assert [number for batch in arrived.values() for number in batch] == list(range(written))
    assert tail.gaps == 0
    tail.close()
