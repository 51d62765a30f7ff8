"""What the registry needs of a signing name server, whichever it is."""

from __future__ import annotations

from typing import Protocol


class SignerError(Exception):
    """The name server's tools failed. The message carries what they said."""


class DnsSigner(Protocol):
    """Blocking. Every method may be repeated after a crash without harm, and raises SignerError."""

    def add_zone(self, zone: str) -> None:
        """Make the zone exist, signed, and open to the registry's updates."""

    def ds(self, zone: str) -> list[str]:
        """The DS records for the parent zone, in presentation form."""

    def present_keys(self, zone: str) -> list[str]:
        """Identifiers of all keys that the zone has and that are not on their way out."""

    def generate_keys(self, zone: str, old: set[str]) -> None:
        """Give the zone a full set of keys beside the `old` ones, published and active at once.

        What an interrupted call has made of the set is kept.
        """

    def remove_keys(self, zone: str, keys: list[str]) -> None:
        """Take keys out of use at once, without the waiting that a graceful rollover does."""

    def sign(self, zone: str) -> None:
        """Sign the whole zone anew with the keys that are active now."""

    def nudge(self, zone: str) -> None:
        """Make the server look at what waits for the zone, now."""
