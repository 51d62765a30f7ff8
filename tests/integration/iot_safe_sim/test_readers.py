"""Two ways in which clients read a modem's port, on a real pseudo-terminal and up to a TLS handshake.

Each sets the port up by itself and takes answers apart by plain text search, with nothing of our own client in between.
"""

from __future__ import annotations

import hashlib
import os
import re
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from iot_safe_sim.card import Card
from iot_safe_sim.interface import containers, public_key, raw_to_der
from iot_safe_sim.keystore import KEY_STORE_NAMES
from iot_safe_sim.middleware import CardIdentity, CardTlsSocket, IoTSafeClient, MemoryTransport
from tests.harness.process import Daemon
from tests.integration.iot_safe_sim.support import PublicOnly
from tests.integration.iot_safe_sim.tls_server import CA, Serve
from tests.unit.iot_safe_sim.support import key_pair, raw_signature, signature_is_valid

Starter = Callable[..., tuple[Daemon, str]]
DIGEST = hashlib.sha256(b"handshake").digest()


class Port:
    """A serial port on which a read ends after a tenth of a second without data."""

    def __init__(self, path: str, *, from_scratch: bool) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | (os.O_NDELAY if from_scratch else 0))
        settings = termios.tcgetattr(self.descriptor)
        if from_scratch:
            # Clear every flag, set the few that are needed, and discard waiting input.
            settings[0] = settings[1] = settings[3] = 0
            settings[2] = termios.CS8 | termios.CREAD | termios.CLOCAL | termios.B115200
            termios.tcflush(self.descriptor, termios.TCIFLUSH)
            os.set_blocking(self.descriptor, True)
        else:
            settings[0] &= ~(termios.IGNBRK | termios.IXON | termios.IXOFF | termios.INLCR | termios.ICRNL)
            settings[1] &= ~(termios.OPOST | termios.ONLCR | termios.OCRNL)
            settings[3] &= ~(termios.ICANON | termios.ECHO | termios.ECHOE | termios.ISIG)
        settings[6][termios.VMIN], settings[6][termios.VTIME] = 0, 1
        termios.tcsetattr(self.descriptor, termios.TCSANOW, settings)

    def __enter__(self) -> Port:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.descriptor)

    def write(self, text: str) -> None:
        assert os.write(self.descriptor, text.encode()) == len(text)

    def line(self) -> str:
        """Read byte by byte to a line feed, or to a pause."""
        read = b""
        while (byte := os.read(self.descriptor, 1)) and byte != b"\n":
            read += byte
        return (read + byte).decode()


class Polling:
    """Reads until a pause, and polls with AT until +CSIM: appears. CLA 81, and 01 for GET RESPONSE; no Le."""

    def __init__(self, port: Port) -> None:
        self.port = port
        while "OK" not in self.talk("ATE0\r\n"):
            pass
        assert self.apdu("01A4040007A0000005590010") == "9000"

    def talk(self, text: str) -> str:
        self.port.write(text)
        said = ""
        while part := self.port.line():
            said += part
        return said

    def apdu(self, digits: str) -> str:
        """Data and status in hexadecimal."""
        # The client pads the length with a space.
        said = self.talk(f'AT+CSIM={len(digits):3d},"{digits}"\r\n')
        while "+CSIM:" not in said:
            assert "ERROR" not in said
            said = self.talk("AT\r\n")
        payload = said.partition("+CSIM:")[2].partition('"')[2]
        if payload.startswith("61"):
            return self.apdu(f"01C00000{payload[2:4]}")
        return payload.partition('"')[0]

    def command(self, digits: str) -> str:
        """The data of a command that must succeed."""
        answer = self.apdu(digits.replace(" ", ""))
        assert answer.endswith("9000"), f"{digits}: {answer}"
        return answer[:-4]

    def only_ok(self, digits: str) -> None:
        """Send a command and expect only OK; then send AT until OK."""
        digits = digits.replace(" ", "")
        assert "OK" in self.talk(f'AT+CSIM={len(digits):3d},"{digits}"\r\n')
        while "OK" not in self.talk("AT\r\n"):
            pass

    def sign(self, digest: bytes) -> bytes:
        self.only_ok("81 2A 0001 0D 840101 A10103 91020001 920104")
        answer = self.command(f"81 2B 8001 22 9E20 {digest.hex().upper()}")
        self.only_ok("81 2A 0101 00")
        assert answer[:6] == "330040"
        return bytes.fromhex(answer[6:])


class ByLine:
    """Reads line by line to one that starts with `+CSIM: `, then to one that is `OK`. CLA 00, Le 00, own channel."""

    def __init__(self, port: Port) -> None:
        self.port = port
        opened = self.apdu("0070000001")
        assert opened.endswith("9000")
        self.channel = opened[:2]

    def apdu(self, digits: str) -> str:
        self.port.write(f'AT+CSIM={len(digits)},"{digits}"\r\n')
        deadline = time.monotonic() + 10
        line = ""
        while not line.startswith("+CSIM: "):
            line = self.port.line()
            assert "ERROR" not in line
            assert time.monotonic() < deadline
        length, _, rest = line.removeprefix("+CSIM: ").partition(",")
        found = re.search("[0-9A-Fa-f]", rest)
        assert found is not None
        response = rest[found.start() : found.start() + int(length)]
        while self.port.line() != "OK\r\n":
            assert time.monotonic() < deadline
        if response[-4:-2] == "61":
            return response[:-4] + self.apdu(f"{digits[:2]}C00000{response[-2:]}")
        assert len(response) // 2 - 2 <= 255
        return response

    def command(self, digits: str) -> str:
        """The data of a command on its channel that must succeed."""
        answer = self.apdu(self.channel + digits.replace(" ", ""))
        assert answer.endswith("9000"), f"{digits}: {answer}"
        return answer[:-4]

    def sign(self, digest: bytes) -> bytes:
        self.command("2A 0000 0D 840101 A10103 91020001 920104")
        answer = self.command(f"2B 8000 22 9E20 {digest.hex().upper()} 00")
        assert answer[:4] == "3340"
        return bytes.fromhex(answer[4:])


CERTIFICATE = bytes(range(256)) * 2 + b"end"


@dataclass
class Provisioned:
    """A modem's port, and the public key of the device key on its card."""

    path: str
    point: bytes


@pytest.fixture(params=KEY_STORE_NAMES)
def modem(request: pytest.FixtureRequest, start_modem: Starter, tmp_path: Path) -> Provisioned:
    with Card(tmp_path / "state", key_store=request.param) as card:
        client = IoTSafeClient(MemoryTransport(card.applet))
        point = client.create_key(containers.DEVICE_KEY)
        client.write_file(containers.CLIENT_CERTIFICATE, CERTIFICATE)
    _daemon, path = start_modem(tmp_path / "state")
    return Provisioned(path, point)


def handshake(serve: Serve, point: bytes, sign: Callable[[bytes], bytes]) -> None:
    """Mutually authenticated TLS with OpenSSL on both ends; the key is behind the port."""
    certificate = CA.issue("device.example.net", key=PublicOnly(public_key(point)))
    identity = CardIdentity(certificate.der, (CA.der,), point, lambda digest: raw_to_der(sign(digest)))
    with CardTlsSocket("localhost", serve(), [CA.der], identity, 20) as tls:
        tls.sendall(b"hello")
        assert tls.recv(100) == b"hello"


@pytest.mark.parametrize("modem", ["softhsm"], indirect=True)
def test_a_client_that_polls_and_waits_for_silence(modem: Provisioned, serve: Serve) -> None:
    """All commands that such a client sends for a handshake of TLS 1.2 or 1.3, and then a handshake."""
    with Port(modem.path, from_scratch=False) as port:
        client = Polling(port)
        random = client.command("8184000034")
        assert len(random) == 2 * 0x34
        # Its own key for the key agreement, and the peer's.
        generated = client.command("81 B9 0000 03 840104")
        assert generated.startswith("84010485010434454943864104")
        peer, point = key_pair()
        client.only_ok("81 24 0002 03 850105")
        assert client.command(f"81 D8 8002 47 34454943 8641{point.hex().upper()}") == ""
        client.only_ok("81 24 0102 00")
        secret = bytes.fromhex(client.command("81 46 0000 06 840104850105"))
        assert secret == peer.exchange(ec.ECDH(), public_key(bytes.fromhex(generated[24:])))
        prk = client.command(f"81 4A 0000 48 D120{secret.hex().upper()} D520{'00' * 32} 91020001")
        assert len(prk) == 64
        # The peer's signature: 9000 alone when it is right, and 6D01 in upper case when it is wrong.
        signature = raw_signature(peer, DIGEST)
        for sent, expected in ((signature, "9000"), (signature[:-1] + bytes([signature[-1] ^ 1]), "6D01")):
            client.only_ok("81 2C 0001 0D 850105 A10103 91020001 920104")
            body = f"9E20{DIGEST.hex()}330040{sent.hex()}".upper()
            assert client.apdu(f"812D800165{body}") == expected
            client.only_ok("81 2C 0101 00")
        # A file: first its size, then its content, 255 bytes at a time.
        described = client.command("81 CB C300 03 830102")
        size = int(described[described.index("2002") + 4 :][:4], 16)
        read = ""
        while len(read) < 2 * size:
            offset = len(read) // 2
            read += client.command(f"81 B0 {offset >> 8:02X}{offset & 255:02X} 03 830102")
        assert bytes.fromhex(read[: 2 * size]) == CERTIFICATE
        assert client.apdu("81CBC30003830177") == "6A82"
        assert signature_is_valid(modem.point, DIGEST, client.sign(DIGEST))
        handshake(serve, modem.point, client.sign)


def test_a_client_that_reads_line_by_line(modem: Provisioned, serve: Serve) -> None:
    with Port(modem.path, from_scratch=True) as port:
        client = ByLine(port)
        client.command("A4 0400 07 A0000002480400")
        assert len(client.command("84 0000 20")) == 64
        read = ""
        # The client does not use the size. It reads while another 255 bytes stay below its limit.
        while len(read) // 2 + 255 < 2048:
            offset = len(read) // 2
            client.command("A4 0400 07 A0000002480400")
            part = client.command(f"B0 {offset >> 8:02X}{offset & 255:02X} 03 830102 00")
            assert part
            read += part
        assert bytes.fromhex(read).rstrip(b"\0") == CERTIFICATE
        peer, point = key_pair()
        generated = client.command("B9 0000 03 840104 00")
        client.command("24 0000 03 850105 00")
        client.command(f"D8 8000 47 34454943 8641{point.hex().upper()} 00")
        secret = bytes.fromhex(client.command("46 0000 06 840104850105 00"))
        assert secret == peer.exchange(ec.ECDH(), public_key(bytes.fromhex(generated[24:])))
        assert signature_is_valid(modem.point, DIGEST, client.sign(DIGEST))
        handshake(serve, modem.point, client.sign)
        assert client.apdu(f"{client.channel}7080{client.channel}00") == "9000"
