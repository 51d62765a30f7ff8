"""A key on a card as a private key of the library `cryptography`, for its builders of requests and certificates."""

from __future__ import annotations

from typing import NoReturn, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from iot_safe_sim.interface import public_key
from iot_safe_sim.middleware.client import IoTSafeClient


class CardPrivateKey(ec.EllipticCurvePrivateKey):
    """The key pair in the container `key`. It signs; it cannot be exported.

    `sign` raises CardError when the card refuses, and UnsupportedAlgorithm for another hash than SHA-2.
    """

    def __init__(self, card: IoTSafeClient, key: bytes) -> None:
        """Read the public key. Raises CardError when there is none in the container."""
        self._card = card
        self._key = key
        self._public_key = public_key(card.public_key(key))

    def sign(
        self, data: bytes | bytearray | memoryview, signature_algorithm: ec.EllipticCurveSignatureAlgorithm
    ) -> bytes:
        """Hash `data` here and sign the digest on the card. Returns an ECDSA-Sig-Value (DER)."""
        algorithm = signature_algorithm.algorithm
        if isinstance(algorithm, Prehashed):
            raise UnsupportedAlgorithm("a digest is signed by IoTSafeClient.sign_digest")
        if not isinstance(algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
            raise UnsupportedAlgorithm(f"the card signs with SHA-256, SHA-384 or SHA-512, not {algorithm.name}")
        return self._card.sign(self._key, bytes(data), algorithm.name)

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public half, as it was when this object was made."""
        return self._public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        """P-256."""
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        """In bits."""
        return self._public_key.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        """Not offered: a device key signs only."""
        raise UnsupportedAlgorithm("this key signs only; IoTSafeClient.agree uses the ephemeral key")

    def private_numbers(self) -> NoReturn:
        """Not offered: the key stays on the card."""
        raise TypeError("the private key stays on the card")

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> NoReturn:
        """Not offered: the key stays on the card."""
        raise TypeError("the private key stays on the card")

    def __copy__(self) -> Self:
        """The object itself: both would name the same key."""
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """The object itself: both would name the same key."""
        return self
