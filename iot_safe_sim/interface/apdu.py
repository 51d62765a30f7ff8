"""Command and response APDUs (ISO/IEC 7816-4, short form only) and the status words of the applet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

#: The most bytes that one response carries. Le 00 means 255 here: 256 make a Thales client abort on an assertion.
MAX_RESPONSE_DATA = 255


class StatusWord(IntEnum):
    """Status words of GSMA IoT.05."""

    OK = 0x9000
    MORE_DATA = 0x6300
    INTEGRITY = 0x6400
    WRONG_LENGTH = 0x6700
    INCOMPATIBLE_FILE = 0x6981
    CONDITIONS_NOT_SATISFIED = 0x6985
    CAPACITY = 0x6989
    INCORRECT_DATA = 0x6A80
    NOT_FOUND = 0x6A82
    MEMORY = 0x6A84
    INCORRECT_P1_P2 = 0x6A86
    UNKNOWN_INSTRUCTION = 0x6D00
    SIGNATURE_MISMATCH = 0x6D01
    UNKNOWN_CLASS = 0x6E00
    UNKNOWN_ERROR = 0x6F00


class Ins(IntEnum):
    """Instruction bytes: GSMA IoT.05, ISO/IEC 7816-4, and STORE DATA of GlobalPlatform."""

    PUT_PUBLIC_KEY_INIT = 0x24
    COMPUTE_SIGNATURE_INIT = 0x2A
    COMPUTE_SIGNATURE_UPDATE = 0x2B
    VERIFY_SIGNATURE_INIT = 0x2C
    VERIFY_SIGNATURE_UPDATE = 0x2D
    COMPUTE_DH = 0x46
    COMPUTE_PRF = 0x48
    COMPUTE_HKDF = 0x4A
    MANAGE_CHANNEL = 0x70
    GET_RANDOM = 0x84
    SELECT = 0xA4
    READ_FILE = 0xB0
    GENERATE_KEY_PAIR = 0xB9
    GET_RESPONSE = 0xC0
    GET_DATA = 0xCB
    READ_PUBLIC_KEY = 0xCD
    PUT_PUBLIC_KEY_UPDATE = 0xD8
    STORE_DATA = 0xE2


class AppletError(Exception):
    """The applet refuses a command: `status` goes to the client, `detail` to the trace."""

    def __init__(self, status: StatusWord, detail: str) -> None:
        super().__init__(f"{status.name} ({status:04X}): {detail}")
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Command:
    """A parsed command. `le` is None when no Le byte was sent; the byte 00 is kept as 0."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes = b""
    le: int | None = None

    @classmethod
    def from_bytes(cls, raw: bytes) -> Command:
        """Parse ISO case 1 to 4, short form. Raises AppletError (wrong length) for anything else."""
        if len(raw) < 4:
            raise AppletError(StatusWord.WRONG_LENGTH, f"{len(raw)} bytes: a command has at least 4")
        header = (raw[0], raw[1], raw[2], raw[3])
        if len(raw) == 4:
            return cls(*header)
        if len(raw) == 5:
            return cls(*header, le=raw[4])
        count = raw[4]
        if count and len(raw) == 5 + count:
            return cls(*header, data=raw[5:])
        if count and len(raw) == 6 + count:
            return cls(*header, data=raw[5:-1], le=raw[-1])
        raise AppletError(StatusWord.WRONG_LENGTH, f"Lc says {count}, but {len(raw) - 5} bytes follow it")

    def to_bytes(self) -> bytes:
        """Encode. Raises ValueError when the data do not fit a short command."""
        if len(self.data) > 255:
            raise ValueError(f"{len(self.data)} bytes of data: a short command carries at most 255")
        body = bytes([len(self.data)]) + self.data if self.data else b""
        tail = b"" if self.le is None else bytes([self.le])
        return bytes([self.cla, self.ins, self.p1, self.p2]) + body + tail

    @property
    def channel(self) -> int:
        """The logical channel, from the two low bits of CLA."""
        return self.cla & 0x03

    @property
    def wanted(self) -> int:
        """The most bytes that the client wants. Le 00 and a missing Le mean as many as one response may carry."""
        return self.le or MAX_RESPONSE_DATA


@dataclass(frozen=True, slots=True)
class Response:
    """Response data and status word."""

    data: bytes = b""
    status: int = StatusWord.OK

    @classmethod
    def from_bytes(cls, raw: bytes) -> Response:
        """Split off the status word. Raises ValueError below two bytes."""
        if len(raw) < 2:
            raise ValueError(f"{len(raw)} bytes: a response ends with a status word of 2 bytes")
        return cls(raw[:-2], int.from_bytes(raw[-2:], "big"))

    def to_bytes(self) -> bytes:
        """Encode as data followed by the status word."""
        return self.data + self.status.to_bytes(2, "big")
