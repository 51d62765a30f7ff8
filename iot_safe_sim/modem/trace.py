"""A trace line for each APDU, for people. Secrets are masked; private keys do not occur in APDUs."""

from __future__ import annotations

from iot_safe_sim.interface import AppletError, Command, Ins, Response, StatusWord, Tag, Tlv, TlvError, parse_tlv

_TAG_NAMES: dict[int, str] = {
    Tag.FILE_SIZE: "size",
    Tag.FILE_USAGE: "file usage",
    Tag.SIGNATURE: "signature",
    Tag.PUBLIC_KEY: "public key",
    Tag.STATE: "state",
    Tag.ACCESS: "access",
    Tag.FILE_LABEL: "file label",
    Tag.PRIVATE_KEY_LABEL: "private key label",
    Tag.PUBLIC_KEY_LABEL: "public key label",
    Tag.SECRET_LABEL: "secret label",
    Tag.FILE_ID: "file",
    Tag.PRIVATE_KEY_ID: "private key",
    Tag.PUBLIC_KEY_ID: "public key",
    Tag.SECRET_ID: "secret",
    Tag.HASH_ALGORITHM: "hash",
    Tag.SIGNATURE_ALGORITHM: "signature algorithm",
    Tag.LAST_BLOCK: "last block",
    Tag.FULL_TEXT: "text",
    Tag.INTERMEDIATE_HASH: "intermediate hash",
    Tag.BYTES_HASHED: "bytes hashed",
    Tag.EXTERNAL_HASH: "hash value",
    Tag.SIGNATURE_MODE: "mode",
    Tag.PRIVATE_KEY_ENTRY: "private key entry",
    Tag.PUBLIC_KEY_ENTRY: "public key entry",
    Tag.FILE_ENTRY: "file entry",
    Tag.SECRET_ENTRY: "secret entry",
    Tag.SECRET_VALUE: "secret value",
    Tag.LABEL_AND_SEED: "label and seed",
    Tag.OUTPUT_LENGTH: "length",
    Tag.PREMASTER_SECRET: "premaster",
    Tag.SALT: "salt",
}
#: Values that a trace must not show.
_MASKED: set[int] = {Tag.SECRET_VALUE, Tag.PREMASTER_SECRET}
_LABELS: set[int] = {Tag.FILE_LABEL, Tag.PRIVATE_KEY_LABEL, Tag.PUBLIC_KEY_LABEL, Tag.SECRET_LABEL}
#: Commands whose response data are secret as a whole.
_SECRET_RESPONSES = {Ins.COMPUTE_DH, Ins.COMPUTE_PRF, Ins.COMPUTE_HKDF, Ins.GET_RANDOM}
#: Bytes of a value that are shown.
_SHOWN = 12


class Tracer:
    """Describes commands and responses. It remembers which response GET RESPONSE continues, and masks that as well."""

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
        # A block is only a part of the command, and may carry a secret.
        return f"{len(data)} bytes"
    try:
        return ", ".join(_element(element) for element in parse_tlv(data))
    except TlvError:
        return f"{len(data)} bytes, not TLV by themselves"


def _answer(ins: int, data: bytes) -> str:
    if ins in _SECRET_RESPONSES:
        return f"{len(data)} bytes"
    if ins == Ins.READ_FILE:
        return f"{len(data)} bytes {_short(data)}"
    try:
        return ", ".join(_element(element) for element in parse_tlv(data))
    except TlvError:
        return _short(data)


def _element(element: Tlv) -> str:
    name = _TAG_NAMES.get(element.tag, f"{element.tag:02X}")
    if element.tag in _MASKED:
        return f"{name} ({len(element.value)} bytes)"
    if element.tag in _LABELS:
        return f"{name} {element.value.decode('ascii', 'replace')!r}"
    return f"{name} {_short(element.value)}"


def _short(data: bytes) -> str:
    digits = data[:_SHOWN].hex().upper()
    return digits if len(data) <= _SHOWN else f"{digits}… ({len(data)} bytes)"
