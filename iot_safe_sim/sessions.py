"""Signature and PUT PUBLIC KEY sessions: what is known between INIT and the last UPDATE.

A session is a value. An update gives the next one, so that a refused update leaves the session where it was.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from iot_safe_sim import crypto, sha2, tlv
from iot_safe_sim.tlv import Fields, TlvError

if TYPE_CHECKING:
    from hashlib import _Hash

TAG_LAST_BLOCK = 0x9A
TAG_FULL_TEXT = 0x9B
TAG_INTERMEDIATE_HASH = 0x9C
TAG_BYTES_HASHED = 0x9D
TAG_EXTERNAL_HASH = 0x9E
TAG_MODE = 0xA1
TAG_HASH_ALGORITHM = 0x91
TAG_SIGNATURE_ALGORITHM = 0x92
ECDSA = 0x04
#: A last block with its padding never needs more than this.
MAX_LAST_BLOCK = 128
#: A public key object is 71 bytes; a longer one can only be wrong.
MAX_PUBLIC_KEY_OBJECT = 256


class Mode(IntEnum):
    """Tag A1: who hashes."""

    FULL_TEXT = 1
    LAST_BLOCK = 2
    EXTERNAL_HASH = 3


@dataclass(frozen=True)
class SignatureSession:
    """COMPUTE or VERIFY SIGNATURE. `key` identifies the private (compute) or public (verify) key."""

    key: bytes
    mode: Mode
    hash_name: str
    text: _Hash | None = None
    #: Bytes of the current full-text element that are still to come.
    awaited: int = 0
    finished: bool = False

    @classmethod
    def open(cls, key: bytes, fields: Fields) -> SignatureSession:
        """Start from the fields of INIT. Raises TlvError for an unknown mode or algorithm."""
        mode = fields.number(TAG_MODE, 1)
        if mode not in list(Mode):
            raise TlvError(f"mode of operation {mode:02X}: expected 01, 02 or 03")
        algorithm = fields.number(TAG_HASH_ALGORITHM, 2)
        if algorithm not in crypto.HASHES:
            raise TlvError(f"hash algorithm {algorithm:04X}: expected 0001, 0002 or 0004")
        if fields.number(TAG_SIGNATURE_ALGORITHM, 1) != ECDSA:
            raise TlvError("signature algorithm: only ECDSA (04) is offered")
        name = crypto.HASHES[algorithm]
        text = hashlib.new(name) if mode == Mode.FULL_TEXT else None
        return cls(key, Mode(mode), name, text)

    def update(self, data: bytes, *, last: bool, verify: bool) -> tuple[SignatureSession, bytes, bytes | None]:
        """Take the data of one UPDATE. Gives the next session, and once `last`: the digest and the reference
        signature.

        Raises TlvError when the data do not fit the mode, are incomplete, or run over.
        """
        if self.text is not None:
            return self._update_text(data, last=last, verify=verify)
        if not last:
            raise TlvError("this mode of operation takes one update, marked as the last (P1 80)")
        signature_tag = {tlv.SIGNATURE_TAG} if verify else set()
        if self.mode == Mode.EXTERNAL_HASH:
            fields = Fields.parse(data, {TAG_EXTERNAL_HASH} | signature_tag)
            digest = fields.require(TAG_EXTERNAL_HASH, hashlib.new(self.hash_name).digest_size)
        else:
            tags = {TAG_LAST_BLOCK, TAG_INTERMEDIATE_HASH, TAG_BYTES_HASHED}
            fields = Fields.parse(data, tags | signature_tag)
            digest = self._continue_hash(fields)
        signature = fields.require(tlv.SIGNATURE_TAG, crypto.SIGNATURE_SIZE) if verify else None
        return replace(self, finished=True), digest, signature

    def _continue_hash(self, fields: Fields) -> bytes:
        tail = fields.require(TAG_LAST_BLOCK)
        if len(tail) > MAX_LAST_BLOCK:
            raise TlvError(f"last block of {len(tail)} bytes: at most {MAX_LAST_BLOCK}")
        try:
            return sha2.finish(
                self.hash_name,
                fields.require(TAG_INTERMEDIATE_HASH),
                fields.number(TAG_BYTES_HASHED, 4),
                tail,
            )
        except TlvError:
            raise
        except ValueError as error:
            raise TlvError(str(error)) from error

    def _update_text(self, data: bytes, *, last: bool, verify: bool) -> tuple[SignatureSession, bytes, bytes | None]:
        """Full text: elements 9B, which may continue in the next command without a new header."""
        assert self.text is not None
        text, awaited, signature = self.text.copy(), self.awaited, None
        offset = 0
        while offset < len(data):
            if signature is not None:
                raise TlvError("bytes follow the signature")
            if not awaited:
                tag, awaited, offset = tlv.read_header(data, offset)
                if tag == tlv.SIGNATURE_TAG and verify and last:
                    signature = data[offset : offset + awaited]
                    offset, awaited = offset + awaited, 0
                    continue
                if tag != TAG_FULL_TEXT:
                    raise TlvError(f"tag {tag:02X} is not expected here (expected: 9B)")
            part = data[offset : offset + awaited]
            text.update(part)
            offset, awaited = offset + len(part), awaited - len(part)
        if not last:
            return replace(self, text=text, awaited=awaited), b"", None
        if awaited:
            raise TlvError(f"the text ends {awaited} bytes too early")
        if verify and (signature is None or len(signature) != crypto.SIGNATURE_SIZE):
            raise TlvError(f"tag 33: a signature of {crypto.SIGNATURE_SIZE} bytes is missing")
        return replace(self, text=text, finished=True), text.digest(), signature


@dataclass(frozen=True)
class PutPublicKeySession:
    """PUT PUBLIC KEY: the object arrives in one or more updates."""

    key: bytes
    received: bytes = b""
    finished: bool = False

    def update(self, data: bytes, *, last: bool) -> tuple[PutPublicKeySession, bytes]:
        """Take the data of one UPDATE. Gives the next session, and the point once `last`.

        Raises ValueError when the whole is not a public key object on the curve, or too long to be one.
        """
        received = self.received + data
        if len(received) > MAX_PUBLIC_KEY_OBJECT:
            raise TlvError(f"public key object of over {MAX_PUBLIC_KEY_OBJECT} bytes")
        if not last:
            return replace(self, received=received), b""
        point = crypto.decode_public_key(received)
        return replace(self, received=b"", finished=True), point
