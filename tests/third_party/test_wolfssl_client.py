"""wolfSSL's IoT SAFE demonstration with the card, over the modem's port, up to a TLS session with openssl.

wolfSSL's demonstration reads both certificates from the card, lets the card make and use the ephemeral key, verify
the server's signature, derive secrets and sign. It ends with exit code 0 whatever happens, so the peers are asked.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from iot_safe_sim.interface import containers
from iot_safe_sim.middleware import CardPrivateKey, IoTSafeClient, SerialTransport
from tests.harness.pki import Identity, authority
from tests.harness.process import Daemon, free_port, start
from tests.third_party.wolfssl import demonstration

CA = authority("Devices of example.net")
SERVER = CA.issue("server.example.net", eku=(ExtendedKeyUsageOID.SERVER_AUTH,), common_name="server.example.net")
OTHER_SERVER = CA.issue("other.example.net", eku=(ExtendedKeyUsageOID.SERVER_AUTH,), common_name="other.example.net")
NAME = "sensor.device.example.net"


@dataclass(frozen=True)
class Result:
    """The output of each of the three processes."""

    client: str
    server: str
    card: str

    @property
    def connected(self) -> bool:
        return "Communication ends" in self.client and "CONNECTION ESTABLISHED" in self.server


class Bench:
    """A modem, an `openssl s_server` that wants a certificate, and the client between them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._daemons: list[Daemon] = []

    def modem(self, *options: str) -> None:
        """Start the card's modem."""
        log = self._folder / "modem.log"
        command = [sys.executable, "-m", "iot_safe_sim.cli", "modem", "--pty", str(self._folder / "sim0")]
        command += ["--state", str(self._folder / "card"), "--trace", *options]
        self._daemons.append(start("modem", command, log=log, ready=lambda: "ready" in log.read_text()))

    def provision(self, *, server: Identity = SERVER, device_key: object | None = None) -> None:
        """Generate the device key on the card, and write both certificates."""
        with SerialTransport(str(self._folder / "sim0")) as port:
            client = IoTSafeClient(port)
            client.create_key(containers.DEVICE_KEY)
            key = device_key or CardPrivateKey(client, containers.DEVICE_KEY)
            client.write_file(containers.CLIENT_CERTIFICATE, CA.issue(NAME, key=key).der)
            client.write_file(containers.SERVER_CERTIFICATE, server.der)

    def connect(self, tls: str) -> Result:
        """One run of the client, which is repeated up to twice when the card finds the server's signature wrong.

        Once in 128 signatures, r or s is shorter than 32 bytes. The client does not pad it, and sends the card another
        signature than the server's.
        """
        result = self._run(tls)
        for _ in range(2):
            if "6D01" in result.card:
                result = self._run(tls)
        return result

    def _run(self, tls: str) -> Result:
        """One run of the client against its own server."""
        port, modem_log = free_port(), self._folder / "modem.log"
        server_log = self._folder / f"server-{port}.log"
        before = len(modem_log.read_text())
        certificate, key = SERVER.save(self._folder, "server")
        ca, _ = CA.save(self._folder, "ca")
        server = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", certificate, "-key", key]
        server += ["-CAfile", ca, "-Verify", "1", "-verify_return_error", "-rev", f"-tls{tls.replace('.', '_')}"]
        # The only algorithms of the client's IoT SAFE port.
        server += ["-groups", "P-256", "-sigalgs", "ECDSA+SHA256"]
        self._daemons.append(start("server", server, log=server_log, ready=lambda: "ACCEPT" in server_log.read_text()))
        client = subprocess.run(
            [demonstration(tls), "-ip", "127.0.0.1", "-h", "server", "-p", str(port), "-t", "21", "-d", "sim0"],
            cwd=self._folder,
            capture_output=True,
            timeout=120,
            check=True,
        )
        output = (client.stdout + client.stderr).decode(errors="replace")
        return Result(output, server_log.read_text(), modem_log.read_text()[before:])

    def close(self) -> None:
        for daemon in self._daemons:
            daemon.stop()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.mark.parametrize("tls", ["1.3", "1.2"])
@pytest.mark.parametrize("options", [("--key-store", "softhsm"), ("--key-store", "software", "--echo")])
def test_mutual_tls(bench: Bench, tls: str, options: tuple[str, ...]) -> None:
    bench.modem(*options)
    bench.provision()
    result = bench.connect(tls)
    assert result.connected, result
    assert f"Protocol version: TLSv{tls}" in result.server
    assert "Peer certificate: CN = device" in result.server
    # The card did the cryptography, and refused nothing.
    for command in ("VERIFY SIGNATURE", "GENERATE KEY PAIR", "COMPUTE DH", "COMPUTE SIGNATURE"):
        assert command in result.card
    lines = [line for line in result.card.splitlines() if line.startswith("ch1 ")]
    assert len(lines) > 20
    assert all(" -> 9000 " in line or " -> 61" in line for line in lines), result.card


def test_server_with_another_certificate_than_the_card_trusts(bench: Bench) -> None:
    bench.modem("--key-store", "software")
    bench.provision(server=OTHER_SERVER)
    result = bench.connect("1.3")
    assert not result.connected
    assert "failed to connect" in result.client
    assert "CONNECTION ESTABLISHED" not in result.server


def test_certificate_of_a_key_that_is_not_the_cards(bench: Bench) -> None:
    bench.modem("--key-store", "software")
    bench.provision(device_key=ec.generate_private_key(ec.SECP256R1()))
    result = bench.connect("1.3")
    assert "COMPUTE SIGNATURE" in result.card
    assert "CONNECTION ESTABLISHED" not in result.server
    assert "CONNECTION FAILURE" in result.server
