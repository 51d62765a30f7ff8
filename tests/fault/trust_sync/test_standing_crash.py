"""The standing journal and a process that is killed at any instant: what was acknowledged stays, and nobody is freed.

`STANDING_KILLS=1000` samples more instants than the short form does.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

from dane_radius.local import Entry, Header, Standings, StandingTable
from policy import Standing
from trust_sync.standing import StandingJournal

KILLS = int(os.environ.get("STANDING_KILLS", "50"))
_LINES_BEFORE_KILL = 40


def name(number: int) -> str:
    return f"d{number}.example.net"


def write_until_killed(folder: Path, acknowledge: int) -> None:
    """Quarantine devices one after the other, and say each number once it is on the disk. Every few, compact."""
    journal = StandingJournal(folder)
    if journal.header is None:
        with journal.new() as new:
            journal.replace(new, Header("https://operations.example.net", 0), Standings())

    def quarantine(number: int) -> None:
        journal.append([(number, Entry(name(number), standing=Standing.QUARANTINED))], number)
        os.write(acknowledge, b"%d\n" % number)

    async def run() -> None:
        number = journal.position or 0
        while True:
            number += 1
            quarantine(number)
            if number % 7 == 0:
                compaction = asyncio.create_task(journal.compact())
                while not compaction.done():
                    number += 1
                    quarantine(number)
                    await asyncio.sleep(0)
                await compaction

    asyncio.run(run())


def start_writer(folder: Path) -> tuple[int, int]:
    """A child process that writes. Returns its ID, and the descriptor to read its acknowledgements from."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(readable)
            write_until_killed(folder, writable)
        finally:
            os._exit(1)
    os.close(writable)
    return pid, readable


def numbers(octets: bytes) -> list[int]:
    """The whole lines. The last one may be cut off."""
    return [int(line) for line in octets.split(b"\n")[:-1]]


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    folder = tmp_path / "standing"
    reader = StandingTable(folder)
    chance = random.Random(7)
    acknowledged = 0
    for _ in range(KILLS):
        pid, readable = start_writer(folder)
        said, wanted = b"", chance.randrange(1, _LINES_BEFORE_KILL)
        while said.count(b"\n") < wanted:
            octets = os.read(readable, 65536)
            assert octets, "the writer ended by itself"
            said += octets
            reader.refresh(paced=False)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while octets := os.read(readable, 65536):
            said += octets
        os.close(readable)
        before, acknowledged = acknowledged, max(numbers(said))
        newcomer = StandingTable(folder)
        for table in (reader, newcomer):
            table.refresh(paced=False)
            assert table.error is None
            for number in range(1 if table is newcomer else before + 1, acknowledged + 1):
                found = table.of(name(number), 0.0)
                assert found is not None, number
                assert found.standing is Standing.QUARANTINED
        newcomer.close()
        journal = StandingJournal(folder)
        assert journal.problem is None
        assert journal.position is not None
        assert journal.position >= acknowledged
        journal.close()
    assert acknowledged > KILLS
    reader.close()
