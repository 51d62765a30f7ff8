"""APDUs as a person reads them. Nothing secret passes here: keys never do, and secrets that a client sends
are masked.
"""

from __future__ import annotations

from iot_safe_sim import tlv
from iot_safe_sim.apdu import AppletError, Command, Ins, Response, StatusWord

_TAG_NAMES = {
    0x20: "size",
    0x21: "file usage",
    0x33: "signature",
    0x34: "public key",
    0x4A: "state",
    0x60: "access",
    0x73: "file label",
    0x74: "private key label",
    0x75: "public key label",
    0x76: "secret label",
    0x83: "file",
    0x84: "private key",
    0x85: "public key",
    0x86: "secret",
    0x91: "hash",
    0x92: "signature algorithm",
    0x9A: "last block",
    0x9B: "text",
    0x9C: "intermediate hash",
    0x9D: "bytes hashed",
    0x9E: "hash value",
    0xA1: "mode",
    0xC1: "private key entry",
    0xC2: "public key entry",
    0xC3: "file entry",
    0xC4: "secret entry",
    0xD1: "secret value",
    0xD2: "label and seed",
    0xD3: "length",
    0xD4: "premaster",
    0xD5: "salt",
}
#: Values that a trace must not show.
_MASKED = {0xD1, 0xD4}
_RAW_SECRETS = {Ins.COMPUTE_DH, Ins.COMPUTE_PRF, Ins.COMPUTE_HKDF, Ins.GET_RANDOM}
_SHOWN = 12


class Tracer:
    """Describes commands and responses. Remembers what GET RESPONSE continues, to mask it as well."""

    def __init__(self) -> None:
        self._answering: dict[int, int] = {}

    def describe(self, raw_command: bytes, raw_response: bytes, detail: str = "") -> str:
        """One line for a command and its response. `detail` is the applet's reason for a refusal."""
        response = Response.from_bytes(raw_response)
        try:
            command = Command.from_bytes(raw_command)
        except AppletError as error:
            return f"?  {raw_command.hex().upper()} -> {_status(response.status)} {error.detail}"
        name = _name(command.ins)
        if command.ins == Ins.GET_RESPONSE:
            source = self._answering.get(command.channel, 0)
        else:
            source = self._answering[command.channel] = command.ins
        line = f"ch{command.channel} {name}"
        if command.p1 or command.p2:
            line += f" P1={command.p1:02X} P2={command.p2:02X}"
        if command.data:
            line += f" [{_data(command.ins, command.data)}]"
        if command.le is not None:
            line += f" Le={command.le:02X}"
        line += f" -> {_status(response.status)}"
        if response.data:
            line += f" [{_answer(source, response.data)}]"
        return f"{line} ({detail})" if detail else line


def _name(ins: int) -> str:
    return Ins(ins).name.replace("_", " ") if ins in list(Ins) else f"INS {ins:02X}"


def _status(status: int) -> str:
    if status >> 8 == 0x61:
        return f"{status:04X} {status & 0xFF or 256} bytes wait"
    name = StatusWord(status).name.lower().replace("_", " ") if status in list(StatusWord) else "?"
    return f"{status:04X} {name}"


def _data(ins: int, data: bytes) -> str:
    if ins == Ins.SELECT:
        return data.hex().upper()
    if ins == Ins.STORE_DATA:
        # A block is only a piece of the command, and may carry a secret.
        return f"{len(data)} bytes"
    try:
        return ", ".join(_element(element) for element in tlv.parse(data))
    except tlv.TlvError:
        return f"{len(data)} bytes, not TLV by themselves"


def _answer(ins: int, data: bytes) -> str:
    if ins in _RAW_SECRETS:
        return f"{len(data)} bytes"
    if ins == Ins.READ_FILE:
        return f"{len(data)} bytes {_short(data)}"
    try:
        return ", ".join(_element(element) for element in tlv.parse(data))
    except tlv.TlvError:
        return _short(data)


def _element(element: tlv.Tlv) -> str:
    name = _TAG_NAMES.get(element.tag, f"{element.tag:02X}")
    if element.tag in _MASKED:
        return f"{name} ({len(element.value)} bytes)"
    if element.tag in (0x73, 0x74, 0x75, 0x76):
        return f"{name} {element.value.decode('ascii', 'replace')!r}"
    return f"{name} {_short(element.value)}"


def _short(data: bytes) -> str:
    digits = data[:_SHOWN].hex().upper()
    return digits if len(data) <= _SHOWN else f"{digits}… ({len(data)} bytes)"
