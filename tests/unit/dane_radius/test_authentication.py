"""One authentication, around the pure decision: which request it is decided by, and what is logged of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dane_radius.core.answers import Secure
from dane_radius.core.ruling import Decision
from dane_radius.server.authentication import Authentication, NotYet
from dane_radius.server.config import check_config
from dane_radius.server.service import Service
from policy import RequestFacts
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


@pytest.fixture
def service(tmp_path: Path, session: str) -> Iterator[Service]:
    (tmp_path / "policy.yaml").write_text(POLICY)
    made = Service(
        check_config(
            {
                "policy": str(tmp_path / "policy.yaml"),
                "anchors": str(tmp_path / "anchors"),
                "control_socket": None,
                "metrics": {"port": 0},
                "resolver": {"port": free_port(), "timeout": 0.2},
                "session": {"directory": str(tmp_path / "sessions"), "resumption": True},
                "log": {"destination": str(tmp_path / "log"), "interval": 0.05},
            },
            "test",
        )
    )
    made.start()
    yield made
    made.stop()


def known(service: Service) -> None:
    with service.lookups.lock:
        service.lookups.cache.store(NAME, Secure((DEVICE.tlsa(),), 3600), time.monotonic())


def vlan(decision: Decision | NotYet) -> str | None:
    assert isinstance(decision, Decision)
    return {name: value for name, _, value in decision.attributes}.get("Tunnel-Private-Group-Id:0")


def logged(folder: Path) -> list[dict[str, str]]:
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
