"""The TSIG key that signs updates (RFC 8945), read from the formats that name servers' tools write."""

from __future__ import annotations

import base64
import binascii
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import dns.name
import dns.tsig

from web_service.core import ConfigurationError
from web_service.local import write_private

ALGORITHM = "hmac-sha256"
# 128 bits. RFC 2104 section 3 discourages a key shorter than the digest, 32 octets: `load_or_create` makes 32.
MIN_SECRET_BYTES = 16

_KNOT = re.compile(r"id:\s*\"?(?P<name>[^\s\"]+)\"?.*?secret:\s*\"?(?P<secret>[A-Za-z0-9+/=]+)", re.S)
_BIND = re.compile(r"key\s+\"?(?P<name>[^\s\";{]+)\"?\s*\{.*?secret\s+\"?(?P<secret>[A-Za-z0-9+/=]+)", re.S)
_LINE = re.compile(r"\A\s*(?:hmac-sha256:)?(?P<name>[^\s:]+):(?P<secret>[A-Za-z0-9+/=]+)\s*\Z")
_ALGORITHM = re.compile(r"(?:algorithm:?\s+\"?|\A\s*)(?P<algorithm>hmac-[a-z0-9-]+)", re.I)


@dataclass(frozen=True)
class TsigKey:
    """A key's name and secret."""

    name: str
    secret: bytes = field(repr=False)

    @property
    def keyring(self) -> dict[dns.name.Name, dns.tsig.Key]:
        name = dns.name.from_text(self.name)
        return {name: dns.tsig.Key(name, self.secret, ALGORITHM)}

    @property
    def secret_text(self) -> str:
        return base64.b64encode(self.secret).decode()


def load(path: Path) -> TsigKey:
    """Read a key file: Knot's (`keymgr -t`), BIND's (`tsig-keygen`), or `hmac-sha256:NAME:SECRET`.

    Raises ConfigurationError.
    """
    try:
        text = path.read_text()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot read the TSIG key: {error}") from None
    if mode & 0o007:
        raise ConfigurationError(
            f"{path}: mode is {mode & 0o777:04o}, expected 0600 or 0640: others can read it; `chmod 600` it"
        )
    found = _ALGORITHM.search(text)
    if found and found["algorithm"].lower() != ALGORITHM:
        raise ConfigurationError(f"{path}: found algorithm {found['algorithm']}, expected {ALGORITHM}")
    match = _LINE.match(text) or _BIND.search(text) or _KNOT.search(text)
    if not match:
        raise ConfigurationError(
            f"{path}: found no TSIG key, expected the output of `keymgr -t NAME` or `tsig-keygen NAME`, "
            f"or one line {ALGORITHM}:NAME:SECRET"
        )
    try:
        secret = base64.b64decode(match["secret"], validate=True)
    except binascii.Error:
        raise ConfigurationError(f"{path}: the TSIG secret is not base64") from None
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigurationError(
            f"{path}: found a secret of {len(secret)} octets, expected at least {MIN_SECRET_BYTES}; make another key"
        )
    return TsigKey(match["name"].lower().removesuffix("."), secret)


def load_or_create(path: Path, name: str = "iot-registry") -> TsigKey:
    """The key in `path`. A new key is made there if the file does not exist. Raises ConfigurationError."""
    if not path.exists():
        key = TsigKey(name, os.urandom(32))
        text = f"key:\n  - id: {key.name}\n    algorithm: {ALGORITHM}\n    secret: {key.secret_text}\n"
        write_private(path, text.encode())
    return load(path)
