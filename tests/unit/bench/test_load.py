"""The load generator's NAS with servers that are silent, forge answers, or refuse every device."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bench import radius
from tests.bench.eap_client import FAILURE, SUCCESS, Device, Verdict
from tests.bench.load import Load, closed_loop, open_loop, storm
from tests.unit.bench.eap_server import SECRET, Pki, attributes_of, eap_of, end


@pytest.fixture
def devices(tmp_path: Path) -> list[Device]:
    context = Pki(tmp_path).client()
    return [Device(f"d{number}.example", "example", f"02-{number:04d}", context) for number in range(300)]


class Server:
    """Answers each packet with those that `answers` gives."""

    def __init__(self, answers: Callable[[bytes], list[bytes]]) -> None:
        self.received: list[bytes] = []
        self._answers = answers
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run)

    @contextmanager
    def running(self, **options: float) -> Iterator[Load]:
        self._thread.start()
        address = self._socket.getsockname()
        try:
            yield Load(address, SECRET, **options)  # type: ignore[arg-type]
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"end", address)
            self._thread.join(10)
            self._socket.close()

    def _run(self) -> None:
        while True:
            packet, sender = self._socket.recvfrom(4096)
            if packet == b"end":
                return
            self.received.append(packet)
            for answer in self._answers(packet):
                self._socket.sendto(answer, sender)


def refuse(packet: bytes) -> bytes:
    return radius.response(radius.ACCESS_REJECT, packet, radius.eap_message(end(FAILURE, 0)), SECRET)


def test_a_silent_server_is_asked_the_same_again_and_given_up(devices: list[Device]) -> None:
    server = Server(lambda _packet: [])
    with server.running(retransmit=0.02, attempts=3) as load:
        done = storm(load, devices[:2])
    assert [outcome.verdict for outcome in done.outcomes] == [Verdict.TIMEOUT] * 2
    assert [outcome.retransmissions for outcome in done.outcomes] == [2, 2]
    # The identifier and the Request Authenticator, too: a retransmission is the same packet (RFC 2865 section 2.5).
    assert sorted(Counter(server.received).values()) == [3, 3]


def test_forged_answers_do_not_end_an_authentication(devices: list[Device]) -> None:
    def forge(packet: bytes) -> list[bytes]:
        forged = radius.response(radius.ACCESS_ACCEPT, packet, radius.eap_message(end(SUCCESS, 0)), b"guessed")
        other = bytes((forged[0], forged[1] ^ 128)) + forged[2:]
        return [forged, other, b"", b"\x02", refuse(packet)]

    with Server(forge).running() as load:
        done = storm(load, devices[:1])
    assert [outcome.verdict for outcome in done.outcomes] == [Verdict.REJECTED]
    assert done.ignored == 4


def test_each_device_gets_one_try_and_its_own_answer(devices: list[Device]) -> None:
    server = Server(lambda packet: [refuse(packet), refuse(packet)])
    with server.running(sockets=2) as load:
        done = storm(load, devices)
    assert {outcome.device.name for outcome in done.outcomes} == {device.name for device in devices}
    assert {outcome.verdict for outcome in done.outcomes} == {Verdict.REJECTED}
    assert {outcome.why for outcome in done.outcomes} == {"EAP-Failure"}


def test_with_every_identifier_in_use_the_next_device_waits(devices: list[Device]) -> None:
    server = Server(lambda _packet: [])
    with server.running(sockets=1, retransmit=0.5, attempts=1) as load:
        done = storm(load, devices)
    assert len(done.outcomes) == 300
    assert len([outcome for outcome in done.outcomes if outcome.began >= 0.5]) == 300 - 256


@pytest.mark.parametrize(("anonymous", "identity"), [(True, b"anonymous@example"), (False, b"d0.example")])
def test_a_device_names_itself_or_its_zone(devices: list[Device], anonymous: bool, identity: bytes) -> None:
    server = Server(lambda packet: [refuse(packet)])
    with server.running(anonymous=anonymous) as load:
        storm(load, devices[:1])
    (packet,) = server.received
    assert eap_of(packet)[5:] == identity
    assert dict(attributes_of(packet))[radius.USER_NAME] == identity


def test_a_closed_loop_keeps_so_many_under_way(devices: list[Device]) -> None:
    server = Server(lambda packet: [refuse(packet)])
    with server.running() as load:
        done = closed_loop(load, devices[:3], 3, 10)
        with pytest.raises(ValueError, match="3 devices for 4 at once"):
            closed_loop(load, devices[:3], 4, 10)
    assert Counter(outcome.device.name for outcome in done.outcomes) == {
        "d0.example": 4,
        "d1.example": 3,
        "d2.example": 3,
    }


def test_an_open_loop_begins_devices_at_their_times(devices: list[Device]) -> None:
    with Server(lambda packet: [refuse(packet)]).running() as load:
        done = open_loop(load, [(0.0, devices[0]), (0.05, devices[1])])
    began = {outcome.device.name: outcome.began for outcome in done.outcomes}
    assert began["d1.example"] >= 0.05
