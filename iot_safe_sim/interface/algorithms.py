"""Algorithms of the signature and derivation commands, by their numbers in GSMA IoT.05."""

from __future__ import annotations

from enum import IntEnum

#: Tag 91: number to the name that hashlib knows.
HASH_ALGORITHMS = {0x0001: "sha256", 0x0002: "sha384", 0x0004: "sha512"}
#: Digest size in bytes to name. A digest alone does not say which algorithm made it; within SHA-2 its size does.
HASH_NAME_BY_SIZE = {32: "sha256", 48: "sha384", 64: "sha512"}


class SignatureAlgorithm(IntEnum):
    """Tag 92. The applet offers ECDSA only."""

    ECDSA = 0x04


class SignatureMode(IntEnum):
    """Tag A1, the mode of operation: which side hashes what is signed."""

    #: The card hashes the whole text.
    FULL_TEXT = 1
    #: The client hashes all but the last block and hands over the intermediate hash. This applet refuses it.
    LAST_BLOCK = 2
    #: The client hashes everything ("pad and sign").
    EXTERNAL_HASH = 3
