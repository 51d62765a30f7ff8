"""A terminal that sends hexadecimal, and helpers to build what clients send."""

from __future__ import annotations

import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature

from iot_safe_sim.card import Applet

_PREHASHED = {32: hashes.SHA256(), 48: hashes.SHA384(), 64: hashes.SHA512()}


class Reply(str):
    """A response in hexadecimal. It equals a string that differs only in spaces and in upper or lower case."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str(self) == other.replace(" ", "").upper()

    def __ne__(self, other: object) -> bool:
        return not self == other


class Terminal:
    """Sends commands written in hexadecimal, with spaces for people."""

    def __init__(self, applet: Applet) -> None:
        self.applet = applet

    def send(self, command: str) -> Reply:
        """The response, data and status word."""
        return Reply(self.applet.process(bytes.fromhex(command)).hex().upper())

    def status(self, command: str) -> str:
        """Only the status word."""
        return self.send(command)[-4:]

    def collect(self, command: str, get_response: str) -> Reply:
        """Send, and follow the 61xx with `get_response` plus the announced length. Data and status word."""
        announced = self.send(command)
        if not re.fullmatch("61..", announced):
            raise ValueError(f"{command} -> {announced}, expected 61xx ({self.applet.last_detail})")
        return self.send(get_response + announced[2:4])


def key_pair() -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """A peer's key and its point."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key, key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def raw_signature(key: ec.EllipticCurvePrivateKey, digest: bytes) -> bytes:
    """r and s, 32 bytes each."""
    r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(_PREHASHED[len(digest)]))))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def signature_is_valid(point: bytes, digest: bytes, signature: bytes) -> bool:
    """Check r and s, 32 bytes each, with the library `cryptography` alone."""
    if len(signature) != 64:
        return False
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    try:
        key.verify(der, digest, ec.ECDSA(Prehashed(_PREHASHED[len(digest)])))
    except InvalidSignature:
        return False
    return True
