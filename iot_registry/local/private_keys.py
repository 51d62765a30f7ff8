"""Private keys in files: P-256, PKCS #8 in PEM, mode 0600, optionally encrypted with a passphrase."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from web_service.core import ConfigurationError
from web_service.local import write_private


def generate() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def save(path: Path, key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> None:
    """Write a private key, encrypted if there is a passphrase."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    write_private(path, pem)


def load(path: Path, passphrase: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    """Read a private key.

    Raises ConfigurationError if it is absent or readable by others, if the passphrase is wrong, or if it is not P-256.
    """
    try:
        pem = path.read_bytes()
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no private key here; if it is kept offline, fetch it") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot read the private key: {error.strerror}") from None
    if mode & 0o077:
        raise ConfigurationError(
            f"{path}: mode is {mode & 0o777:04o}, expected 0600: others can read this key; `chmod 600` it"
        )
    encrypted = b"ENCRYPTED" in pem
    if encrypted and not passphrase:
        raise ConfigurationError(
            f"{path}: the key is encrypted, and no passphrase is configured for it; see [ca] passphrase_file"
        )
    try:
        key = serialization.load_pem_private_key(pem, passphrase if encrypted else None)
    except (ValueError, TypeError):
        raise ConfigurationError(f"{path}: not a PKCS #8 key in PEM form, or the passphrase is wrong") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigurationError(f"{path}: found another kind of key, expected P-256")
    return key
