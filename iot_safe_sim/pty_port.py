"""The modem's serial port: a pseudo-terminal, served until the process is told to stop.

The port outlives its clients. A descriptor of the client side stays open here, so that a client's leaving is
not an error; the kernel's file notifications tell when one leaves, and what it did not read is then thrown
away.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import selectors
import struct
import termios
import tty
from pathlib import Path

import structlog

from iot_safe_sim.modem import Modem

log = structlog.get_logger("iot_safe_sim")

#: wolfSSL's demonstration copies the path into 30 bytes.
LONGEST_SAFE_PATH = 29
_READ_SIZE = 4096
#: More than a terminal's buffers hold: beyond them waits a client that writes without end.
_MOST_READS = 64
#: Seconds without a byte that end what a departed client had sent.
_QUIET = 0.02
# inotify(7).
_IN_CLOSE_WRITE, _IN_CLOSE_NOWRITE, _IN_OPEN = 0x08, 0x10, 0x20


class PortError(Exception):
    """The port cannot be created; the text says why."""


class PtyPort:
    """A pseudo-terminal that appears as `path` (a symbolic link)."""

    def __init__(self, path: Path, modem: Modem) -> None:
        self._path = path
        self._modem = modem
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._device = os.ttyname(self._slave)
        self._clients = 0
        self._outgoing = b""
        self._watch = _watch_opens(self._device)
        self._wake_read, self._wake_write = os.pipe()
        try:
            self._link()
        except PortError:
            self.close()
            raise

    @property
    def device(self) -> str:
        """The terminal's own name, /dev/pts/N."""
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
            selector.register(self._watch, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            selector.register(self._master, selectors.EVENT_READ)
            while True:
                # While an answer is stuck, no further command is read: the client has to read first.
                events = selectors.EVENT_WRITE if self._outgoing else selectors.EVENT_READ
                selector.modify(self._master, events)
                ready = {key.fd for key, _ in selector.select()}
                if self._wake_read in ready:
                    return
                if self._client_changed():
                    self._hand_over(b"")
                elif self._master in ready:
                    self._send() if self._outgoing else self._receive()

    def close(self) -> None:
        """Remove the link and close the terminal."""
        if self._path.is_symlink() and os.readlink(self._path) == self._device:
            self._path.unlink()
        for descriptor in (self._master, self._slave, self._watch, self._wake_read, self._wake_write):
            os.close(descriptor)

    def _receive(self) -> None:
        """Answer one read's worth of commands, unless the client left meanwhile: the next one must not get it."""
        data = self._read()
        if self._client_changed():
            self._hand_over(data)
            return
        self._unlock()
        self._outgoing = self._modem.feed(data)
        if self._client_changed():
            self._hand_over(b"")
            return
        self._send()

    def _unlock(self) -> None:
        """Let the next client open the port, whatever this one has said.

        A serial port forgets TIOCEXCL when its last user closes it. This one is never closed: it would stay locked.
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

    def _client_changed(self) -> bool:
        """Take note of opens and closes. True when the last client left, whether or not another has come since."""
        changed = False
        while True:
            try:
                data = os.read(self._watch, _READ_SIZE)
            except BlockingIOError:
                return changed
            offset = 0
            while offset < len(data):
                _, mask, _, length = struct.unpack_from("iIII", data, offset)
                offset += struct.calcsize("iIII") + length
                if mask & _IN_OPEN:
                    self._clients += 1
                elif mask & (_IN_CLOSE_WRITE | _IN_CLOSE_NOWRITE):
                    self._clients = max(0, self._clients - 1)
                    changed = changed or self._clients == 0

    def _hand_over(self, data: bytes) -> None:
        """The client left: drop what it did not read, and the commands that it did not wait for.

        `data` was read already and not answered. The next client may be there before this is done; its first
        command is then among the bytes that wait.
        """
        # What is stuck shows that the old client sent more than it read: the kernel may still be moving it here.
        quiet = _QUIET if self._outgoing else 0.0
        while True:
            self._outgoing = b""
            termios.tcflush(self._slave, termios.TCIFLUSH)
            for _ in range(_MOST_READS):
                if not select.select([self._master], [], [], quiet)[0]:
                    break
                data += self._read()
            # Opens are counted after the reading, so that no byte of a client that came meanwhile is dropped.
            if not self._client_changed():
                break
        self._modem.client_left()
        self._unlock()
        log.debug("client_left", device=self._device, bytes_left=len(data))
        if self._clients:
            self._outgoing = self._modem.feed(_last_command(data))
            self._send()


def _last_command(data: bytes) -> bytes:
    """What the client that came last can have sent: one command, as it waits for the answer before the next.

    When a line is unfinished, the finished ones before it are the departed client's.
    """
    lines = data.replace(b"\n", b"\r").split(b"\r")
    unfinished = lines.pop()
    if unfinished:
        return unfinished
    finished = [line for line in lines if line]
    return finished[-1] + b"\r" if finished else b""


def _watch_opens(device: str) -> int:
    """An inotify descriptor that reports opens and closes of `device`."""
    library = ctypes.CDLL(None, use_errno=True)
    descriptor: int = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    mask = _IN_OPEN | _IN_CLOSE_WRITE | _IN_CLOSE_NOWRITE
    if descriptor < 0 or library.inotify_add_watch(descriptor, device.encode(), mask) < 0:
        raise PortError(f"{device}: cannot be watched: {os.strerror(ctypes.get_errno())}")
    return descriptor
