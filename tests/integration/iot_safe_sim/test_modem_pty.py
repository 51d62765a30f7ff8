"""The modem process on a real pseudo-terminal, with correct, careless and hostile clients, one after another."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import Callable
from pathlib import Path

import pytest

from iot_safe_sim.interface import GSMA_AID, THALES_AID, THALES_AID_2025, containers
from iot_safe_sim.middleware import IoTSafeClient, SerialTransport, TransportError
from tests.harness.process import Daemon, wait_for

Starter = Callable[..., tuple[Daemon, str]]
SELECT = b'AT+CSIM=24,"00A4040007A0000005590010"\r\n'
SELECTED = b'\r\n+CSIM: 4,"9000"\r\n\r\nOK\r\n'


class RawClient:
    """A serial port without the middleware."""

    def __init__(self, path: str, *, raw: bool = True) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
        if raw:
            tty.setraw(self.descriptor)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.descriptor)

    def write(self, data: bytes) -> None:
        os.write(self.descriptor, data)

    def read_until(self, end: bytes, timeout: float = 10.0) -> bytes:
        received = b""
        while not received.endswith(end):
            readable, _, _ = select.select([self.descriptor], [], [], timeout)
            assert readable, f"only {received!r} within {timeout} s"
            received += os.read(self.descriptor, 4096)
        return received

    def silent(self) -> bool:
        return not select.select([self.descriptor], [], [], 0.1)[0]


@pytest.mark.parametrize("key_store", ["software", "softhsm"])
def test_several_clients_one_after_another(start_modem: Starter, tmp_path: Path, key_store: str) -> None:
    daemon, path = start_modem(tmp_path / "state", "--key-store", key_store)
    with SerialTransport(path) as port:
        public = IoTSafeClient(port).create_key(containers.DEVICE_KEY)
    for aid in (GSMA_AID, THALES_AID, THALES_AID_2025):
        with SerialTransport(path) as port:
            # The channel is never closed.
            client = IoTSafeClient(port, aid=aid, channel=IoTSafeClient.open_channel(port))
            assert client.public_key(containers.DEVICE_KEY) == public
            client.sign(containers.DEVICE_KEY, b"data")
            assert len(client.random(1000)) == 1000
    with SerialTransport(path) as port:
        client = IoTSafeClient(port, channel=IoTSafeClient.open_channel(port))
        client.random(10)
    daemon.stop()
    assert daemon.process.returncode == 0
    assert not os.path.lexists(path)


def test_a_port_that_the_client_leaves_in_cooked_mode_settings(start_modem: Starter, tmp_path: Path) -> None:
    """`echo AT > port` and `cat port`: the client does not set up the terminal, which is raw all the same."""
    _, path = start_modem(tmp_path / "state", "--key-store", "software")
    with RawClient(path, raw=False) as client:
        client.write(b"AT\r\n")
        assert client.read_until(b"OK\r\n") == b"\r\nOK\r\n"
        client.write(SELECT)
        assert client.read_until(b"OK\r\n") == SELECTED


def test_a_command_in_pieces_of_three_bytes(start_modem: Starter, tmp_path: Path) -> None:
    """The echo shows that the modem has read a piece before the next one is written."""
    _, path = start_modem(tmp_path / "state", "--key-store", "software", "--echo")
    pieces = [SELECT[start : start + 3] for start in range(0, len(SELECT), 3)]
    with RawClient(path) as client:
        for piece in pieces[:-1]:
            client.write(piece)
            assert client.read_until(piece) == piece
        assert client.silent()
        client.write(pieces[-1])
        assert client.read_until(b"OK\r\n") == pieces[-1].rstrip(b"\n") + SELECTED


def test_a_command_after_noise(start_modem: Starter, tmp_path: Path) -> None:
    daemon, path = start_modem(tmp_path / "state", "--key-store", "software")
    with RawClient(path) as client:
        for chunk in (os.urandom(3000).replace(b"\r", b"").replace(b"\n", b""), b"\r\n"):
            client.write(chunk)
        assert client.read_until(b"\r\n").startswith(b"\r\n")
        client.write(b"\r\n" + SELECT)
        assert client.read_until(SELECTED[-10:]).endswith(SELECTED)
    assert daemon.running


def test_client_that_leaves_in_mid_command_or_does_not_read(start_modem: Starter, tmp_path: Path) -> None:
    """The next client gets neither half a line nor an old response."""
    daemon, path = start_modem(tmp_path / "state", "--key-store", "software")
    leftovers = (b'AT+CSIM=24,"00A4', b"AT+CSIM", SELECT, SELECT * 20, b"ATE1\r\nAT")
    # Many rounds, because the scheduler decides how far the modem is when the clients change.
    for number, leftover in enumerate(leftovers * 200):
        with RawClient(path) as client:
            client.write(leftover)
            if leftover.endswith(b"\n"):
                # The response is there, and stays unread.
                assert select.select([client.descriptor], [], [], 10)[0]
        with RawClient(path) as client:
            client.write(SELECT)
            assert client.read_until(b"OK\r\n") == SELECTED, leftover
            assert number >= len(leftovers) or client.silent(), leftover
    assert daemon.running


_EXCLUSIVE = """
import fcntl, os, sys, termios
port = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
fcntl.ioctl(port, termios.TIOCEXCL)
os.write(port, b"AT\\r\\n")
answer = b""
while not answer.endswith(b"OK\\r\\n"):
    answer += os.read(port, 100)
"""


def test_a_client_that_locks_the_port_locks_it_for_itself(start_modem: Starter, tmp_path: Path) -> None:
    """The Thales client sets TIOCEXCL. Without CAP_SYS_ADMIN, no program could open the port again."""
    _, path = start_modem(tmp_path / "state", "--key-store", "software")
    for _ in range(30):
        subprocess.run(
            ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-c", _EXCLUSIVE, path], check=True, timeout=20
        )


def test_client_that_never_reads_does_not_stop_the_modem(start_modem: Starter, tmp_path: Path) -> None:
    daemon, path = start_modem(tmp_path / "state", "--key-store", "software")
    with RawClient(path) as client:
        os.set_blocking(client.descriptor, False)
        sent = 0
        try:
            while sent < 1_000_000:
                sent += os.write(client.descriptor, b'AT+CSIM=10,"00840000F0"\r\n')
        except BlockingIOError:
            pass
        assert sent < 1_000_000, "the modem reads on although nobody takes its answers"
    with SerialTransport(path) as port:
        IoTSafeClient(port).random(5)
    assert daemon.running


def test_client_that_is_killed(start_modem: Starter, tmp_path: Path) -> None:
    _, path = start_modem(tmp_path / "state", "--key-store", "software")
    script = (
        "import sys\n"
        "from iot_safe_sim.middleware import IoTSafeClient, SerialTransport\n"
        "port = SerialTransport(sys.argv[1])\n"
        "client = IoTSafeClient(port)\n"
        "print('going', flush=True)\n"
        "while True: client.random(240)\n"
    )
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"going\n"
        process.kill()
        process.wait()
        process.stdout.close()
        with SerialTransport(path) as port:
            assert len(IoTSafeClient(port).random(100)) == 100


def test_state_and_channels_after_the_modem_is_killed(start_modem: Starter, tmp_path: Path) -> None:
    daemon, path = start_modem(tmp_path / "state", "--key-store", "softhsm")
    with SerialTransport(path) as port:
        client = IoTSafeClient(port)
        public = client.create_key(containers.DEVICE_KEY)
        client.write_file(containers.ROOT_CA, b"root")
    daemon.kill()
    with pytest.raises(TransportError):
        SerialTransport(path, timeout=1)
    _, path = start_modem(tmp_path / "state")
    with SerialTransport(path) as port:
        client = IoTSafeClient(port)
        assert client.public_key(containers.DEVICE_KEY) == public
        assert client.read_file(containers.ROOT_CA) == b"root"


def test_lpac_style_client(start_modem: Starter, tmp_path: Path) -> None:
    _, path = start_modem(tmp_path / "state", "--key-store", "software")
    with SerialTransport(path) as port:
        for test in ("AT+CCHO=?", "AT+CCHC=?", "AT+CGLA=?"):
            assert port.command(test) == []
        assert port.command('AT+CCHO="A0000005590010"') == ["+CCHO: 1"]
        (answer,) = port.command('AT+CGLA=1,10,"80CB000044"')
        assert answer.startswith('+CGLA: 140,"')
        port.command("AT+CCHC=1")
        with pytest.raises(TransportError, match="answers ERROR"):
            port.command("AT+CCHC=1")


def test_trace_is_readable_and_read_only_refuses(start_modem: Starter, tmp_path: Path) -> None:
    daemon, path = start_modem(tmp_path / "state", "--key-store", "software", "--trace", "--read-only")
    with SerialTransport(path) as port:
        client = IoTSafeClient(port)
        with pytest.raises(Exception, match="6985"):
            client.create_key(containers.DEVICE_KEY)
    wait_for(lambda: "administration is closed" in daemon.log.read_text(), "the trace line")
    assert "ch0 SELECT P1=04 P2=00 [A0000005590010] -> 9000 ok" in daemon.log.read_text()


def test_signals_end_it_cleanly_and_a_second_modem_is_refused(start_modem: Starter, tmp_path: Path) -> None:
    daemon, path = start_modem(tmp_path / "state", "--key-store", "software")
    command = [sys.executable, "-m", "iot_safe_sim.cli", "modem", "--pty", str(tmp_path / "other")]
    second = subprocess.run([*command, "--state", str(tmp_path / "state")], capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"in use by process {daemon.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    daemon.signal(signal.SIGINT)
    assert daemon.process.wait(10) == 0
    assert not os.path.lexists(path)


def test_a_file_in_the_way_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "sim").write_text("mine")
    command = [sys.executable, "-m", "iot_safe_sim.cli", "modem", "--pty", str(tmp_path / "sim")]
    command += ["--state", str(tmp_path / "state"), "--key-store", "software"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not a symbolic link" in done.stderr
    assert (tmp_path / "sim").read_text() == "mine"


def test_the_terminal_itself_is_raw(start_modem: Starter, tmp_path: Path) -> None:
    _, path = start_modem(tmp_path / "state", "--key-store", "software")
    with RawClient(path, raw=False) as client:
        _, oflag, _, lflag, *_ = termios.tcgetattr(client.descriptor)
        assert not lflag & (termios.ECHO | termios.ICANON)
        assert not oflag & termios.OPOST
