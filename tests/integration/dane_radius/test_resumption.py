"""Resumed TLS sessions: each resumption gets a decision of its own, or is refused."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dane_radius.local.control_socket import ask
from tests.harness.eap import EapResult, authenticate, next_station, write_peer_config
from tests.harness.freeradius import FreeRadius
from tests.harness.knot import Knot
from tests.harness.pki import Authority, Identity, authority
from tests.harness.process import wait_for
from tests.harness.unbound import Unbound
from tests.integration.dane_radius.conftest import POLICY, ZONE

pytestmark = pytest.mark.daemons

TLS = pytest.mark.parametrize("tls", ["1.2", "1.3"])


_numbers = itertools.count(1)


class Resumer:
    """A server that allows resumption, and a peer that authenticates ten times a second for some seconds."""

    def __init__(self, folder: Path, dns: tuple[Knot, Unbound]) -> None:
        self.knot, self.unbound = dns
        self.ca: Authority = authority("Resumption Test CA")
        self.radius = FreeRadius(folder / "resumption", self.unbound.port, POLICY, [self.ca], resumption=True)
        self._count = 0

    def device(self) -> tuple[str, Identity]:
        name = f"r{next(_numbers)}.camera._device.iot.example"
        device = self.ca.issue(name)
        self.knot.add_tlsa(ZONE, name, str(device.tlsa()), 3600)
        return name, device

    def start(self, device: Identity, tls: str, repeat: int) -> tuple[str, threading.Thread, list[EapResult]]:
        self._count += 1
        config = write_peer_config(
            self.radius.folder / "peers",
            device,
            identity="anonymous@iot.example",
            server_ca=self.radius.server_ca_file,
            tls=tls,
            name=f"p{self._count}",
        )
        station = next_station()
        results: list[EapResult] = []
        run = threading.Thread(
            target=lambda: results.append(authenticate(self.radius, config, station=station, repeat=repeat, timeout=60))
        )
        run.start()
        return station, run, results

    def decisions(self, station: str) -> list[tuple[str, bool]]:
        """Reason, and whether the session was resumed, of each decision about a station."""
        wanted = station.replace(":", "-")
        return [
            (d["reason"], d["evidence"].get("resumed", False))
            for d in self.radius.decisions()
            if d.get("station", "").lower() == wanted
        ]

    def flush(self, name: str) -> None:
        self.unbound.flush(name)
        ask(str(self.radius.control_socket), "flush", name=name)


@pytest.fixture(scope="module")
def resumer(folder: Path, dns: tuple[Knot, Unbound]) -> Iterator[Resumer]:
    resumer = Resumer(folder, dns)
    with resumer.radius:
        yield resumer


@TLS
def test_a_session_resumes_and_is_decided_each_time(resumer: Resumer, tls: str) -> None:
    _, device = resumer.device()
    station, run, results = resumer.start(device, tls, 5)
    run.join()
    assert results[0].accepted
    wait_for(lambda: len(resumer.decisions(station)) == 6, "six decisions")
    decisions = resumer.decisions(station)
    assert [reason for reason, _ in decisions] == ["dane_match"] * 6
    assert decisions[0][1] is False
    assert "Handshake finished - resumed=1" in results[0].output, "nothing was resumed"
    # A session resumed with TLS 1.3 shows the certificate in its new session file, like a full handshake.
    assert any(resumed for _, resumed in decisions) == (tls == "1.2")
    # The reply of a resumed session is the decision's, once.
    assert len(results[0].attributes["User-Name"]) == 1
    assert results[0].attributes["Tunnel-Private-Group-Id"] == [b"42".hex()]


@TLS
def test_a_deleted_record_ends_resumption_too(resumer: Resumer, tls: str) -> None:
    name, device = resumer.device()
    station, run, results = resumer.start(device, tls, 60)
    wait_for(lambda: len(resumer.decisions(station)) >= 4, "some decisions")
    resumer.knot.delete_tlsa(ZONE, name)
    resumer.flush(name)
    run.join()
    assert results[0].code == "Access-Reject"
    assert not results[0].accepted
    wait_for(lambda: resumer.decisions(station)[-1][0] == "tlsa_absent", "the reject")
    assert "Handshake finished - resumed=1" in results[0].output, "nothing was resumed before"


@TLS
def test_a_device_leaves_the_files_of_its_newest_session_only(resumer: Resumer, tls: str) -> None:
    _, device = resumer.device()
    before = set(resumer.radius.session_dir.iterdir())
    station, run, results = resumer.start(device, tls, 6)
    run.join()
    assert results[0].accepted
    wait_for(lambda: len(resumer.decisions(station)) == 7, "seven decisions")
    # With TLS 1.3, every second attempt resumes, and the last one is a full handshake again.
    wait_for(lambda: len(set(resumer.radius.session_dir.iterdir()) - before) <= 3, "the older files to go")
    left = set(resumer.radius.session_dir.iterdir()) - before
    assert any(path.suffix == ".vps" for path in left), "the newest session can be resumed"


def test_a_changed_policy_counts_for_a_resumed_session(resumer: Resumer) -> None:
    _, device = resumer.device()
    station, run, results = resumer.start(device, "1.2", 45)
    wait_for(lambda: len(resumer.decisions(station)) >= 4, "some decisions")
    try:
        resumer.radius.write_policy(POLICY.replace("vlan: 42", "vlan: 77"))
        run.join()
        assert results[0].accepted
        assert resumer.decisions(station)[-1] == ("dane_match", True)
        assert results[0].attributes["Tunnel-Private-Group-Id"] == [b"77".hex()]
    finally:
        resumer.radius.write_policy(POLICY)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (
            '&Cached-Session-Policy := "dane1 %{md5:x}%{md5:x} %{outer.reply:Cached-Session-Policy}"',
            "resumption_data_invalid",
        ),
        ('&Cached-Session-Policy := "something else"', "resumption_data_invalid"),
        ("&Cached-Session-Policy !* ANY", "session_file_missing"),
    ],
)
def test_a_session_without_its_data_is_refused(
    folder: Path, dns: tuple[Knot, Unbound], damage: str, reason: str, request: pytest.FixtureRequest
) -> None:
    resumer = Resumer(folder / f"damage-{abs(hash(request.node.name))}", dns)
    resumer.radius.prepare()
    site = resumer.radius.raddb / "sites-available" / "dane-check"
    marker = "\t\tdane.authenticate {\n"
    text = site.read_text()
    assert marker in text
    # Only where something is resumed: the full handshake before must succeed.
    override = f"\t\tif (&Cached-Session-Policy) {{\n\t\t\tupdate request {{\n\t\t\t\t{damage}\n\t\t\t}}\n\t\t}}\n"
    site.write_text(text.replace(marker, override + marker, 1))
    with resumer.radius:
        _, device = resumer.device()
        station, run, results = resumer.start(device, "1.2", 3)
        run.join()
        assert results[0].code == "Access-Reject"
        wait_for(lambda: len(resumer.decisions(station)) >= 2, "two decisions")
        decisions = [found for found, _ in resumer.decisions(station)]
        assert decisions[0] == "dane_match"
        assert decisions[1] == reason


def test_a_session_whose_file_is_gone_is_refused_or_not_resumed(resumer: Resumer) -> None:
    _, device = resumer.device()
    station, run, results = resumer.start(device, "1.2", 40)
    wait_for(lambda: len(resumer.decisions(station)) >= 4, "some decisions")
    for path in resumer.radius.session_dir.iterdir():
        path.unlink()
    run.join()
    # FreeRADIUS falls back to a full handshake, which shows the certificate again.
    assert results[0].accepted
    assert ("dane_match", False) in resumer.decisions(station)[4:]
