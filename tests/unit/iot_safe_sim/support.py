"""A terminal that speaks hexadecimal, and helpers to build what clients send."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature

from iot_safe_sim.applet import Applet
from iot_safe_sim.keystore import public_key

_PREHASHED = {32: hashes.SHA256(), 48: hashes.SHA384(), 64: hashes.SHA512()}


class Terminal:
    """Sends commands written in hexadecimal; spaces are for reading."""

    def __init__(self, applet: Applet) -> None:
        self.applet = applet

    def send(self, command: str) -> str:
        """The response in upper-case hexadecimal."""
        return self.applet.process(bytes.fromhex(command)).hex().upper()

    def expect(self, command: str, response: str) -> None:
        """Send and compare. An `x` in `response` stands for any digit."""
        got = self.send(command)
        pattern = response.replace(" ", "").upper()
        assert len(got) == len(pattern), f"{command} -> {got}, expected {pattern} ({self.applet.last_detail})"
        matches = all(want in ("X", have) for want, have in zip(pattern, got, strict=True))
        assert matches, f"{command} -> {got}, expected {pattern} ({self.applet.last_detail})"

    def status(self, command: str) -> str:
        """Only the status word."""
        return self.send(command)[-4:]

    def collect(self, command: str, get_response: str) -> str:
        """Send, follow one 61xx with `get_response` plus the announced length; data and status word."""
        announced = self.send(command)
        assert announced.startswith("61"), f"{command} -> {announced}, expected 61xx"
        assert len(announced) == 4
        return self.send(get_response + announced[2:4])


def key_pair() -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """A peer's key and its point."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key, key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def raw_signature(key: ec.EllipticCurvePrivateKey, digest: bytes) -> bytes:
    """r and s, 32 bytes each."""
    r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(_PREHASHED[len(digest)]))))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def assert_signature(point: bytes, digest: bytes, signature: bytes) -> None:
    """Check a raw signature with pyca/cryptography alone. Raises InvalidSignature."""
    assert len(signature) == 64
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    public_key(point).verify(der, digest, ec.ECDSA(Prehashed(_PREHASHED[len(digest)])))
