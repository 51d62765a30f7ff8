"""API keys: their text form, how they are stored, and how a presented one is checked."""

from __future__ import annotations

import datetime as dt
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from web_service.core.refusals import ConfigurationError, Reason, Refused
from web_service.local.digests import secret_digest

_IDENTIFIER = re.compile(r"[0-9a-f]{12}\Z")


class StoredKey(Protocol):
    """What a service stores of a key: never the key itself."""

    @property
    def secret_sha256(self) -> str: ...
    @property
    def revoked_at(self) -> dt.datetime | None: ...
    @property
    def expires_at(self) -> dt.datetime | None: ...


Stored = TypeVar("Stored", bound=StoredKey)


@dataclass(frozen=True)
class IssuedKey:
    """A new key. text: what its holder presents; it is shown once. digest: what is stored."""

    identifier: str
    digest: str
    text: str = field(repr=False)


class KeyFormat:
    """The keys of one service: `<prefix>_<identifier>_<secret>`. The prefix tells leaked keys apart."""

    def __init__(self, prefix: str) -> None:
        self.prefix = f"{prefix}_"
        self._pattern = re.compile(rf"{prefix}_([0-9a-f]{{12}})_([A-Za-z0-9_-]{{43}})\Z")
        self.no_valid_key = (
            f"no valid API key: send `Authorization: Bearer {self.prefix}...` "
            "with a key that is neither revoked nor expired"
        )

    def issue(self) -> IssuedKey:
        """A new key of 256 random bits."""
        identifier, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        return IssuedKey(identifier, secret_digest(secret), f"{self.prefix}{identifier}_{secret}")

    def is_identifier(self, text: str) -> bool:
        return bool(_IDENTIFIER.match(text))

    def verify(self, presented: str, find: Callable[[str], Stored | None], now: dt.datetime) -> Stored:
        """The stored key that was presented. find: by identifier. Raises Refused, always with the same text."""
        match = self._pattern.match(presented)
        key = find(match[1]) if match else None
        # Compared even without a row: the time must not tell which identifiers exist.
        expected = key.secret_sha256 if key else secret_digest("")
        same = hmac.compare_digest(expected, secret_digest(match[2] if match else "-"))
        if key is None or not same or key.revoked_at is not None or (key.expires_at and key.expires_at <= now):
            raise Refused(Reason.UNAUTHENTICATED, self.no_valid_key)
        return key

    def read_file(self, path: Path) -> str:
        """Read a key from a file that only its owner can read. Raises ConfigurationError."""
        try:
            mode, text = path.stat().st_mode & 0o777, path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path}: cannot read the API key: {error}") from None
        if mode & 0o077:
            raise ConfigurationError(
                f"{path}: mode is {mode:04o}, expected 0600: others can read this API key; `chmod 600` it"
            )
        if not text.startswith(self.prefix) or not text.isascii() or not text.isprintable():
            raise ConfigurationError(f"{path}: not an API key: expected one line that starts with {self.prefix}")
        return text
