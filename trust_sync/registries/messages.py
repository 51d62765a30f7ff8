"""The messages of a registry's change feed: validation of its elements, and the reader of a snapshot. Pure."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from trust_sync.feeds import Bounds, FeedError, Message, NumberedChange, expect_array, number, shortened, why_unreadable
from trust_sync.shared import RegistryConfig


class AnchorMessage(Message):
    """A CA certificate. domain: set only in snapshots; a change has a domain of its own."""

    pem: str
    fingerprint: str | None = None
    domain: str | None = None


class Change(NumberedChange):
    """One change of the feed."""

    domain: str = ""
    name: str | None = None
    anchor: AnchorMessage | None = None


class SnapshotReader:
    """Reads a snapshot.

    anchors: its anchors; a text says why one cannot be read. names: how many names it lists.
    """

    def __init__(self) -> None:
        self.anchors: list[AnchorMessage | str] = []
        self.seq = 0
        self.names = 0

    def take(self, array: str, item: Any, _members: dict[str, Any]) -> None:
        """Read one element of `anchors` or `names`. Names are only counted, because the DNS is what counts for them."""
        if array != "anchors":
            return
        try:
            self.anchors.append(AnchorMessage.model_validate(item))
        except (ValidationError, RecursionError) as error:
            self.anchors.append(shortened(why_unreadable(item, error)))

    def finish(self, members: dict[str, Any], counts: dict[str, int]) -> None:
        """Check the complete response. Raises FeedError."""
        expect_array("anchors", counts)
        if "names" in members:
            raise FeedError("malformed", "names: an array is expected")
        self.seq, self.names = number("seq", members), counts.get("names", 0)


def bounds_of_changes(registry: RegistryConfig) -> Bounds:
    """The configured bounds of the response to a poll."""
    return Bounds(registry.max_changes_octets, registry.max_item_octets, {"changes": registry.max_changes})


def bounds_of_snapshot(registry: RegistryConfig) -> Bounds:
    """The configured bounds of a snapshot."""
    items = {"anchors": registry.max_anchors, "names": registry.max_names}
    return Bounds(registry.max_snapshot_octets, registry.max_item_octets, items)
