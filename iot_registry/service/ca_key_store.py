"""The private keys of the CAs, in files beside the database."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from iot_registry.local import private_keys
from iot_registry.local.config import Settings
from iot_registry.store.models import Authority, AuthorityKind
from web_service.core import ConfigurationError


class CaKeyStore:
    """The CAs' private keys, in files named after their key identifiers.

    root_key: present path of the root's key if it is kept offline; None: with the others.
    """

    def __init__(self, settings: Settings, root_key: Path | None = None) -> None:
        self._folder = settings.state_dir / "ca"
        self._root_key = root_key
        self._passphrase = _passphrase(settings.ca.passphrase_file)
        self._root_passphrase = _passphrase(settings.ca.root_passphrase_file)
        self._cache: dict[str, ec.EllipticCurvePrivateKey] = {}

    def path(self, aki: str) -> Path:
        return self._folder / f"{aki}.key"

    def load(self, row: Authority) -> ec.EllipticCurvePrivateKey:
        """The private key of a CA. Raises ConfigurationError if it is absent, encrypted otherwise, or another CA's."""
        if row.aki in self._cache:
            return self._cache[row.aki]
        root = row.kind == AuthorityKind.ROOT
        path = self._root_key if root and self._root_key else self.path(row.aki)
        key = private_keys.load(path, self._root_passphrase if root else self._passphrase)
        if key.public_key() != x509.load_pem_x509_certificate(row.pem.encode()).public_key():
            raise ConfigurationError(f"{path}: not the key of {row.kind} CA {row.aki}: name the file that holds it")
        # The root's key is not kept in memory: it is rarely used, and its loss would cost the most.
        if not root:
            self._cache[row.aki] = key
        return key

    def save(self, kind: AuthorityKind, aki: str, key: ec.EllipticCurvePrivateKey) -> None:
        passphrase = self._root_passphrase if kind is AuthorityKind.ROOT else self._passphrase
        private_keys.save(self.path(aki), key, passphrase)

    def destroy(self, aki: str) -> None:
        """Delete the key of a retired CA."""
        self._cache.pop(aki, None)
        self.path(aki).unlink(missing_ok=True)


def _passphrase(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        text = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot read the passphrase: {error.strerror}") from None
    if not text:
        raise ConfigurationError(f"{path}: the passphrase is empty: write one into the file, or leave the setting out")
    return text
