"""Keys in software: one PKCS#8 file per key, mode 0600, below the state directory. For systems without a
PKCS#11 token.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from iot_safe_sim.keystore.base import (
    COORDINATE_SIZE,
    KeyStoreError,
    SupplicantKey,
    UnknownKeyError,
    new_handle,
    public_key,
)
from iot_safe_sim.storage import sync_directory, write_atomically

_HASHES: dict[int, hashes.HashAlgorithm] = {32: hashes.SHA256(), 48: hashes.SHA384(), 64: hashes.SHA512()}


class SoftwareKeyStore:
    """Key pairs as files in `directory` (created 0700). A volatile key is in memory only."""

    name = "software"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for stray in directory.glob("*.new"):
                stray.unlink()
        except OSError as error:
            raise KeyStoreError(f"{directory}: {error.strerror}") from error

    def generate(self, *, persistent: bool) -> tuple[str, bytes]:
        """See KeyStore.generate."""
        key = ec.generate_private_key(ec.SECP256R1())
        handle = new_handle()
        if persistent:
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            self._write(self._key_file(handle), pem)
        self._keys[handle] = key
        return handle, key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    def sign(self, handle: str, digest: bytes) -> bytes:
        """See KeyStore.sign."""
        if len(digest) not in _HASHES:
            raise KeyStoreError(f"digest of {len(digest)} bytes: expected 32, 48 or 64")
        signature = self._key(handle).sign(digest, ec.ECDSA(Prehashed(_HASHES[len(digest)])))
        r, s = decode_dss_signature(signature)
        return r.to_bytes(COORDINATE_SIZE, "big") + s.to_bytes(COORDINATE_SIZE, "big")

    def agree(self, handle: str, point: bytes) -> bytes:
        """See KeyStore.agree."""
        try:
            peer = public_key(point)
        except ValueError as error:
            raise KeyStoreError(str(error)) from error
        return self._key(handle).exchange(ec.ECDH(), peer)

    def store_secret(self, value: bytes) -> str:
        """See KeyStore.store_secret."""
        handle = new_handle()
        self._write(self._directory / f"{handle}.secret", value)
        return handle

    def secret(self, handle: str) -> bytes:
        """See KeyStore.secret."""
        try:
            return (self._directory / f"{handle}.secret").read_bytes()
        except OSError as error:
            raise UnknownKeyError(f"secret {handle}: {error.strerror}") from error

    def destroy(self, handle: str) -> None:
        """See KeyStore.destroy."""
        self._keys.pop(handle, None)
        try:
            for path in (self._key_file(handle), self._directory / f"{handle}.secret"):
                path.unlink(missing_ok=True)
            sync_directory(self._directory)
        except OSError as error:
            raise KeyStoreError(f"{self._directory}: {error.strerror}") from error

    def handles(self) -> set[str]:
        """See KeyStore.handles."""
        return {path.stem for path in self._directory.iterdir() if path.suffix in (".pem", ".secret")}

    def supplicant_key(self, handle: str) -> SupplicantKey:
        """The key file: without a token, wpa_supplicant has to read it."""
        self._key(handle)
        return SupplicantKey(private_key=str(self._key_file(handle).absolute()))

    def close(self) -> None:
        """Forget the keys."""
        self._keys.clear()

    def _key_file(self, handle: str) -> Path:
        return self._directory / f"{handle}.pem"

    def _write(self, path: Path, data: bytes) -> None:
        try:
            write_atomically(path, data)
        except OSError as error:
            raise KeyStoreError(f"{path}: {error.strerror}") from error

    def _key(self, handle: str) -> ec.EllipticCurvePrivateKey:
        if handle not in self._keys:
            try:
                key = serialization.load_pem_private_key(self._key_file(handle).read_bytes(), password=None)
            except OSError as error:
                raise UnknownKeyError(f"key {handle}: {error.strerror}") from error
            except ValueError as error:
                raise KeyStoreError(f"key {handle}: its file is damaged: {error}") from error
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise KeyStoreError(f"key {handle}: not an elliptic curve key")
            self._keys[handle] = key
        return self._keys[handle]
