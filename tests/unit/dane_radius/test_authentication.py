"""One authentication, around the pure decision: which request it is decided by, and what is logged of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dane_radius.core.answers import Secure
from dane_radius.core.ruling import Decision
from dane_radius.local import Entry, Header
from dane_radius.server.authentication import Authentication, NotYet
from dane_radius.server.config import check_config
from dane_radius.server.service import Service
from policy import DeviceStanding, RequestFacts, Standing
from tests.harness.pki import authority, self_signed
from tests.harness.process import free_port, wait_for
from tests.harness.tls_session import server_session

NAME = "a1.camera._device.example.net"
DEVICE = authority("Authentication CA").issue(NAME)
POLICY = """\
version: 1
networks: {lab: {ssid: [lab]}, house: {ssid: [house]}}
rules:
  - {name: lab, identity: ["*.camera._device.example.net"], networks: [lab], grant: {vlan: 9}}
  - {name: house, identity: ["*.camera._device.example.net"], networks: [house], grant: {vlan: 7}}
"""
LAB, HOUSE, CAFE = (RequestFacts(ssid=ssid, nas_identifier="ap-1") for ssid in ("lab", "house", "cafe"))


@pytest.fixture
def session(tmp_path: Path) -> str:
    folder = tmp_path / "sessions"
    folder.mkdir()
    path = folder / "one.asn1"
    path.write_bytes(server_session(tmp_path, self_signed("radius.example.net"), DEVICE))
    return str(path)


def settings(folder: Path) -> dict[str, Any]:
    return {
        "policy": str(folder / "policy.yaml"),
        "anchors": str(folder / "anchors"),
        "control_socket": None,
        "metrics": {"port": 0},
        "resolver": {"port": free_port(), "timeout": 0.2},
        "session": {"directory": str(folder / "sessions"), "resumption": True},
        "log": {"destination": str(folder / "log"), "interval": 0.05},
    }


@pytest.fixture
def service(tmp_path: Path, session: str) -> Iterator[Service]:
    (tmp_path / "policy.yaml").write_text(POLICY)
    made = Service(check_config(settings(tmp_path), "test"))
    made.start()
    yield made
    made.stop()


def known(service: Service) -> None:
    with service.lookups.lock:
        service.lookups.cache.store(NAME, Secure((DEVICE.tlsa(),), 3600), time.monotonic())


def vlan(decision: Decision | NotYet) -> str | None:
    assert isinstance(decision, Decision)
    return {name: value for name, _, value in decision.attributes}.get("Tunnel-Private-Group-Id:0")


def logged(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    return [line for line in lines if line["event"] == "decision"]


@pytest.mark.parametrize(
    ("early", "place", "expected"), [(LAB, LAB, "9"), (LAB, HOUSE, "7"), (HOUSE, CAFE, None), (CAFE, LAB, "9")]
)
def test_the_place_of_the_last_request_counts_in_decision_and_log(
    service: Service, session: str, tmp_path: Path, early: RequestFacts, place: RequestFacts, expected: str | None
) -> None:
    """A NAS may name another SSID in each packet. What looking ahead found is for the place that it was told of."""
    known(service)
    service.authenticator.look_ahead(session, early)
    authentication = Authentication(session, place, "anonymous@example.net")
    decision = service.check(authentication)
    assert vlan(decision) == expected
    assert isinstance(decision, Decision)
    service.report(authentication, decision)
    wait_for(lambda: logged(tmp_path), "the decision in the log", 5)
    [line] = logged(tmp_path)
    assert (line["ssid"], line["verdict"]) == (place.ssid, "accept" if expected else "reject")
    assert expected is not None or line["reason"] == "policy_network"


def test_the_place_counts_after_a_wait_too(service: Service, session: str) -> None:
    authentication = Authentication(session, HOUSE)
    outcome = service.check(authentication)
    assert isinstance(outcome, NotYet)
    known(service)
    found, decision = service.resume(outcome.wait)
    assert found is authentication
    assert decision.ruling.rule == "house"


# --- the standing of the device

STANDING_POLICY = """\
version: 2
zones: {inside: {vlan: 9}, quarantine: {vlan: 666}}
standing: {quarantined: {zone: quarantine}}
rules:
  - {name: lab, identity: ["*.camera._device.example.net"], zone: inside}
"""
HEADER = Header("https://operations.example.net", 1).to_line() + b"\n"
QUARANTINED = Entry(NAME, standing=Standing.QUARANTINED)


class Journal:
    """A standing journal, and a module that follows it. now: the clock of both."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder / "standing", time.time()
        self.folder.mkdir()
        (folder / "policy.yaml").write_text(STANDING_POLICY)
        self.service = Service(
            check_config({**settings(folder), "standing": str(self.folder)}, "test"), clock=lambda: self.now
        )

    def write(self, *entries: Entry) -> None:
        self.folder.joinpath("journal").write_bytes(HEADER)
        self.append(*entries)

    def append(self, *entries: Entry) -> None:
        with self.folder.joinpath("journal").open("ab") as file:
            file.write(b"".join(entry.to_line(2) + b"\n" for entry in entries))
        assert self.service.standings.table is not None
        self.service.standings.table.refresh()


@pytest.fixture
def journal(tmp_path: Path, session: str) -> Iterator[Journal]:
    made = Journal(tmp_path)
    made.service.start()
    yield made
    made.service.stop()


def reason(decision: Decision | NotYet) -> str:
    assert isinstance(decision, Decision)
    return decision.ruling.reason.value


def test_without_a_journal_no_device_is_admitted_and_with_one_they_are(journal: Journal, session: str) -> None:
    known(journal.service)
    decision = journal.service.check(Authentication(session, LAB))
    assert reason(decision) == "standing_unavailable"
    assert isinstance(decision, Decision)
    assert decision.ruling.name == NAME
    journal.write()
    assert vlan(journal.service.check(Authentication(session, LAB))) == "9"
    # It stays in force when the file goes away, or can no longer be read.
    journal.append(QUARANTINED)
    (journal.folder / "journal").write_bytes(b"x\n")
    journal.append()
    assert vlan(journal.service.check(Authentication(session, LAB))) == "666"
    assert journal.service.operations.status()["standing"]["available"]
    assert journal.service.operations.status()["standing"]["error"]


def test_no_cache_outlives_a_change_of_standing(journal: Journal, session: str) -> None:
    known(journal.service)
    journal.write()
    for entry, expected in (
        (None, "9"),
        (QUARANTINED, "666"),
        (Entry(NAME, standing=Standing.BLOCKED), "device_blocked"),
        (Entry(NAME, removed=True), "9"),
        (Entry("example.net", maker=True, standing=Standing.QUARANTINED), "666"),
        (Entry("example.net", maker=True, removed=True), "9"),
        (QUARANTINED._replace(zone="inside"), "9"),
        (QUARANTINED._replace(zone="unknown"), "zone_unknown"),
    ):
        # What looking ahead found, before the change, is not used after it.
        journal.service.authenticator.look_ahead(session, LAB)
        if entry is not None:
            journal.append(entry)
        for _ in range(2):
            decision = journal.service.check(Authentication(session, LAB))
            assert (vlan(decision) or reason(decision)) == expected


def test_no_cache_outlives_the_end_of_a_standing(journal: Journal, session: str) -> None:
    known(journal.service)
    ends = int(journal.now) + 100.0
    journal.write(QUARANTINED._replace(until=ends, then=Standing.BLOCKED))
    for at, expected in (
        (ends - 50, "666"),
        (ends - 0.01, "666"),
        (ends, "device_blocked"),
        (ends + 1, "device_blocked"),
    ):
        journal.service.authenticator.look_ahead(session, LAB)
        journal.now = at
        decision = journal.service.check(Authentication(session, LAB))
        assert (vlan(decision) or reason(decision)) == expected
        if expected == "666":
            assert isinstance(decision, Decision)
            assert decision.session_timeout is not None
            assert decision.session_timeout <= max(1, ends - at)


def test_the_standing_counts_after_a_wait_too(journal: Journal, session: str) -> None:
    journal.write()
    outcome = journal.service.check(Authentication(session, LAB))
    assert isinstance(outcome, NotYet)
    journal.append(QUARANTINED)
    _, decision = journal.service.resume(outcome.wait)
    assert decision.ruling.evidence.zone == "quarantine"


def test_log_and_metrics_say_standing_and_zone(journal: Journal, session: str, tmp_path: Path) -> None:
    known(journal.service)
    journal.write(QUARANTINED._replace(approved=True))
    place = LAB._replace(nas_address="192.0.2.7", nas_port_type="Wireless-802.11", realm="home.example")
    authentication = Authentication(session, place, "anonymous@home.example")
    decision = journal.service.check(authentication)
    assert isinstance(decision, Decision)
    journal.service.report(authentication, decision)
    wait_for(lambda: logged(tmp_path), "the decision in the log", 5)
    [line] = logged(tmp_path)
    found = {key: line[key] for key in ("nas", "nas_address", "port_type", "realm", "ssid")}
    assert found == {
        "nas": "ap-1", "nas_address": "192.0.2.7", "port_type": "Wireless-802.11", "realm": "home.example",
        "ssid": "lab",
    }  # fmt: skip
    assert {**line["evidence"], "zone": "quarantine", "standing": "quarantined", "approved": True} == line["evidence"]
    sample = journal.service.metrics.registry.get_sample_value
    assert sample("dane_radius_admissions_total", {"zone": "quarantine"}) == 1
    assert sample("dane_radius_admissions_total", {"zone": "inside"}) == 0
    assert sample("dane_radius_standing_devices", {"standing": "quarantined"}) == 1
    assert sample("dane_radius_standing_available") == 1


async def test_the_control_socket_has_the_journal_read_at_once(journal: Journal) -> None:
    journal.write()
    with journal.folder.joinpath("journal").open("ab") as file:
        file.write(QUARANTINED.to_line(7) + b'\n{"position":7}\n')
    reply = await journal.service.operations.handle({"op": "standing"})
    assert reply == {"done": True, "sequence": 7, "latest": 7, "error": None}
    assert journal.service.standings.of(NAME) == DeviceStanding(Standing.QUARANTINED)
