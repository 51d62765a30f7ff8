"""Group commit: functions that share a commit do not affect each other, and no result is set before the commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from iot_registry.service import devices
from iot_registry.service.schemas import DeviceCreate
from iot_registry.store.models import Device
from tests.unit.iot_registry.conftest import NOW, WHO, Bench
from web_service.core import Reason, Refused
from web_service.store import Writer
from web_service.store.writer import MAX_COMMIT_GROUP


@pytest.fixture
def writer(bench: Bench) -> Iterator[Writer]:
    made = Writer(bench.database)
    yield made
    made.stop()


def labels(bench: Bench) -> set[str]:
    with bench.database.read() as session:
        return {name.partition(".")[0] for name in session.scalars(select(Device.name))}


def create(label: str) -> Callable[[Session], str]:
    def work(session: Session) -> str:
        return devices.create(session, WHO, DeviceCreate(label=label, type="t"), "home.example", NOW).name

    return work


class Held:
    """Keeps the writer busy, so that functions submitted meanwhile share one commit."""

    def __init__(self, writer: Writer) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.future = writer.submit(self._work)
        assert self.begun.wait(10)

    def _work(self, session: Session) -> None:
        self.begun.set()
        assert self.go.wait(10)

    def release(self) -> None:
        self.go.set()
        self.future.result(10)


def test_one_that_is_refused_takes_no_other_with_it(bench: Bench, writer: Writer) -> None:
    held = Held(writer)

    def half(session: Session) -> None:
        create("half")(session)
        session.flush()
        raise Refused(Reason.CONFLICT, "no")

    futures: list[Any] = [writer.submit(create("a")), writer.submit(half), writer.submit(create("b"))]
    twice = writer.submit(create("a"))
    held.release()
    assert futures[0].result(10) == "a.t._device.home.example"
    with pytest.raises(Refused, match="no"):
        futures[1].result(10)
    assert futures[2].result(10)
    # Each function sees the changes of those before it.
    with pytest.raises(Refused, match="exists already"):
        twice.result(10)
    assert labels(bench) == {"a", "b"}


def test_what_was_told_is_committed(bench: Bench, writer: Writer) -> None:
    """Checked from another connection at the moment when each result is set."""
    held = Held(writer)
    seen: dict[str, bool] = {}
    futures = [
        (label, writer.submit(create(label))) for label in (f"d{number}" for number in range(3 * MAX_COMMIT_GROUP))
    ]
    for label, future in futures:
        future.add_done_callback(lambda _, label=label: seen.update({label: label in labels(bench)}))  # type: ignore[misc]
    held.release()
    for _, future in futures:
        future.result(20)
    writer.stop()
    assert seen == {f"d{number}": True for number in range(3 * MAX_COMMIT_GROUP)}


def test_a_transaction_that_is_lost_is_lost_for_all_of_it(bench: Bench, writer: Writer) -> None:
    """If the disk fails, SQLite rolls everything back: no function of the group may report success."""
    held = Held(writer)

    def disk_full(session: Session) -> None:
        session.connection().connection.driver_connection.rollback()  # type: ignore[union-attr]
        raise OperationalError("COMMIT", None, Exception("disk is full"))

    futures: list[Any] = [writer.submit(create("a")), writer.submit(disk_full), writer.submit(create("b"))]
    held.release()
    for future in futures:
        with pytest.raises(OperationalError, match="disk is full"):
            future.result(10)
    assert labels(bench) == set()
    # The writer still works.
    assert writer.submit(create("c")).result(10)


def test_a_commit_that_fails_is_told_to_all(bench: Bench, writer: Writer) -> None:
    with bench.database.write() as session:
        session.execute(text("CREATE TABLE parent (id INTEGER PRIMARY KEY)"))
        session.execute(text("CREATE TABLE child (id INTEGER REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED)"))
    held = Held(writer)
    futures: list[Any] = [
        writer.submit(create("a")),
        writer.submit(lambda session: session.execute(text("INSERT INTO child VALUES (7)")) and None),
    ]
    held.release()
    for future in futures:
        with pytest.raises(Exception, match="FOREIGN KEY"):
            future.result(10)
    assert labels(bench) == set()


def test_many_writers_of_one_process_wait_their_turn(bench: Bench) -> None:
    """Threads with transactions of their own beside the writer: none fails because the database is locked."""
    writer = Writer(bench.database)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(10):
                if number % 2:
                    writer.submit(create(f"w{number}s{step}")).result(30)
                else:
                    with bench.database.write() as session:
                        create(f"w{number}s{step}")(session)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.stop()
    assert errors == []
    assert len(labels(bench)) == 80
