"""The interface of a signing name server to the registry."""

from __future__ import annotations

from typing import Protocol


class SignerError(Exception):
    """A tool of the name server failed. The message holds its output."""


class DnsSigner(Protocol):
    """Blocking. Every method raises SignerError, and may be repeated after a crash."""

    def add_zone(self, zone: str) -> None:
        """Create the zone, signed and open to the registry's updates, if it does not exist."""

    def ds(self, zone: str) -> list[str]:
        """The DS records for the parent zone, in presentation form."""

    def present_keys(self, zone: str) -> list[str]:
        """Identifiers of all keys of the zone, except those that are being removed."""

    def generate_keys(self, zone: str, old: set[str]) -> None:
        """Add a full set of keys (KSK and ZSK) to the `old` ones, published and active at once.

        Keys of the set that an interrupted call has generated are kept.
        """

    def remove_keys(self, zone: str, keys: list[str]) -> None:
        """Delete keys at once, without the delays of an orderly rollover (RFC 7583)."""

    def sign(self, zone: str) -> None:
        """Sign the whole zone again with the keys that are active now."""

    def process_updates(self, zone: str) -> None:
        """Make the server apply the updates that it has queued for the zone, now."""
