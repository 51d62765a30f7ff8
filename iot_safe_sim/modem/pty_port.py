"""The modem's serial port: a pseudo-terminal that serves one client after another until the process stops it.

The process keeps the client side of the terminal open too, so that reading does not fail when a client closes it. File
notifications show when a client has left. What it did not read is discarded then.
"""

from __future__ import annotations

import fcntl
import os
import select
import selectors
import termios
import tty
from pathlib import Path

import structlog

from iot_safe_sim.modem.at_interpreter import Modem
from iot_safe_sim.modem.errors import PortError
from iot_safe_sim.modem.terminal_watch import TerminalWatch

log = structlog.get_logger("iot_safe_sim")

#: Characters of the path. wolfSSL's demonstration copies it into 30 bytes.
LONGEST_SAFE_PATH = 29
_READ_SIZE = 4096
#: More reads than empty a terminal's buffers: a client that never stops writing must not hold the port.
_MOST_READS = 64
#: Seconds without a byte after which nothing more of what a client had sent will come.
_QUIET = 0.02


class PtyPort:
    """A pseudo-terminal that appears as `path` (a symbolic link)."""

    def __init__(self, path: Path, modem: Modem) -> None:
        self._path = path
        self._modem = modem
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._device = os.ttyname(self._slave)
        self._outgoing = b""
        self._watch = TerminalWatch(self._device)
        self._wake_read, self._wake_write = os.pipe()
        try:
            self._link()
        except PortError:
            self.close()
            raise

    @property
    def device(self) -> str:
        """The terminal's own path, /dev/pts/N."""
        return self._device

    def _link(self) -> None:
        if self._path.exists() and not self._path.is_symlink():
            raise PortError(f"{self._path}: exists and is not a symbolic link; not replacing it")
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            temporary.symlink_to(self._device)
            temporary.replace(self._path)
        except OSError as error:
            raise PortError(f"{self._path}: {error.strerror}") from error

    def stop(self) -> None:
        """Make `serve` return. May be called from a signal handler."""
        os.write(self._wake_write, b"x")

    def serve(self) -> None:
        """Answer clients until `stop`."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._watch.descriptor, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            selector.register(self._master, selectors.EVENT_READ)
            while True:
                # While a response cannot be sent, no further command is read: the client has to read first.
                events = selectors.EVENT_WRITE if self._outgoing else selectors.EVENT_READ
                selector.modify(self._master, events)
                ready = {key.fd for key, _ in selector.select()}
                if self._wake_read in ready:
                    return
                if self._watch.last_client_left():
                    self._switch_client(b"")
                elif self._master in ready:
                    self._send() if self._outgoing else self._receive()

    def close(self) -> None:
        """Remove the link and close the terminal."""
        if self._path.is_symlink() and os.readlink(self._path) == self._device:
            self._path.unlink()
        self._watch.close()
        for descriptor in (self._master, self._slave, self._wake_read, self._wake_write):
            os.close(descriptor)

    def _receive(self) -> None:
        """Read once and respond, unless the client left meanwhile: the next client must not get the response."""
        data = self._read()
        if self._watch.last_client_left():
            self._switch_client(data)
            return
        self._unlock()
        self._outgoing = self._modem.feed(data)
        if self._watch.last_client_left():
            self._switch_client(b"")
            return
        self._send()

    def _unlock(self) -> None:
        """Allow the next client to open the port, even if this one made it exclusive (TIOCEXCL).

        A serial port drops that setting when its last user closes it. This one is never closed: it would stay locked.
        """
        fcntl.ioctl(self._slave, termios.TIOCNXCL)

    def _read(self) -> bytes:
        try:
            return os.read(self._master, _READ_SIZE)
        except BlockingIOError:
            return b""

    def _send(self) -> None:
        try:
            sent = os.write(self._master, self._outgoing)
        except BlockingIOError:
            return
        self._outgoing = self._outgoing[sent:]

    def _switch_client(self, data: bytes) -> None:
        """The client left: discard what it did not read, and the commands whose response it did not wait for.

        `data` was read already, without a response. The next client may have opened the port before this is done. Its
        first command is then among the bytes that wait.
        """
        # A response that could not be sent shows that the old client wrote more than it read. The kernel may still be
        # moving the rest of that here.
        quiet = _QUIET if self._outgoing else 0.0
        while True:
            self._outgoing = b""
            termios.tcflush(self._slave, termios.TCIFLUSH)
            for _ in range(_MOST_READS):
                if not select.select([self._master], [], [], quiet)[0]:
                    break
                data += self._read()
            # Opens are counted after reading, so that no byte of a client that came meanwhile is discarded.
            if not self._watch.last_client_left():
                break
        self._modem.client_left()
        self._unlock()
        log.debug("client_left", device=self._device, bytes_left=len(data))
        if self._watch.clients:
            self._outgoing = self._modem.feed(_last_command(data))
            self._send()


def _last_command(data: bytes) -> bytes:
    """What the newest client can have sent: one command, because it waits for the response before the next.

    When the last line is unfinished, the finished lines before it came from the client that left.
    """
    lines = data.replace(b"\n", b"\r").split(b"\r")
    unfinished = lines.pop()
    if unfinished:
        return unfinished
    finished = [line for line in lines if line]
    return finished[-1] + b"\r" if finished else b""
