"""Middleware: drive an IoT SAFE applet, over a modem's serial port or in the same process.

with SerialTransport("/dev/ttyUSB2") as port:
    card = IoTSafeClient(port)
    certificate = card.read_file(b"\\x02")
    signature = card.sign(b"\\x01", b"data")
"""

from __future__ import annotations

import hashlib
import os
import re
import select
import termios
import time
import tty
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from iot_safe_sim import crypto, layout, tlv
from iot_safe_sim.apdu import Command, Ins, Response, StatusWord
from iot_safe_sim.tlv import Fields, TlvError

_CHUNK = 240
#: Seconds without a byte after which a modem has nothing more to say.
_QUIET = 0.05
#: How often the first command is tried.
_ATTEMPTS = 3
_HASH_NUMBERS = {name: number for number, name in crypto.HASHES.items()}


class CardError(Exception):
    """The card or the way to it failed."""


class TransportError(CardError):
    """No valid answer from the modem: not there, too slow, or not an AT answer."""


class CommandFailedError(CardError):
    """The applet refused a command. `status` is its status word."""

    def __init__(self, command: Command, status: int) -> None:
        name = Ins(command.ins).name if command.ins in list(Ins) else f"{command.ins:02X}"
        reason = StatusWord(status).name.lower().replace("_", " ") if status in list(StatusWord) else "unknown"
        super().__init__(f"{name}: the card answers {status:04X} ({reason})")
        self.status = status


class Transport(Protocol):
    """A way to a card."""

    def transmit(self, apdu: bytes) -> bytes:
        """Send a command APDU, give the response APDU. Raises TransportError."""


class _Processor(Protocol):
    def process(self, raw: bytes) -> bytes: ...


class MemoryTransport:
    """An applet in this process."""

    def __init__(self, applet: _Processor) -> None:
        self._applet = applet

    def transmit(self, apdu: bytes) -> bytes:
        """See Transport."""
        return self._applet.process(apdu)


class SerialTransport:
    """A modem's AT port. `timeout` is in seconds, for one command."""

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
        """Echo off, as often as it takes: a first command may be lost to what was on the line before."""
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
        """Read until the line is quiet: an answer to the port's previous user may still have been under way."""
        while select.select([self._port], [], [], _QUIET)[0]:
            if not os.read(self._port, 4096):
                break
        self._received = b""

    def command(self, line: str, *, timeout: float | None = None) -> list[str]:
        """Send one AT command. Gives the lines before OK. Raises TransportError on ERROR and on silence.

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
        """See Transport: AT+CSIM."""
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


@dataclass(frozen=True)
class FileInfo:
    """What GET DATA tells of a file. `size` is in bytes; `filled` is False for an empty container."""

    size: int
    filled: bool
    usage: int


class IoTSafeClient:
    """An applet on one logical channel. All methods raise CardError.

    `aid` is selected at once; `channel` 0 is always there, another one has to be open (`open_channel`).
    """

    def __init__(self, transport: Transport, *, aid: bytes = layout.GSMA_AID, channel: int = 0) -> None:
        self._transport = transport
        self._channel = channel
        self._send(Ins.SELECT, 0x04, 0x00, aid, answer=False)

    @staticmethod
    def open_channel(transport: Transport) -> int:
        """Open a logical channel. Gives its number."""
        command = Command(0x00, Ins.MANAGE_CHANNEL, 0x00, 0x00, le=1)
        response = Response.from_bytes(transport.transmit(command.to_bytes()))
        if response.status != StatusWord.OK or len(response.data) != 1:
            raise CommandFailedError(command, response.status)
        return response.data[0]

    def close_channel(self) -> None:
        """Close this client's logical channel (not the basic one, which stays)."""
        if self._channel:
            self._send(Ins.MANAGE_CHANNEL, 0x80, self._channel, answer=False)

    # --- the IoT SAFE interface ---

    def random(self, length: int) -> bytes:
        """Random bytes from the card, any number."""
        result = b""
        while len(result) < length:
            result += self._send(Ins.GET_RANDOM, le=min(length - len(result), _CHUNK))
        return result

    def generate_key_pair(self, key: bytes) -> bytes:
        """Make a new key in the container `key`. Gives the public point (65 bytes)."""
        answer = self._fields(self._send(Ins.GENERATE_KEY_PAIR, data=tlv.encode(0x84, key)), {0x84, 0x85, 0x34})
        return self._point(tlv.encode(0x34, answer.require(0x34)))

    def public_key(self, key: bytes) -> bytes:
        """The public point (65 bytes) of a key pair or a stored peer key."""
        return self._point(self._send(Ins.READ_PUBLIC_KEY, data=tlv.encode(0x85, key)))

    def put_public_key(self, key: bytes, point: bytes) -> None:
        """Store a peer's public point in the container `key`."""
        self._send(Ins.PUT_PUBLIC_KEY_INIT, 0, 2, tlv.encode(0x85, key), answer=False)
        try:
            self._send(Ins.PUT_PUBLIC_KEY_UPDATE, 0x80, 2, crypto.encode_public_key(point), answer=False)
        finally:
            self._send(Ins.PUT_PUBLIC_KEY_INIT, 1, 2, answer=False)

    def sign_digest(self, key: bytes, digest: bytes, hash_name: str = "sha256") -> bytes:
        """ECDSA over a digest made here. Gives an ECDSA-Sig-Value (DER)."""
        self._send(Ins.COMPUTE_SIGNATURE_INIT, 0, 1, self._signature_init(0x84, key, hash_name), answer=False)
        try:
            answer = self._send(Ins.COMPUTE_SIGNATURE_UPDATE, 0x80, 1, tlv.encode(0x9E, digest))
        finally:
            self._send(Ins.COMPUTE_SIGNATURE_INIT, 1, 1, answer=False)
        return crypto.raw_to_der(self._fields(answer, {0x33}).require(0x33))

    def sign(self, key: bytes, data: bytes, hash_name: str = "sha256") -> bytes:
        """Hash here, sign there. Gives an ECDSA-Sig-Value (DER)."""
        return self.sign_digest(key, hashlib.new(hash_name, data).digest(), hash_name)

    def verify_digest(self, key: bytes, digest: bytes, signature: bytes, hash_name: str = "sha256") -> bool:
        """Let the card check an ECDSA-Sig-Value with the public key `key`."""
        self._send(Ins.VERIFY_SIGNATURE_INIT, 0, 1, self._signature_init(0x85, key, hash_name), answer=False)
        data = tlv.encode(0x9E, digest) + tlv.encode(0x33, crypto.der_to_raw(signature))
        try:
            self._send(Ins.VERIFY_SIGNATURE_UPDATE, 0x80, 1, data, answer=False)
        except CommandFailedError as error:
            if error.status != StatusWord.SIGNATURE_MISMATCH:
                raise
            return False
        finally:
            self._send(Ins.VERIFY_SIGNATURE_INIT, 1, 1, answer=False)
        return True

    def agree(self, private_key: bytes, peer_key: bytes) -> bytes:
        """ECDH between two keys on the card: 32 bytes."""
        return self._send(Ins.COMPUTE_DH, data=tlv.encode(0x84, private_key) + tlv.encode(0x85, peer_key))

    def prf(self, secret: bytes, label_and_seed: bytes, length: int) -> bytes:
        """TLS 1.2 PRF (SHA-256), at most 255 bytes."""
        data = tlv.encode(0xD1, secret) + tlv.encode(0xD2, label_and_seed) + bytes([0xD3, 1, length])
        return self._send(Ins.COMPUTE_PRF, data=data)

    def hkdf_extract(self, salt: bytes, key_material: bytes, hash_name: str = "sha256") -> bytes:
        """HKDF-Extract: the pseudo-random key."""
        data = tlv.encode(0xD1, key_material) + tlv.encode(0xD5, salt) + self._hash(hash_name)
        return self._send(Ins.COMPUTE_HKDF, data=data)

    def file_info(self, file: bytes) -> FileInfo:
        """Size and state of a file."""
        outer = self._fields(self._send(Ins.GET_DATA, 0xC3, 0, tlv.encode(0x83, file)), {0xC3}).require(0xC3)
        fields = self._fields(outer, {0x73, 0x83, 0x60, 0x4A, 0x20, 0x21})
        filled = fields.number(0x4A, 1) == 1
        # Of an empty one, a card may give the container's size.
        return FileInfo(fields.number(0x20, 2) if filled else 0, filled, fields.number(0x21, 1))

    def read_file(self, file: bytes) -> bytes:
        """A file's content. An empty container gives b""."""
        info = self.file_info(file)
        content = b""
        while info.filled and len(content) < info.size:
            offset, wanted = len(content), min(_CHUNK, info.size - len(content))
            part = self._send(Ins.READ_FILE, offset >> 8, offset & 0xFF, tlv.encode(0x83, file), le=wanted)
            if not part:
                raise CardError(f"file {file.hex()}: the card stops at byte {offset} of {info.size}")
            content += part[:wanted]
        return content

    # --- administration (GlobalPlatform STORE DATA) ---

    def store_data(self, command: bytes) -> bytes:
        """Send one administration command in as many blocks as it needs."""
        blocks = [command[start : start + _CHUNK] for start in range(0, len(command), _CHUNK)]
        for number, block in enumerate(blocks[:-1]):
            self._send(Ins.STORE_DATA, 0x00, number, block, answer=False)
        return self._send(Ins.STORE_DATA, 0x80, len(blocks) - 1, blocks[-1])

    def write_file(self, file: bytes, content: bytes) -> None:
        """Create or replace a file. Empty content empties it."""
        body = tlv.encode(0x83, file) + tlv.encode(0x70, content)
        self.store_data(tlv.encode(0xE0, tlv.encode(0xC3, body)))

    def create_key(self, key: bytes) -> bytes:
        """Make a key in the container `key`, whatever its functions. Gives the public point."""
        body = tlv.encode(0x84, key) + tlv.encode(0xB9, b"")
        return self._point(self.store_data(tlv.encode(0xE0, tlv.encode(0xC1, body))))

    def delete_file(self, file: bytes) -> None:
        """Remove a file container."""
        self.store_data(tlv.encode(0xE1, tlv.encode(0x83, file)))

    def generate_csr(self, key: bytes, subject: bytes, attributes: bytes) -> bytes:
        """Have the card build and sign a PKCS#10 request. Gives its DER."""
        body = tlv.encode(0x84, key) + tlv.encode(0x50, subject) + tlv.encode(0x51, attributes)
        self.store_data(tlv.encode(0xE2, body))
        return self.read_file(layout.CSR_FILE)

    def move(self, key_from: bytes, key_to: bytes, file_from: bytes, file_to: bytes) -> None:
        """Replace a key and a file by others in one step."""
        body = tlv.encode(0x84, key_from) + tlv.encode(0x84, key_to)
        body += tlv.encode(0x83, file_from) + tlv.encode(0x83, file_to)
        self.store_data(tlv.encode(0xE3, body))

    # --- transport ---

    def _send(
        self, ins: Ins, p1: int = 0, p2: int = 0, data: bytes = b"", *, le: int = 0, answer: bool = True
    ) -> bytes:
        """One command with its GET RESPONSEs. `answer` False: no Le, the command gives no data."""
        has_le = answer or not data
        command = Command(self._channel, ins, p1, p2, data, le if has_le else None)
        response = self._exchange(command)
        result = response.data
        while response.status >> 8 == 0x61:
            more = Command(self._channel, Ins.GET_RESPONSE, 0, 0, le=response.status & 0xFF)
            response = self._exchange(more)
            result += response.data
        if response.status != StatusWord.OK:
            raise CommandFailedError(command, response.status)
        return result

    def _exchange(self, command: Command) -> Response:
        try:
            response = Response.from_bytes(self._transport.transmit(command.to_bytes()))
            if response.status >> 8 == 0x6C:
                repeated = Command(
                    command.cla, command.ins, command.p1, command.p2, command.data, response.status & 0xFF
                )
                response = Response.from_bytes(self._transport.transmit(repeated.to_bytes()))
        except ValueError as error:
            raise TransportError(str(error)) from error
        return response

    def _signature_init(self, tag: int, key: bytes, hash_name: str) -> bytes:
        return tlv.encode(tag, key) + b"\xa1\x01\x03" + self._hash(hash_name) + b"\x92\x01\x04"

    @staticmethod
    def _hash(name: str) -> bytes:
        return tlv.encode(0x91, _HASH_NUMBERS[name].to_bytes(2, "big"))

    @staticmethod
    def _fields(data: bytes, allowed: set[int]) -> Fields:
        try:
            return Fields.parse(data, allowed)
        except TlvError as error:
            raise CardError(f"the card's answer is not understood: {error}") from error

    @staticmethod
    def _point(data: bytes) -> bytes:
        try:
            return crypto.decode_public_key(data)
        except ValueError as error:
            raise CardError(f"the card's public key is not understood: {error}") from error
