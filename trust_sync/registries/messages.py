"""The messages of a registry's change feed: validation of its elements, and readers of whole responses. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trust_sync.registries.json_stream import Bounds, Unusable
from trust_sync.shared import RegistryConfig

# The most characters of a foreign text that go into a log line or the state file.
_MAX_TEXT = 300
_MAX_PROBLEMS = 5


class FeedError(RuntimeError):
    """A registry could not be followed. reason: one of `metrics.FAILURES`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(shortened(detail))
        self.reason = reason


class SequenceError(FeedError):
    """The sequence numbers of a response are inconsistent. Only a snapshot helps."""


def shortened(text: str) -> str:
    """Limit the length of a text."""
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."


class _Message(BaseModel):
    # Unknown fields are ignored because a newer registry may send more.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class AnchorMessage(_Message):
    """A CA certificate. domain: set only in snapshots; a change has a domain of its own."""

    pem: str
    fingerprint: str | None = None
    domain: str | None = None


class Change(_Message):
    """One change of the feed."""

    seq: int = Field(ge=0)
    type: str
    domain: str = ""
    name: str | None = None
    anchor: AnchorMessage | None = None


@dataclass
class Problems:
    """Elements that could not be read: their number, and descriptions of the first few."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Count an element, and describe it."""
        self.count += 1
        if len(self.first) < _MAX_PROBLEMS:
            self.first.append(shortened(text))


class ChangesReader:
    """Reads the response to a long poll for the changes after `since`.

    changes: the new, readable changes in their order. problems: what is wrong with the others. next: the sequence
    number to ask with next time.
    """

    def __init__(self, since: int) -> None:
        self.since, self._last = since, since
        self.changes: list[Change] = []
        self.problems = Problems()
        self.next = since

    def take(self, _array: str, item: Any) -> None:
        """Read one element of `changes`."""
        try:
            change = Change.model_validate(item)
        except (ValidationError, RecursionError) as error:
            why = item.why if isinstance(item, Unusable) else _first_problem(error)
            self.problems.add(f"a change cannot be read: {why}")
            return
        if change.seq <= self._last:
            self.problems.add(f"change {change.seq} comes after {self._last}")
            return
        self.changes.append(change)
        self._last = change.seq

    def finish(self, members: dict[str, Any], counts: dict[str, int]) -> None:
        """Check the complete response. Raises FeedError if its sequence numbers are inconsistent."""
        _expect_array("changes", counts)
        self.next = _number("next", members)
        if self.next < self.since:
            raise SequenceError(
                "malformed", f"next is {self.next}, the request was for changes after {self.since}: the feed goes back"
            )
        if self._last > self.next:
            raise SequenceError("malformed", f"next is {self.next}, and there is a change {self._last}")


class SnapshotReader:
    """Reads a snapshot.

    anchors: its anchors; a text says why one cannot be read. names: how many names it lists.
    """

    def __init__(self) -> None:
        self.anchors: list[AnchorMessage | str] = []
        self.seq = 0
        self.names = 0

    def take(self, array: str, item: Any) -> None:
        """Read one element of `anchors` or `names`. Names are only counted, because the DNS is what counts for them."""
        if array != "anchors":
            return
        try:
            self.anchors.append(AnchorMessage.model_validate(item))
        except (ValidationError, RecursionError) as error:
            why = item.why if isinstance(item, Unusable) else _first_problem(error)
            self.anchors.append(shortened(why))

    def finish(self, members: dict[str, Any], counts: dict[str, int]) -> None:
        """Check the complete response. Raises FeedError."""
        _expect_array("anchors", counts)
        if "names" in members:
            raise FeedError("malformed", "names: an array is expected")
        self.seq, self.names = _number("seq", members), counts.get("names", 0)


def _expect_array(key: str, counts: dict[str, int]) -> None:
    if key not in counts:
        raise FeedError("malformed", f"{key}: an array is expected")


def _number(key: str, members: dict[str, Any]) -> int:
    found = members.get(key)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise FeedError("malformed", f"{key}: {type(found).__name__} found, a number from 0 is expected")
    return found


def bounds_of_changes(registry: RegistryConfig) -> Bounds:
    """The configured bounds of the response to a poll."""
    return Bounds(registry.max_changes_octets, registry.max_item_octets, {"changes": registry.max_changes})


def bounds_of_snapshot(registry: RegistryConfig) -> Bounds:
    """The configured bounds of a snapshot."""
    items = {"anchors": registry.max_anchors, "names": registry.max_names}
    return Bounds(registry.max_snapshot_octets, registry.max_item_octets, items)


def _first_problem(error: Exception) -> str:
    """The first validation error of a message, without the offending value."""
    if not isinstance(error, ValidationError):
        return type(error).__name__
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
