"""A switch port and the decision behind it: opened, closed, decided again, on IPv4 and IPv6."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from tests.harness.eap import next_station
from tests.harness.freeradius import FreeRadius
from tests.harness.process import wait_for
from tests.harness.switch import Switch
from tests.integration.network.resilience.network import Network, Scenarios, accepts, scenario, wait_accepts

pytestmark = pytest.mark.daemons

TLS = pytest.mark.parametrize("tls", ["1.2", "1.3"])


@pytest.fixture(scope="module")
def resuming_server(net: Network) -> Iterator[FreeRadius]:
    with net.server("resuming", resumption=True) as server:
        yield server


@pytest.fixture(scope="module")
def switch(net: Network) -> Iterator[Switch]:
    with net.switch(net.main) as one:
        yield one


@pytest.fixture(scope="module")
def ipv6_switch(net: Network) -> Iterator[Switch]:
    with net.switch(net.main, ipv6=True) as one:
        yield one


@TLS
def test_a_port_opens_to_a_device_with_a_record(net: Network, switch: Switch, tls: str) -> None:
    _, device = net.device()
    station = next_station()
    with switch.attach(net.peer(net.main, device, tls=tls, switch=switch), station):
        wait_for(lambda: switch.authorized(station), "the port to open", timeout=20)
        assert f"eap_tls_version=TLSv{tls}" in switch.wpa_cli("status")
        assert net.main.decision_for(station)["reason"] == "dane_match"


@TLS
def test_a_port_stays_closed_to_a_device_without_a_record(net: Network, switch: Switch, tls: str) -> None:
    _, device = net.device(vouched=False)
    station = next_station()
    with switch.attach(net.peer(net.main, device, tls=tls, switch=switch), station):
        wait_for(lambda: switch.refused(station), "hostapd to see the refusal", timeout=20)
        assert not switch.authorized(station)
        assert net.main.decision_for(station)["reason"] == "tlsa_absent"


def test_over_ipv6_a_port_opens_to_a_device_with_a_record(net: Network, ipv6_switch: Switch) -> None:
    _, device = net.device()
    station = next_station()
    with ipv6_switch.attach(net.peer(net.main, device, switch=ipv6_switch), station):
        wait_for(lambda: ipv6_switch.authorized(station), "the port to open", timeout=20)
        decision = net.main.decision_for(station)
        assert (decision["nas"], decision["reason"]) == (ipv6_switch.name, "dane_match")


def test_over_ipv6_a_port_stays_closed_to_a_device_without_a_record(net: Network, ipv6_switch: Switch) -> None:
    _, device = net.device(vouched=False)
    station = next_station()
    with ipv6_switch.attach(net.peer(net.main, device, switch=ipv6_switch), station):
        wait_for(lambda: ipv6_switch.refused(station), "hostapd to see the refusal", timeout=20)
        assert not ipv6_switch.authorized(station)
        decision = net.main.decision_for(station)
        assert (decision["nas"], decision["reason"]) == (ipv6_switch.name, "tlsa_absent")


@TLS
def test_a_fast_reconnect_is_decided_again(net: Network, resuming_server: FreeRadius, tls: str) -> None:
    """The device authenticates again and resumes its TLS session; the server asks the DNS all the same."""
    name, device = net.device()
    station = next_station()
    with (
        net.switch(resuming_server) as switch,
        switch.attach(net.peer(resuming_server, device, tls=tls, switch=switch), station),
    ):
        wait_for(lambda: switch.authorized(station), "the port to open", timeout=20)
        wait_accepts(resuming_server, station, 1)
        switch.wpa_cli("reauthenticate")
        wait_accepts(resuming_server, station, 2)
        assert "tls_session_reused=1" in switch.wpa_cli("status")
        both = resuming_server.decisions_about(station)
        # A session resumed with TLS 1.3 shows the certificate in its new session file, like a full handshake.
        assert [decision["evidence"].get("resumed", False) for decision in both] == [False, tls == "1.2"]
        assert switch.authorized(station)
        net.revoke(name)
        net.forget(resuming_server, name)
        switch.wpa_cli("reauthenticate")
        wait_for(lambda: switch.refused(station), "the refusal of the resumed session", timeout=20)
        wait_for(lambda: not switch.authorized(station), "the port to close")
        wait_for(lambda: len(resuming_server.decisions_about(station)) == 3, "the third decision")
        last = resuming_server.decisions_about(station)[-1]
        assert last["reason"] == "tlsa_absent"
        assert last["evidence"].get("resumed", False) == (tls == "1.2")


def accounting(server: FreeRadius, name: str) -> list[tuple[str, str | None]]:
    """The Session-Id and the end (None: live) of each session of a device, the oldest first."""
    with contextlib.closing(sqlite3.connect(server.accounting_db)) as database:
        query = "SELECT acctsessionid, acctstoptime FROM radacct WHERE username = ? ORDER BY radacctid"
        return [tuple(row) for row in database.execute(query, [name])]


def test_a_switch_that_restarts_closes_its_sessions(net: Network) -> None:
    """hostapd dies without a farewell. Its Accounting-On ends the old record, and the device is decided again."""
    name, device = net.device()
    station = next_station()
    with net.switch(net.main) as switch, switch.attach(net.peer(net.main, device, switch=switch), station):
        wait_for(lambda: switch.authorized(station), "the port to open", timeout=20)
        wait_for(lambda: len(accounting(net.main, name)) == 1, "the first accounting record")
        switch.crash_and_restart()
        assert switch.stations() == []
        # Before the device connects again: the Accounting-On ends the record, not the next session.
        wait_for(lambda: accounting(net.main, name)[0][1], "the first session to be over")
        switch.wpa_cli("reauthenticate")
        wait_for(lambda: switch.authorized(station), "the port to open again", timeout=20)
        wait_accepts(net.main, station, 2)
        assert accepts(net.main, station) == 2
        wait_for(lambda: len(accounting(net.main, name)) == 2, "the second accounting record")
        (first, _), (second, second_end) = accounting(net.main, name)
        assert first != second
        assert second_end is None


def test_a_switch_that_restarts_opens_its_port_to_no_intruder(net: Network) -> None:
    _, intruder = net.device(vouched=False)
    station = next_station()
    with net.switch(net.main) as switch, switch.attach(net.peer(net.main, intruder, switch=switch), station):
        switch.crash_and_restart()
        # Whatever was refused before the restart counts for nothing.
        refused = switch.refused(station)
        switch.wpa_cli("reauthenticate")
        wait_for(lambda: switch.refused(station) > refused, "the refusal", timeout=20)
        assert not switch.authorized(station)


@dataclass(frozen=True)
class Reauthentications:
    """Two devices at their session timeout: `kept` has its record, `lost` does not any more."""

    kept_accepts: int
    kept_authorized: bool
    kept_disconnections: int
    lost_authorized: bool
    lost_reasons: list[str]


@scenario
def reauthentication(net: Network) -> Reauthentications:
    with contextlib.ExitStack() as stack:
        kept, lost = (stack.enter_context(net.switch(net.main)) for _ in range(2))
        kept_at, lost_at = next_station(), next_station()
        (_, keeping), (losing_name, losing) = net.device(ttl=1), net.device(ttl=1)
        for switch, station, device in ((kept, kept_at, keeping), (lost, lost_at, losing)):
            stack.enter_context(switch.attach(net.peer(net.main, device, switch=switch), station))
        for switch, station in ((kept, kept_at), (lost, lost_at)):
            wait_for(partial(switch.authorized, station), "the port to open", timeout=20)
            wait_accepts(net.main, station)
        net.revoke(losing_name)
        wait_accepts(net.main, kept_at, 2, timeout=60)
        wait_for(lambda: lost.refused(lost_at), "the refusal at the re-authentication", timeout=60, interval=0.2)
        wait_for(lambda: not lost.authorized(lost_at), "the port to close")
        wait_for(lambda: len(net.main.decisions_about(lost_at)) >= 2, "the second decision in the log")
        return Reauthentications(
            kept_accepts=accepts(net.main, kept_at),
            kept_authorized=kept.authorized(kept_at),
            kept_disconnections=kept.disconnections(),
            lost_authorized=lost.authorized(lost_at),
            lost_reasons=[decision["reason"] for decision in net.main.decisions_about(lost_at)],
        )


def test_the_decision_is_made_again_at_session_timeout(scenarios: Scenarios) -> None:
    """A device whose record still stands stays connected; one whose record was deleted finds its port closed."""
    seen = scenarios.result(reauthentication)
    assert seen.kept_accepts >= 2
    assert seen.kept_authorized
    assert seen.kept_disconnections == 0
    assert not seen.lost_authorized
    assert seen.lost_reasons == ["dane_match", "tlsa_absent"]
