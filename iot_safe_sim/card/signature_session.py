"""A COMPUTE SIGNATURE or VERIFY SIGNATURE session: what is known between INIT and the last UPDATE."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from iot_safe_sim.interface import (
    HASH_ALGORITHMS,
    SIGNATURE_SIZE,
    Fields,
    SignatureAlgorithm,
    SignatureMode,
    Tag,
    TlvError,
    read_tlv_header,
)

if TYPE_CHECKING:
    from hashlib import _Hash

#: The fields of INIT beside the key.
SIGNATURE_PARAMETERS = {Tag.SIGNATURE_MODE, Tag.HASH_ALGORITHM, Tag.SIGNATURE_ALGORITHM}


@dataclass(frozen=True)
class SignatureSession:
    """An immutable value; `update` returns the next one, so a refused update leaves the session as it was.

    `key` identifies the private key (compute) or the public key (verify).
    """

    key: bytes
    hash_name: str
    #: The hash of the text so far in full-text mode; None in external-hash mode.
    text: _Hash | None = None
    #: Bytes of the current full-text element that are still to come.
    awaited: int = 0
    finished: bool = False

    @classmethod
    def open(cls, key: bytes, fields: Fields) -> SignatureSession:
        """Start from the fields of INIT. Raises TlvError for a mode or an algorithm that is not offered.

        Last-block mode would continue a hash from the client's intermediate state, which hashlib cannot do. No known
        client needs it: wolfSSL and the Thales middleware sign in mode 03, and Orange's library refuses mode 02 itself.
        """
        mode = fields.number(Tag.SIGNATURE_MODE, 1)
        if mode == SignatureMode.LAST_BLOCK:
            raise TlvError("mode of operation 02 (last block) is not offered: use 01 (full text) or 03 (external hash)")
        if mode not in list(SignatureMode):
            raise TlvError(f"mode of operation {mode:02X}: expected 01 or 03")
        algorithm = fields.number(Tag.HASH_ALGORITHM, 2)
        if algorithm not in HASH_ALGORITHMS:
            raise TlvError(f"hash algorithm {algorithm:04X}: expected 0001, 0002 or 0004")
        if fields.number(Tag.SIGNATURE_ALGORITHM, 1) != SignatureAlgorithm.ECDSA:
            raise TlvError("signature algorithm: only ECDSA (04) is offered")
        name = HASH_ALGORITHMS[algorithm]
        return cls(key, name, hashlib.new(name) if mode == SignatureMode.FULL_TEXT else None)

    def update(self, data: bytes, *, last: bool, verify: bool) -> tuple[SignatureSession, bytes, bytes | None]:
        """Take the data of one UPDATE. Returns the next session and, when `last`, digest and reference signature.

        Raises TlvError when the data do not fit the mode, are incomplete, or run over.
        """
        if self.text is not None:
            return self._update_text(self.text.copy(), data, last=last, verify=verify)
        if not last:
            raise TlvError("this mode of operation takes one update, marked as the last (P1 80)")
        fields = Fields.parse(data, {Tag.EXTERNAL_HASH, Tag.SIGNATURE} if verify else {Tag.EXTERNAL_HASH})
        digest = fields.require(Tag.EXTERNAL_HASH, hashlib.new(self.hash_name).digest_size)
        signature = fields.require(Tag.SIGNATURE, SIGNATURE_SIZE) if verify else None
        return replace(self, finished=True), digest, signature

    def _update_text(
        self, text: _Hash, data: bytes, *, last: bool, verify: bool
    ) -> tuple[SignatureSession, bytes, bytes | None]:
        """Full text: elements 9B. An element may continue in the next command without a new header."""
        awaited, signature = self.awaited, None
        offset = 0
        while offset < len(data):
            if signature is not None:
                raise TlvError("bytes follow the signature")
            if not awaited:
                tag, awaited, offset = read_tlv_header(data, offset)
                if tag == Tag.SIGNATURE and verify and last:
                    signature = data[offset : offset + awaited]
                    offset, awaited = offset + awaited, 0
                    continue
                if tag != Tag.FULL_TEXT:
                    raise TlvError(f"tag {tag:02X} is not expected here (expected: 9B)")
            part = data[offset : offset + awaited]
            text.update(part)
            offset, awaited = offset + len(part), awaited - len(part)
        if not last:
            return replace(self, text=text, awaited=awaited), b"", None
        if awaited:
            raise TlvError(f"the text ends {awaited} bytes too early")
        if verify and (signature is None or len(signature) != SIGNATURE_SIZE):
            raise TlvError(f"tag 33: a signature of {SIGNATURE_SIZE} bytes is missing")
        return replace(self, text=text, finished=True), text.digest(), signature
