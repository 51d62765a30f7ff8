"""RADIUS servers that stop, crash and restart while devices authenticate."""

from __future__ import annotations

import itertools
import re
import time
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import pytest

from tests.harness.eap import EapResult, authenticate, next_station
from tests.harness.freeradius import FreeRadius
from tests.harness.process import wait_for
from tests.harness.relay import REPLY, REQUEST, Drop, Relay
from tests.integration.network.resilience.network import Network, Scenarios, accepts, scenario, wait_accepts

pytestmark = pytest.mark.daemons

KILLED, RESTARTED = "killed", "restarted"


def end_at(server: FreeRadius, packet: int, left: list[int], how: str = KILLED) -> Drop:
    """A `drop` that ends the server at its reply number `packet` and starts it again; that reply is lost.

    It adds the number of session files that the ended server left to `left`. KILLED: by SIGKILL; RESTARTED: by
    SIGTERM, as a service manager restarts it.
    """
    replies = itertools.count(1)

    def look(direction: str, _packet: bytes) -> bool:
        if direction == REQUEST or left or next(replies) != packet:
            return False
        assert server.daemon is not None
        server.daemon.kill() if how == KILLED else server.daemon.stop()
        left.append(len(list(server.session_dir.iterdir())))
        server.start()
        return True

    return look


@dataclass(frozen=True)
class Crash:
    """A conversation whose server ended at one of its replies, and the next one with the same device.

    left_behind: session files at each end of the server. *_accepts: accepts in the decision log.
    """

    packet: int
    vouched: bool
    how: str
    left_behind: list[int]
    first: EapResult
    first_accepts: int
    again: EapResult
    again_reason: str


def conversation_over_a_crash(net: Network, server: FreeRadius, packet: int, vouched: bool, how: str) -> Crash:
    left: list[int] = []
    config = net.peer(server, net.device(vouched=vouched)[1])
    with Relay(server.auth_port, end_at(server, packet, left, how)) as relay:
        first = authenticate(server, config, timeout=15, port=relay.port)
        again = authenticate(server, config, port=relay.port)
    reason = server.decision_for(again.station)["reason"]
    # The log is in order: with the second decision, everything about the first conversation is written.
    return Crash(packet, vouched, how, left, first, accepts(server, first.station), again, reason)


@dataclass(frozen=True)
class Crashes:
    """All conversations, and the session files that were left when the sweep was due.

    replies: of the server, in a conversation that nothing interrupts. The last one is the decision.
    """

    replies: int
    conversations: list[Crash]
    swept: bool


@scenario
def crashes(net: Network) -> Crashes:
    """A server that is killed, or restarted, at each reply of a conversation."""
    server = net.server("killed")
    settings, changed = re.subn(r"(?m)^max_age = .*$", "max_age = 10", server.config_file.read_text())
    if not changed:
        raise RuntimeError(f"{server.config_file} has no max_age")
    server.config_file.write_text(settings)
    with server:
        # With TLS 1.3 and short chains: the start, the server's flight, the acknowledgement of the device's, the
        # decision. A ClientHello with a post-quantum key share (OpenSSL 3.5) and its answer need one more each.
        with Relay(server.auth_port, lambda _direction, _packet: False) as relay:
            assert authenticate(server, net.peer(server, net.device()[1]), port=relay.port).accepted
            replies = relay.seen[REPLY]
        found = [
            conversation_over_a_crash(net, server, packet, vouched, how)
            for packet in range(1, replies + 1)
            for vouched in (True, False)
            for how in (KILLED, RESTARTED)
        ]
        print(f"session files at the end of a server: {[(one.packet, one.how, one.left_behind) for one in found]}")
        # The next server sweeps what the dead one had on disk, after `max_age` seconds.
        wait_for(lambda: not any(server.session_dir.iterdir()), "the session folder to be empty", 40, 0.2)
        return Crashes(replies, found, swept=not any(server.session_dir.iterdir()))


def test_a_conversation_that_loses_its_server_admits_nobody(scenarios: Scenarios) -> None:
    """Only at the very first reply is nothing lost: the conversation starts anew at the next server, which decides."""
    seen = scenarios.result(crashes)
    for crash in seen.conversations:
        assert len(crash.left_behind) == 1, crash
        admitted = crash.vouched and crash.packet == 1
        assert crash.first.accepted == admitted, crash
        assert (crash.first.code == "Access-Accept") == admitted, crash
        if admitted:
            assert crash.first_accepts == 1, crash
        else:
            # A decision whose answer was lost with the server may be in the log, or lost with the log's buffer.
            assert crash.first_accepts <= int(crash.vouched and crash.packet == seen.replies), crash


def test_the_conversation_after_a_crash_is_decided_like_any_other(scenarios: Scenarios) -> None:
    seen = scenarios.result(crashes)
    assert seen.replies >= 4
    assert len(seen.conversations) == seen.replies * 2 * 2
    for crash in seen.conversations:
        assert crash.again.accepted == crash.vouched, crash
        assert crash.again_reason == ("dane_match" if crash.vouched else "tlsa_absent"), crash


def test_session_files_of_a_killed_server_are_swept(scenarios: Scenarios) -> None:
    seen = scenarios.result(crashes)
    assert any(crash.left_behind[0] for crash in seen.conversations if crash.how == KILLED), "no kill left a file"
    assert seen.swept


@dataclass(frozen=True)
class CrashUnderASwitch:
    """A device at a switch whose server was killed at its third reply."""

    open_at_the_crash: bool
    open_in_the_end: bool
    accepts: int


@scenario
def crash_under_a_switch(net: Network) -> CrashUnderASwitch:
    server, station = net.server("killed-under-switch"), next_station()
    left: list[int] = []
    with (
        server,
        net.switch(server, drop=end_at(server, 3, left)) as switch,
        switch.attach(net.peer(server, net.device()[1], switch=switch), station),
    ):
        wait_for(lambda: left, "the server to be killed", timeout=20)
        at_the_crash = switch.authorized(station)
        wait_for(lambda: switch.authorized(station), "the port to open", timeout=110, interval=0.2)
        wait_accepts(server, station)
        return CrashUnderASwitch(at_the_crash, switch.authorized(station), accepts(server, station))


def test_a_device_is_admitted_after_its_server_was_killed(scenarios: Scenarios) -> None:
    """The switch's conversation ends with the server; a later one succeeds without anybody's help."""
    seen = scenarios.result(crash_under_a_switch)
    assert not seen.open_at_the_crash
    assert seen.open_in_the_end
    assert seen.accepts == 1


class Outcome(NamedTuple):
    """What a server decided about a device, and whether its port is open."""

    reasons: list[str]
    authorized: bool


@dataclass(frozen=True)
class Failover:
    """Devices at a switch with two servers, of which the first stops for a while."""

    before: Outcome
    good_meanwhile: Outcome
    bad_meanwhile: Outcome
    after: Outcome
    second_about_before: list[str]


@scenario
def failover(net: Network) -> Failover:
    first, second = net.server("first"), net.main
    # Longer than hostapd takes to turn to the second one.
    switch = net.switch(first, retry_primary=60)
    switch.more_servers = [(switch.server_address, second.auth_port)]
    stations = [next_station() for _ in range(4)]
    configs = [
        net.peer(server, net.device(vouched=vouched)[1], switch=switch)
        for server, vouched in ((first, True), (second, True), (second, False), (first, True))
    ]

    def outcome(server: FreeRadius, station: str) -> Outcome:
        return Outcome([decision["reason"] for decision in server.decisions_about(station)], switch.authorized(station))

    with switch, first:
        with switch.attach(configs[0], stations[0]):
            wait_for(lambda: switch.authorized(stations[0]), "the port to open", timeout=20)
            wait_accepts(first, stations[0])
            before = outcome(first, stations[0])
        assert first.daemon is not None
        first.daemon.stop()
        meanwhile = []
        for station, config, seen in zip(stations[1:3], configs[1:3], (switch.authorized, switch.refused), strict=True):
            began = time.monotonic()
            with switch.attach(config, station):
                wait_for(partial(second.decisions_about, station), "the second server to decide", 110, 0.2)
                print(f"decided after {time.monotonic() - began:.1f} s")
                wait_for(partial(seen, station), "hostapd to act on the decision", timeout=20)
                meanwhile.append(outcome(second, station))
        first.start()
        with switch.attach(configs[3], stations[3]):

            def asked_again() -> bool:
                if switch.authorized(stations[3]) and not accepts(first, stations[3]):
                    switch.wpa_cli("reauthenticate")
                return accepts(first, stations[3]) > 0

            wait_for(asked_again, "the switch to ask the first server again", timeout=110, interval=2)
            after = outcome(first, stations[3])
        return Failover(before, *meanwhile, after, outcome(second, stations[0]).reasons)


def test_the_second_server_decides_while_the_first_is_stopped(scenarios: Scenarios) -> None:
    seen = scenarios.result(failover)
    assert seen.before == (["dane_match"], True)
    assert seen.second_about_before == []
    assert seen.good_meanwhile == (["dane_match"], True)
    assert seen.bad_meanwhile == (["tlsa_absent"], False)


def test_the_switch_returns_to_the_first_server(scenarios: Scenarios) -> None:
    after = scenarios.result(failover).after
    assert after.authorized
    assert "dane_match" in after.reasons
