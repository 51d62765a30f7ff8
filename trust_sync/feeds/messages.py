"""What the messages of every change feed have in common: validation of elements, and of whole responses. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trust_sync.feeds.json_stream import Unusable

# The most characters of a foreign text that go into a log line or the state file.
_MAX_TEXT = 300
_MAX_PROBLEMS = 5


class FeedError(RuntimeError):
    """A feed could not be followed. reason: one of `metrics.FAILURES`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(shortened(detail))
        self.reason = reason


class SequenceError(FeedError):
    """The sequence numbers of a response are inconsistent. Only a snapshot helps."""


def shortened(text: str) -> str:
    """Limit the length of a text."""
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."


class Message(BaseModel):
    """An element of a response. Unknown fields are ignored because a newer service may send more."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class NumberedChange(Message):
    """A change with its sequence number."""

    seq: int = Field(ge=0)
    type: str


ChangeT = TypeVar("ChangeT", bound=NumberedChange)


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


class ChangesReader(Generic[ChangeT]):
    """Reads the response to a long poll for the changes after `since`.

    changes: the new, readable changes in their order. problems: what is wrong with the others. next: the sequence
    number to ask with next time.
    """

    def __init__(self, model: type[ChangeT], since: int) -> None:
        self._model = model
        self.since, self._last = since, since
        self.changes: list[ChangeT] = []
        self.problems = Problems()
        self.next = since

    def take(self, _array: str, item: Any, _members: dict[str, Any]) -> None:
        """Read one element of `changes`."""
        try:
            change = self._model.model_validate(item)
        except (ValidationError, RecursionError) as error:
            self.problems.add(f"a change cannot be read: {why_unreadable(item, error)}")
            return
        if change.seq <= self._last:
            self.problems.add(f"change {change.seq} comes after {self._last}")
            return
        self.changes.append(change)
        self._last = change.seq

    def finish(self, members: dict[str, Any], counts: dict[str, int]) -> None:
        """Check the complete response. Raises FeedError if its sequence numbers are inconsistent."""
        expect_array("changes", counts)
        self.next = number("next", members)
        if self.next < self.since:
            raise SequenceError(
                "malformed", f"next is {self.next}, the request was for changes after {self.since}: the feed goes back"
            )
        if self._last > self.next:
            raise SequenceError("malformed", f"next is {self.next}, and there is a change {self._last}")


def expect_array(key: str, counts: dict[str, int]) -> None:
    """Raises FeedError if a response has no such array."""
    if key not in counts:
        raise FeedError("malformed", f"{key}: an array is expected")


def number(key: str, members: dict[str, Any]) -> int:
    """A sequence number. Raises FeedError."""
    found = members.get(key)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise FeedError("malformed", f"{key}: {type(found).__name__} found, a number from 0 is expected")
    return found


def why_unreadable(item: Any, error: Exception) -> str:
    """The first thing that is wrong with an element, without the offending value."""
    if isinstance(item, Unusable):
        return item.why
    if not isinstance(error, ValidationError):
        return shortened(str(error)) or type(error).__name__
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
