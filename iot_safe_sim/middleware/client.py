"""An IoT SAFE applet as its client sees it.

with SerialTransport("/dev/ttyUSB2") as port:
    card = IoTSafeClient(port)
    certificate = card.read_file(b"\\x02")
    signature = card.sign(b"\\x01", b"data")
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from iot_safe_sim.interface import (
    GSMA_AID,
    HASH_ALGORITHMS,
    Command,
    Fields,
    Ins,
    Response,
    SignatureAlgorithm,
    SignatureMode,
    StatusWord,
    Tag,
    TlvError,
    containers,
    decode_public_key,
    der_to_raw,
    encode_public_key,
    encode_tlv,
    raw_to_der,
)
from iot_safe_sim.middleware.errors import CardError, CommandFailedError, TransportError
from iot_safe_sim.middleware.transport import Transport

#: Bytes of data that one command carries, or that one response is asked for. A short APDU has at most 255.
_CHUNK = 240
_HASH_NUMBERS = {name: number for number, name in HASH_ALGORITHMS.items()}
_MODE = encode_tlv(Tag.SIGNATURE_MODE, bytes([SignatureMode.EXTERNAL_HASH]))
_ALGORITHM = encode_tlv(Tag.SIGNATURE_ALGORITHM, bytes([SignatureAlgorithm.ECDSA]))


@dataclass(frozen=True)
class FileInfo:
    """What GET DATA says of a file. `size` is in bytes. `filled` is False for an empty container."""

    size: int
    filled: bool
    usage: int


class IoTSafeClient:
    """An IoT SAFE applet on one logical channel. All methods raise CardError.

    `aid` is selected at once. `channel` 0 is always open, another one is opened by `open_channel`.
    """

    def __init__(self, transport: Transport, *, aid: bytes = GSMA_AID, channel: int = 0) -> None:
        self._transport = transport
        self._channel = channel
        self._send(Ins.SELECT, 0x04, 0x00, aid, answer=False)

    @staticmethod
    def open_channel(transport: Transport) -> int:
        """Open a logical channel. Returns its number."""
        command = Command(0x00, Ins.MANAGE_CHANNEL, 0x00, 0x00, le=1)
        response = Response.from_bytes(transport.transmit(command.to_bytes()))
        if response.status != StatusWord.OK or len(response.data) != 1:
            raise CommandFailedError(command, response.status)
        return response.data[0]

    def close_channel(self) -> None:
        """Close this client's logical channel, unless it is the basic one, which cannot be closed."""
        if self._channel:
            self._send(Ins.MANAGE_CHANNEL, 0x80, self._channel, answer=False)

    # --- the IoT SAFE interface ---

    def random(self, length: int) -> bytes:
        """Random bytes from the card. `length` may exceed one response."""
        result = b""
        while len(result) < length:
            result += self._send(Ins.GET_RANDOM, le=min(length - len(result), _CHUNK))
        return result

    def generate_key_pair(self, key: bytes) -> bytes:
        """Generate a key pair in the container `key`. Returns the public point (65 bytes)."""
        answer = self._fields(
            self._send(Ins.GENERATE_KEY_PAIR, data=encode_tlv(Tag.PRIVATE_KEY_ID, key)),
            {Tag.PRIVATE_KEY_ID, Tag.PUBLIC_KEY_ID, Tag.PUBLIC_KEY},
        )
        return self._point(encode_tlv(Tag.PUBLIC_KEY, answer.require(Tag.PUBLIC_KEY)))

    def public_key(self, key: bytes) -> bytes:
        """The public point (65 bytes) of a key pair or a stored peer key."""
        return self._point(self._send(Ins.READ_PUBLIC_KEY, data=encode_tlv(Tag.PUBLIC_KEY_ID, key)))

    def put_public_key(self, key: bytes, point: bytes) -> None:
        """Store a peer's public point in the container `key`."""
        self._send(Ins.PUT_PUBLIC_KEY_INIT, 0, 2, encode_tlv(Tag.PUBLIC_KEY_ID, key), answer=False)
        try:
            self._send(Ins.PUT_PUBLIC_KEY_UPDATE, 0x80, 2, encode_public_key(point), answer=False)
        finally:
            self._send(Ins.PUT_PUBLIC_KEY_INIT, 1, 2, answer=False)

    def sign_digest(self, key: bytes, digest: bytes, hash_name: str = "sha256") -> bytes:
        """Sign a digest with ECDSA. Returns an ECDSA-Sig-Value (DER)."""
        self._send(
            Ins.COMPUTE_SIGNATURE_INIT, 0, 1, self._signature_init(Tag.PRIVATE_KEY_ID, key, hash_name), answer=False
        )
        try:
            answer = self._send(Ins.COMPUTE_SIGNATURE_UPDATE, 0x80, 1, encode_tlv(Tag.EXTERNAL_HASH, digest))
        finally:
            self._send(Ins.COMPUTE_SIGNATURE_INIT, 1, 1, answer=False)
        return raw_to_der(self._fields(answer, {Tag.SIGNATURE}).require(Tag.SIGNATURE))

    def sign(self, key: bytes, data: bytes, hash_name: str = "sha256") -> bytes:
        """Hash `data` here and sign the digest on the card. Returns an ECDSA-Sig-Value (DER)."""
        return self.sign_digest(key, hashlib.new(hash_name, data).digest(), hash_name)

    def verify_digest(self, key: bytes, digest: bytes, signature: bytes, hash_name: str = "sha256") -> bool:
        """Whether the card finds an ECDSA-Sig-Value over `digest` right, with the public key `key`."""
        self._send(
            Ins.VERIFY_SIGNATURE_INIT, 0, 1, self._signature_init(Tag.PUBLIC_KEY_ID, key, hash_name), answer=False
        )
        data = encode_tlv(Tag.EXTERNAL_HASH, digest) + encode_tlv(Tag.SIGNATURE, der_to_raw(signature))
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
        """ECDH between two keys on the card. Returns the X coordinate (32 bytes)."""
        return self._send(
            Ins.COMPUTE_DH, data=encode_tlv(Tag.PRIVATE_KEY_ID, private_key) + encode_tlv(Tag.PUBLIC_KEY_ID, peer_key)
        )

    def prf(self, secret: bytes, label_and_seed: bytes, length: int) -> bytes:
        """The TLS 1.2 PRF with SHA-256. `length` is at most 255 bytes."""
        data = (
            encode_tlv(Tag.SECRET_VALUE, secret)
            + encode_tlv(Tag.LABEL_AND_SEED, label_and_seed)
            + encode_tlv(Tag.OUTPUT_LENGTH, bytes([length]))
        )
        return self._send(Ins.COMPUTE_PRF, data=data)

    def hkdf_extract(self, salt: bytes, key_material: bytes, hash_name: str = "sha256") -> bytes:
        """HKDF-Extract. Returns the pseudo-random key."""
        data = encode_tlv(Tag.SECRET_VALUE, key_material) + encode_tlv(Tag.SALT, salt) + self._hash(hash_name)
        return self._send(Ins.COMPUTE_HKDF, data=data)

    def file_info(self, file: bytes) -> FileInfo:
        """Size, state and usage of a file."""
        outer = self._fields(
            self._send(Ins.GET_DATA, Tag.FILE_ENTRY, 0, encode_tlv(Tag.FILE_ID, file)), {Tag.FILE_ENTRY}
        ).require(Tag.FILE_ENTRY)
        fields = self._fields(
            outer, {Tag.FILE_LABEL, Tag.FILE_ID, Tag.ACCESS, Tag.STATE, Tag.FILE_SIZE, Tag.FILE_USAGE}
        )
        filled = fields.number(Tag.STATE, 1) == 1
        # For an empty file, a card may give the size of the container.
        return FileInfo(fields.number(Tag.FILE_SIZE, 2) if filled else 0, filled, fields.number(Tag.FILE_USAGE, 1))

    def read_file(self, file: bytes) -> bytes:
        """The content of a file; b"" for an empty container."""
        info = self.file_info(file)
        content = b""
        while info.filled and len(content) < info.size:
            offset, wanted = len(content), min(_CHUNK, info.size - len(content))
            part = self._send(Ins.READ_FILE, offset >> 8, offset & 0xFF, encode_tlv(Tag.FILE_ID, file), le=wanted)
            if not part:
                raise CardError(f"file {file.hex()}: the card stops at byte {offset} of {info.size}")
            content += part[:wanted]
        return content

    # --- administration (GlobalPlatform STORE DATA) ---

    def store_data(self, command: bytes) -> bytes:
        """Send one administration command, in as many blocks as it needs. Returns the response data."""
        blocks = [command[start : start + _CHUNK] for start in range(0, len(command), _CHUNK)]
        for number, block in enumerate(blocks[:-1]):
            self._send(Ins.STORE_DATA, 0x00, number, block, answer=False)
        return self._send(Ins.STORE_DATA, 0x80, len(blocks) - 1, blocks[-1])

    def write_file(self, file: bytes, content: bytes) -> None:
        """Create or replace a file. Empty content empties the container."""
        body = encode_tlv(Tag.FILE_ID, file) + encode_tlv(Tag.CONTENT, content)
        self.store_data(encode_tlv(Tag.PUT_OBJECT, encode_tlv(Tag.FILE_ENTRY, body)))

    def create_key(self, key: bytes) -> bytes:
        """Generate a key pair in the container `key`, also one without the function GENERATE. Returns the point."""
        body = encode_tlv(Tag.PRIVATE_KEY_ID, key) + encode_tlv(Tag.GENERATE_KEY, b"")
        return self._point(self.store_data(encode_tlv(Tag.PUT_OBJECT, encode_tlv(Tag.PRIVATE_KEY_ENTRY, body))))

    def delete_file(self, file: bytes) -> None:
        """Remove a file container."""
        self.store_data(encode_tlv(Tag.DELETE_OBJECT, encode_tlv(Tag.FILE_ID, file)))

    def generate_csr(self, key: bytes, subject: bytes, attributes: bytes) -> bytes:
        """Have the card build and sign a PKCS#10 request from a DER Name and DER Attributes. Returns its DER."""
        body = (
            encode_tlv(Tag.PRIVATE_KEY_ID, key)
            + encode_tlv(Tag.SUBJECT, subject)
            + encode_tlv(Tag.ATTRIBUTES, attributes)
        )
        self.store_data(encode_tlv(Tag.GENERATE_CSR, body))
        return self.read_file(containers.CSR_FILE)

    def move(self, key_from: bytes, key_to: bytes, file_from: bytes, file_to: bytes) -> None:
        """Move a key and a file to other containers in one step."""
        body = encode_tlv(Tag.PRIVATE_KEY_ID, key_from) + encode_tlv(Tag.PRIVATE_KEY_ID, key_to)
        body += encode_tlv(Tag.FILE_ID, file_from) + encode_tlv(Tag.FILE_ID, file_to)
        self.store_data(encode_tlv(Tag.MOVE_OBJECTS, body))

    # --- transport ---

    def _send(
        self, ins: Ins, p1: int = 0, p2: int = 0, data: bytes = b"", *, le: int = 0, answer: bool = True
    ) -> bytes:
        """One command with its GET RESPONSEs. `answer` False means that the command returns no data, and has no Le."""
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
        return encode_tlv(tag, key) + _MODE + self._hash(hash_name) + _ALGORITHM

    @staticmethod
    def _hash(name: str) -> bytes:
        return encode_tlv(Tag.HASH_ALGORITHM, _HASH_NUMBERS[name].to_bytes(2, "big"))

    @staticmethod
    def _fields(data: bytes, allowed: set[int]) -> Fields:
        try:
            return Fields.parse(data, allowed)
        except TlvError as error:
            raise CardError(f"the card's answer is not understood: {error}") from error

    @staticmethod
    def _point(data: bytes) -> bytes:
        try:
            return decode_public_key(data)
        except ValueError as error:
            raise CardError(f"the card's public key is not understood: {error}") from error
