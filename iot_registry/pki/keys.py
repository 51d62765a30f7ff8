"""Private keys on disk: P-256, PKCS #8, mode 0600, optionally under a passphrase."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from iot_registry.errors import ConfigurationError


def generate() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def write_private(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write `data` so that a crash leaves the old file or the new one, never readable by others on the
    way."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        os.fchmod(descriptor, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save(path: Path, key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> None:
    """Write a private key, under the passphrase if there is one."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    write_private(path, pem)


def load(path: Path, passphrase: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    """Read a private key. Raises ConfigurationError: absent, readable by others, wrong passphrase, not
    P-256."""
    try:
        pem = path.read_bytes()
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: the private key is not there (is it kept offline?)") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot read the private key: {error.strerror}") from None
    if mode & 0o077:
        raise ConfigurationError(f"{path}: mode is {mode & 0o777:04o}, expected 0600: others can read this key")
    encrypted = b"ENCRYPTED" in pem
    if encrypted and not passphrase:
        raise ConfigurationError(f"{path}: the key has a passphrase, and none is configured for it")
    try:
        key = serialization.load_pem_private_key(pem, passphrase if encrypted else None)
    except (ValueError, TypeError):
        raise ConfigurationError(f"{path}: not a PKCS #8 key in PEM form, or the passphrase is wrong") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigurationError(f"{path}: found another kind of key, expected P-256")
    return key
