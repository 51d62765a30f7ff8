"""The modem's AT command interpreter (3GPP TS 27.007, ITU-T V.250): bytes from the client in, bytes to the client out.

No I/O. Input may arrive in any pieces. The whole response to a command is returned at once, because one client expects
it within a single read.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from iot_safe_sim.card import Applet
from iot_safe_sim.interface import Ins, StatusWord

#: Characters of a command line. The longest valid one, AT+CGLA with 261 bytes in hexadecimal, has about 540.
MAX_LINE = 1024

OK = b"\r\nOK\r\n"
ERROR = b"\r\nERROR\r\n"
#: Error codes of TS 27.007 section 9.2.1.
CME_NOT_FOUND, CME_INCORRECT_PARAMETERS, CME_NOT_SUPPORTED, CME_MEMORY_FULL = 22, 50, 4, 20
_CME_TEXT = {
    CME_NOT_FOUND: "not found",
    CME_INCORRECT_PARAMETERS: "incorrect parameters",
    CME_NOT_SUPPORTED: "operation not supported",
    CME_MEMORY_FULL: "memory full",
}

_TESTS = ("+CSIM", "+CCHO", "+CGLA", "+CCHC", "+CMEE")
# wolfSSL pads the length with a space.
_CSIM = re.compile(r'\+CSIM= *(\d{1,4}) *, *"?([0-9A-F]*)"?', re.ASCII)
_CGLA = re.compile(r'\+CGLA= *(\d{1,3}) *, *(\d{1,4}) *, *"?([0-9A-F]*)"?', re.ASCII)
_CCHO = re.compile(r'\+CCHO= *"?([0-9A-F]{2,32})"?', re.ASCII)
_CCHC = re.compile(r"\+CCHC= *(\d{1,3})", re.ASCII)
_CMEE = re.compile(r"\+CMEE= *([012])", re.ASCII)
_BASIC = re.compile(r"(?:E[01]?|V1|Q0|Z0?|&F0?)+", re.ASCII)
_ECHO = re.compile(r"E([01]?)", re.ASCII)

#: Called with each command APDU and its response, in bytes.
Observer = Callable[[bytes, bytes], None]


class CommandError(Exception):
    """The modem refuses a command line. A refusal by the applet is a response with a status word, not this error."""

    def __init__(self, code: int) -> None:
        super().__init__(_CME_TEXT[code])
        self.code = code


class Modem:
    """One modem with one card. `echo` is the initial setting of ATE for each client (V.250 section 6.2.4)."""

    def __init__(self, applet: Applet, *, echo: bool = False, observer: Observer | None = None) -> None:
        self._applet = applet
        self._default_echo = echo
        self._observer = observer
        self._line = bytearray()
        self._overlong = False
        self._echo = echo
        self._errors = 0

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the client. Returns what the modem sends. Raises nothing."""
        answer = bytearray()
        for byte in data:
            # The LF of a CR LF belongs to no line, and modems do not echo it.
            if self._echo and (byte != 0x0A or self._line):
                answer.append(byte)
            if byte not in b"\r\n":
                self._append(byte)
                continue
            line, overlong = bytes(self._line), self._overlong
            self._forget_line()
            if overlong:
                answer += ERROR
            elif line.strip():
                answer += self._answer(line)
        return bytes(answer)

    def client_left(self) -> None:
        """The client closed the port: drop an unfinished line, and restore the initial settings.

        Logical channels stay open, as on a real card.
        """
        self._forget_line()
        self._echo = self._default_echo
        self._errors = 0

    def _append(self, byte: int) -> None:
        if byte == 0x08 and self._line:
            # V.250 S5: backspace.
            del self._line[-1]
        elif len(self._line) < MAX_LINE:
            self._line.append(byte)
        else:
            self._overlong = True

    def _forget_line(self) -> None:
        self._line.clear()
        self._overlong = False

    def _answer(self, line: bytes) -> bytes:
        command = _command(line.decode("latin-1").upper())
        if command is None:
            return ERROR
        try:
            return self._run(command)
        except CommandError as error:
            if self._errors == 0:
                return ERROR
            text = str(error.code) if self._errors == 1 else str(error)
            return f"\r\n+CME ERROR: {text}\r\n".encode()

    def _run(self, command: str) -> bytes:
        if not command or (command.endswith("=?") and command[:-2] in _TESTS):
            return OK
        if command in ("I", "I0", "+CGMM"):
            return b"\r\niot-safe-sim\r\n" + OK
        if _BASIC.fullmatch(command):
            for value in _ECHO.findall(command):
                self._echo = value == "1"
            return OK
        if match := _CMEE.fullmatch(command):
            self._errors = int(match[1])
            return OK
        if match := _CSIM.fullmatch(command):
            return _result("+CSIM: ", self._transmit(_apdu(match[1], match[2])))
        if match := _CGLA.fullmatch(command):
            return self._generic_logical_access(int(match[1]), _apdu(match[2], match[3]))
        if match := _CCHO.fullmatch(command):
            return self._open_channel(match[1])
        if match := _CCHC.fullmatch(command):
            return self._close_channel(int(match[1]))
        raise CommandError(CME_NOT_SUPPORTED if not command.startswith(_TESTS) else CME_INCORRECT_PARAMETERS)

    def _transmit(self, apdu: bytes) -> bytes:
        response = self._applet.process(apdu)
        if self._observer is not None:
            self._observer(apdu, response)
        return response

    def _open_channel(self, aid_hex: str) -> bytes:
        """AT+CCHO: open a channel and select an application on it. The session number is the channel number."""
        if len(aid_hex) % 2:
            raise CommandError(CME_INCORRECT_PARAMETERS)
        aid = bytes.fromhex(aid_hex)
        opened = self._transmit(bytes([0x00, Ins.MANAGE_CHANNEL, 0x00, 0x00, 0x01]))
        if not _succeeded(opened):
            raise CommandError(CME_MEMORY_FULL)
        session = opened[0]
        selected = self._transmit(bytes([session, Ins.SELECT, 0x04, 0x00, len(aid)]) + aid)
        if not _succeeded(selected):
            self._manage_channel_close(session)
            raise CommandError(CME_NOT_FOUND)
        return f"\r\n+CCHO: {session}\r\n".encode() + OK

    def _generic_logical_access(self, session: int, apdu: bytes) -> bytes:
        """AT+CGLA: transmit on the session's channel, whose number the modem writes into CLA."""
        if not self._applet.is_open(session) or not apdu:
            raise CommandError(CME_INCORRECT_PARAMETERS)
        return _result("+CGLA: ", self._transmit(bytes([apdu[0] & 0xFC | session]) + apdu[1:]))

    def _close_channel(self, session: int) -> bytes:
        """AT+CCHC."""
        if not self._applet.is_open(session):
            raise CommandError(CME_INCORRECT_PARAMETERS)
        self._manage_channel_close(session)
        return OK

    def _manage_channel_close(self, channel: int) -> None:
        self._transmit(bytes([0x00, Ins.MANAGE_CHANNEL, 0x80, channel]))


def _succeeded(response: bytes) -> bool:
    return response[-2:] == StatusWord.OK.to_bytes(2, "big")


def _command(line: str) -> str | None:
    """What follows the prefix AT (V.250 section 5.2.1), or None when the line is no command.

    A line may start with noise, or with what a client wrote before it crashed. No command contains AT itself, so the
    last AT is the prefix.
    """
    _, found, command = line.rpartition("AT")
    if not found:
        return None
    return command.strip()


def _apdu(length: str, digits: str) -> bytes:
    """The APDU of CSIM or CGLA. Raises CommandError unless `length` is the number of hexadecimal digits."""
    if int(length) != len(digits) or len(digits) % 2:
        raise CommandError(CME_INCORRECT_PARAMETERS)
    return bytes.fromhex(digits)


def _result(name: str, response: bytes) -> bytes:
    """The response with upper-case digits, because a client compares `6D01` as text, and the final OK."""
    digits = response.hex().upper()
    return f'\r\n{name}{len(digits)},"{digits}"\r\n'.encode() + OK
