"""A key store without a token: one PKCS#8 file per key, mode 0600, below the state directory."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from iot_safe_sim.durable_file import sync_directory, write_atomically
from iot_safe_sim.interface import der_to_raw, point_of, prehashed, public_key
from iot_safe_sim.keystore.base import KeyStoreError, SupplicantKey, UnknownKeyError, new_handle


class SoftwareKeyStore:
    """Key pairs as files in `directory`, which is created with mode 0700. Volatile keys stay in memory."""

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
        return handle, point_of(key.public_key())

    def sign(self, handle: str, digest: bytes) -> bytes:
        """See KeyStore.sign."""
        try:
            algorithm = prehashed(digest)
        except ValueError as error:
            raise KeyStoreError(str(error)) from error
        return der_to_raw(self._key(handle).sign(digest, algorithm))

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
        """The key file, which wpa_supplicant reads."""
        self._key(handle)
        return SupplicantKey(private_key=str(self._key_file(handle).absolute()))

    def close(self) -> None:
        """See KeyStore.close."""
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
