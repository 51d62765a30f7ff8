"""A modem's serial port as the way to its card: AT+CSIM (3GPP TS 27.007 section 8.17)."""

from __future__ import annotations

import os
import re
import select
import termios
import time
import tty
from types import TracebackType
from typing import Self

from iot_safe_sim.middleware.errors import TransportError

#: Seconds without a byte after which a modem has nothing more to send.
_QUIET = 0.05
#: How often the first command is sent.
_ATTEMPTS = 3


class SerialTransport:
    """A modem's AT port. `timeout` is in seconds, for one command. Use it as a context manager, or call `close`."""

    def __init__(self, path: str, *, timeout: float = 10.0) -> None:
        self._path = path
        self._timeout = timeout
        self._received = b""
        try:
            self._port = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise TransportError(f"{path}: {error.strerror}") from error
        try:
            tty.setraw(self._port)
            termios.tcflush(self._port, termios.TCIOFLUSH)
            self._synchronise()
        except (termios.error, TransportError) as error:
            os.close(self._port)
            raise TransportError(f"{path}: not a modem: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the port."""
        if self._port >= 0:
            os.close(self._port)
            self._port = -1

    def _synchronise(self) -> None:
        """Turn echo off, repeatedly: the first command may be lost to what was on the line before."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self.command("ATE0", timeout=self._timeout / _ATTEMPTS)
            except TransportError:
                if attempt == _ATTEMPTS:
                    raise
            else:
                self._discard_late_answers()
                return

    def _discard_late_answers(self) -> None:
        """Read until the line is quiet: a response to the port's previous user may still arrive."""
        while select.select([self._port], [], [], _QUIET)[0]:
            if not os.read(self._port, 4096):
                break
        self._received = b""

    def command(self, line: str, *, timeout: float | None = None) -> list[str]:
        """Send one AT command. Returns the lines before OK. Raises TransportError on ERROR and without a response.

        `timeout` in seconds replaces the port's own.
        """
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        self._write(line.encode("ascii") + b"\r\n", deadline)
        lines: list[str] = []
        while True:
            answer = self._read_line(deadline)
            if answer == "OK":
                return lines
            if answer == "ERROR" or answer.startswith(("+CME ERROR", "+CMS ERROR")):
                raise TransportError(f"{self._path}: the modem answers {answer} to {line[:16]}")
            if answer and answer != line:
                lines.append(answer)

    def transmit(self, apdu: bytes) -> bytes:
        """See Transport.transmit. The command is AT+CSIM."""
        digits = apdu.hex().upper()
        for line in self.command(f'AT+CSIM={len(digits)},"{digits}"'):
            match = re.fullmatch(r'\+CSIM: *(\d+), *"([0-9A-Fa-f]*)"', line)
            if match and int(match[1]) == len(match[2]) and len(match[2]) % 2 == 0:
                return bytes.fromhex(match[2])
        raise TransportError(f"{self._path}: no +CSIM answer")

    def _write(self, data: bytes, deadline: float) -> None:
        while data:
            _, writable, _ = select.select([], [self._port], [], max(0.0, deadline - time.monotonic()))
            if not writable:
                raise TransportError(f"{self._path}: the modem takes no more input")
            data = data[os.write(self._port, data) :]

    def _read_line(self, deadline: float) -> str:
        while b"\n" not in self._received:
            readable, _, _ = select.select([self._port], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                raise TransportError(f"{self._path}: no answer in time")
            try:
                data = os.read(self._port, 4096)
            except OSError as error:
                raise TransportError(f"{self._path}: {error.strerror}") from error
            if not data:
                raise TransportError(f"{self._path}: the port was closed")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.decode("latin-1").strip()
