"""Ten thousand sessions, of many names or of one: how fast they end, and what faulty NASes cost."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.trust_sync.nas_farm import acknowledge, answer
from tests.fault.trust_sync.neighbours import HONEST, Neighbours, neighbours
from tests.harness.process import wait_for
from tests.harness.trust_sync import TrustSync

pytestmark = [pytest.mark.daemons, pytest.mark.timeout(500)]

NASES = 50
SESSIONS = 10_000
# Detects missing bounds. The worker takes a few seconds on an idle machine; this machine may be busy.
PATIENCE_SECONDS = 120.0


@pytest.fixture(scope="module")
def site() -> Iterator[Neighbours]:
    with neighbours(NASES) as found:
        yield found


@pytest.fixture(autouse=True)
def _fresh(site: Neighbours) -> Iterator[None]:
    site.clear()
    site.farm.arrived.clear()
    site.farm.requests.clear()
    yield
    site.farm.reply = acknowledge


def descriptors(sync: TrustSync) -> int:
    assert sync.daemon is not None
    return len(os.listdir(f"/proc/{sync.daemon.pid}/fd"))


def watched(sync: TrustSync, count: int) -> None:
    """Wait until every name has been looked up."""
    wait_for(lambda: sync.status()["sessions"]["watched_names"] == count, "the sessions", timeout=60, interval=0.2)
    path = Path(sync.state_file)
    wait_for(
        lambda: path.exists() and path.read_text().count('"3 1 1 ') >= count, "the first looks",
        timeout=PATIENCE_SECONDS, interval=0.5,
    )  # fmt: skip


def finish(site: Neighbours, sync: TrustSync, sessions: list[str], began: float) -> int:
    """Wait until the NASes have received a request for every session, and answered. Meanwhile, `status` answers.

    Returns the most descriptors that the worker had.
    """
    wanted = set(sessions)
    slowest, most = [0.0], [0]

    def all_arrived() -> bool:
        asked = time.monotonic()
        sync.status()
        slowest.append(time.monotonic() - asked)
        most.append(descriptors(sync))
        return wanted <= site.farm.arrived.keys()

    wait_for(all_arrived, "a request for every session", timeout=PATIENCE_SECONDS, interval=0.1)
    last = max(site.farm.arrived[session] for session in sessions) - began
    print(
        f"{len(sessions)} sessions: the last asked for after {last:.1f} s; "
        f"{max(most)} descriptors, status {max(slowest):.2f} s"
    )
    wait_for(lambda: sync.status()["sessions"]["pending_count"] == 0, "the replies", timeout=30)
    return max(most)


def test_ten_thousand_names_are_revoked(site: Neighbours) -> None:
    names = [f"n{n}._device.{HONEST}" for n in range(SESSIONS)]
    site.publish(HONEST, names)
    sessions = site.admit(names)
    with site.sync("names") as sync:
        watched(sync, SESSIONS)
        site.withdraw(HONEST, names)
        began = time.monotonic()
        site.honest.announce_all("device.revoked", names)
        most = finish(site, sync, sessions, began)
        # 256 outstanding requests need at most 256 sockets.
        assert most < 400
        assert set(site.farm.requests) == set(site.farm.addresses)
        assert sum(site.farm.requests.values()) < 1.5 * SESSIONS


def test_one_name_has_ten_thousand_sessions(site: Neighbours) -> None:
    name = f"everywhere._device.{HONEST}"
    site.publish(HONEST, [name])
    sessions = site.admit([name] * SESSIONS)
    with site.sync("one") as sync:
        watched(sync, 1)
        site.withdraw(HONEST, [name])
        began = time.monotonic()
        site.honest.announce("device.revoked", name=name, domain=HONEST)
        most = finish(site, sync, sessions, began)
        assert most < 400
        errors = [line for line in sync.log.read_text().splitlines() if '"level":"error"' in line]
        assert errors == []


def test_a_silent_nas_costs_little_and_keeps_nobody_waiting(site: Neighbours) -> None:
    name, other = f"many._device.{HONEST}", f"few._device.{HONEST}"
    site.publish(HONEST, [name, other])
    silent = site.farm.addresses[0]
    site.farm.reply = lambda nas, request: None if nas == silent else answer(request, request[0] + 1)
    held = site.admit([name] * 5000, [silent])
    elsewhere = site.admit([other] * 5, site.farm.addresses[1:])
    with site.sync("silent") as sync:
        watched(sync, 2)
        site.withdraw(HONEST, [name, other])
        site.honest.announce("device.revoked", name=name, domain=HONEST)
        wait_for(lambda: site.farm.requests[silent] >= 3, "the first requests", timeout=30)
        site.honest.announce("device.revoked", name=other, domain=HONEST)
        wait_for(lambda: set(elsewhere) <= site.farm.arrived.keys(), "the others to end", timeout=30)

        def rounds() -> int:
            return len(sync.events("NAS not reached; its sessions wait for the next attempt"))

        wait_for(rounds, "the report", timeout=30)
        first = site.farm.requests[silent]
        wait_for(lambda: rounds() >= 3, "two more rounds", timeout=60, interval=0.2)
        later = site.farm.requests[silent] - first
        print(f"a silent NAS with 5000 sessions: {first} datagrams at first, then {later} in two rounds")
        assert first <= 50
        # A round is one request, with three transmissions, however many sessions wait. Another may have begun.
        assert later <= 3 * 3
        status = sync.status()["sessions"]
        assert status["pending_count"] == 5000
        assert len(status["pending"]) == 1000
        assert len([line for line in sync.log.read_text().splitlines() if '"level":"error"' in line]) < 20
        # Once it answers again, every session ends.
        site.farm.reply = acknowledge
        wait_for(lambda: set(held) <= site.farm.arrived.keys(), "all of its sessions to be asked for", timeout=120)
        wait_for(lambda: sync.status()["sessions"]["pending_count"] == 0, "the replies", timeout=60)


def test_a_coa_ack_ends_no_session(site: Neighbours) -> None:
    """The NAS sends a genuine packet with the request's identifier and authenticator, but with another code."""
    name = f"wrongly._device.{HONEST}"
    site.publish(HONEST, [name])
    (session,) = site.admit([name])
    site.farm.reply = lambda _, request: answer(request, 44)
    with site.sync("coa") as sync:
        watched(sync, 1)
        site.withdraw(HONEST, [name])
        site.honest.announce("device.revoked", name=name, domain=HONEST)
        wait_for(lambda: [p for p in sync.status()["sessions"]["pending"] if p["attempts"]], "the attempt", timeout=30)
        (pending,) = sync.status()["sessions"]["pending"]
        assert pending["reply"].startswith("silent")
        site.farm.reply = acknowledge
        wait_for(lambda: not sync.status()["sessions"]["pending"], "the end", timeout=30)
        assert session in site.farm.arrived


def test_a_nas_that_loses_half_of_all_requests_ends_all_sessions(site: Neighbours) -> None:
    name = f"lossy._device.{HONEST}"
    site.publish(HONEST, [name])
    seen: set[bytes] = set()

    def every_second(_nas: str, request: bytes) -> bytes | None:
        """Answer only a retransmitted request."""
        if request in seen:
            return answer(request, request[0] + 1)
        seen.add(request)
        return None

    site.farm.reply = every_second
    site.admit([name] * 200, site.farm.addresses[:10])
    with site.sync("lossy", "[disconnect]\ntimeout = 0.2\n") as sync:
        watched(sync, 1)
        site.withdraw(HONEST, [name])
        site.honest.announce("device.revoked", name=name, domain=HONEST)
        wait_for(lambda: len(sync.events("session over")) == 200, "all to end", timeout=90)
