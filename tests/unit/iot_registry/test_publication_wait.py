"""Waiting for publication: the one loop behind the API's `wait` and the commands' `--wait`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from iot_registry.publication import outbox
from iot_registry.publication.publication_wait import Interval, until_published, wait_until_published
from iot_registry.service import devices
from iot_registry.service.schemas import DeviceView
from iot_registry.store import change_feed
from tests.harness.process import wait_for
from tests.unit.iot_registry.conftest import NOW, WHO, Bench, csr
from tests.unit.iot_registry.test_services import enroll, refused, registered
from web_service.core import Reason
from web_service.store import Position
from web_service.web import ChangeWatch

# Longer than any test takes: who returns earlier was woken.
LONG = 300.0


@dataclass
class State:
    pending: bool


def read_position(bench: Bench) -> Callable[[], Position]:
    def read() -> Position:
        with bench.database.read() as session:
            return change_feed.position(session)

    return read


def look(bench: Bench, name: str) -> Callable[[], DeviceView]:
    def read() -> DeviceView:
        with bench.database.read() as session:
            return devices.view(session, WHO, name)

    return read


def publish(bench: Bench) -> None:
    """Confirm every update in the outbox."""
    with bench.database.write() as session:
        outbox.confirm(session, outbox.due_updates(session, NOW), NOW)


@pytest.fixture
def pending(bench: Bench) -> str:
    """A device whose record is not in the DNS yet."""
    name, secret = registered(bench)
    enroll(bench, name, secret, csr(name))
    return name


def test_what_is_published_is_returned_at_once() -> None:
    looks: list[State] = []

    def look_once() -> State:
        looks.append(State(False))
        return looks[-1]

    assert asyncio.run(until_published(look_once, Interval(LONG), LONG)) is looks[0]
    assert len(looks) == 1


@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_what_stays_pending_is_returned_when_the_time_is_over(seconds: float) -> None:
    assert asyncio.run(until_published(lambda: State(True), Interval(0.01), seconds)).pending


def test_a_command_sees_the_publication_by_another_process(bench: Bench, pending: str) -> None:
    looked = threading.Event()

    def look_and_tell() -> DeviceView:
        try:
            return look(bench, pending)()
        finally:
            looked.set()

    def publisher() -> None:
        assert looked.wait(10)
        publish(bench)

    thread = threading.Thread(target=publisher)
    thread.start()
    view = wait_until_published(look_and_tell, bench.database, LONG)
    thread.join()
    assert (view.pending, len(view.published)) == (False, 1)


def test_a_publication_between_ticket_and_look_is_not_missed(bench: Bench, pending: str) -> None:
    """The state that is read first is older than the publication, which happens before anyone waits."""
    old = look(bench, pending)()
    states = iter([old])

    def look_late() -> DeviceView:
        state = next(states, None)
        if state is None:
            return look(bench, pending)()
        publish(bench)
        return state

    # The watch polls rarely: only the ticket can tell.
    async def wait() -> DeviceView:
        async with ChangeWatch(read_position(bench), LONG) as watch:
            waiting = asyncio.create_task(until_published(look_late, watch, LONG))
            await asyncio.to_thread(wait_for, lambda: not look(bench, pending)().pending, "the publication")
            watch.check_now()
            return await waiting

    assert not asyncio.run(wait()).pending


def test_many_wait_on_one_watch(bench: Bench) -> None:
    names = []
    for number in range(5):
        name, secret = registered(bench, f"d{number}")
        enroll(bench, name, secret, csr(name))
        names.append(name)
    reads = 0

    def count() -> Position:
        nonlocal reads
        reads += 1
        return read_position(bench)()

    async def wait() -> list[DeviceView]:
        async with ChangeWatch(count, LONG) as watch:
            tasks = [asyncio.create_task(until_published(look(bench, name), watch, LONG)) for name in names]
            await asyncio.to_thread(publish, bench)
            watch.check_now()
            return await asyncio.gather(*tasks)

    assert [view.pending for view in asyncio.run(wait())] == [False] * 5
    # At the start, and once for all of them.
    assert reads == 2


def test_an_error_of_the_look_ends_the_wait(bench: Bench) -> None:
    with refused(Reason.NOT_FOUND):
        wait_until_published(look(bench, "none.t._device.home.example"), bench.database, LONG)


def test_the_watch_goes_on_after_the_database_was_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web_service.web.change_watch.RETRY_SECONDS", 0.01)
    failures = iter([OSError("away"), OSError("away")])

    def read() -> Position:
        error = next(failures, None) if watched.is_set() else None
        if error is not None:
            raise error
        return read_position(bench)()

    watched = threading.Event()

    async def wait() -> bool:
        async with ChangeWatch(read, 0.01) as watch:
            ticket = watch.ticket()
            watched.set()
            with bench.database.write() as session:
                change_feed.append(session, change_feed.ChangeType.DEVICE_CHANGED, 1, NOW, name="a")
            return await ticket.wait(LONG)

    assert asyncio.run(wait())
    assert next(failures, None) is None
