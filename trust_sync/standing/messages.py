"""The messages of the operations service's feed: a change of a standing, and the reader of a response to a poll."""

from __future__ import annotations

from typing import Any

from dane_radius.core import Refused, normalize
from dane_radius.local import DEVICE, MAKER, Entry, JournalFormatError, read_entry
from policy import Standing
from trust_sync.feeds import Bounds, ChangesReader, FeedError, NumberedChange, SequenceError, shortened
from trust_sync.shared import OperationsConfig

_STANDING = "standing"


class Change(NumberedChange):
    """One change. Its members are those of a journal entry; `to_entry` checks them."""

    subject: Any = None
    name: Any = None
    standing: Any = None
    approved: Any = False
    zone: Any = None
    until: Any = None
    then: Any = None
    then_zone: Any = None
    removed: Any = False


class StandingChanges(ChangesReader[Change]):
    """Reads the response to a poll. origin: the database that the journal is from; None: not known.

    entries: what the changes say, with their sequence numbers.
    """

    def __init__(self, since: int, origin: str | None) -> None:
        super().__init__(Change, since)
        self._origin = origin
        self.entries: list[tuple[int, Entry]] = []

    def finish(self, members: dict[str, Any], counts: dict[str, int]) -> None:
        """Check the complete response. Raises FeedError."""
        super().finish(members, counts)
        origin = read_origin(members)
        if origin is not None and self._origin is not None and origin != self._origin:
            raise SequenceError("malformed", f"origin {origin!r:.60} found, {self._origin!r:.60} is expected")
        for change in self.changes:
            if change.type != _STANDING:
                # A newer service reports more.
                continue
            if not isinstance(change.name, str):
                self.problems.add(f"change {change.seq}: name: a text is expected")
                continue
            entry, problem = to_entry(change.model_dump())
            if problem is not None:
                self.problems.add(f"change {change.seq}: {problem}")
            if entry is not None:
                self.entries.append((change.seq, entry))


def to_entry(members: dict[str, Any]) -> tuple[Entry | None, str | None]:
    """An entry with a normalized name, and what is wrong with it.

    Fails closed: a device of which something unreadable is said is blocked. There is no entry for a name that no device
    can have, and for a subject of another kind, which a newer service may have. Raises JournalFormatError if the name
    is missing, so that it is not known which device is meant.
    """
    name, subject = members.get("name"), members.get("subject")
    if not isinstance(name, str):
        raise JournalFormatError("name: a text is expected")
    if subject not in (DEVICE, MAKER):
        return None, f"subject: {subject!r:.60} found, device or maker is expected"
    try:
        name = normalize(name.encode("utf-8", "surrogatepass"))
    except Refused as error:
        return None, f"name: {shortened(error.detail)}"
    try:
        # Only this side knows what an earlier service said.
        return read_entry({**members, "name": name, "kept": False}), None
    except JournalFormatError as error:
        return Entry(name, subject == MAKER, Standing.BLOCKED), f"{name} is blocked: {error}"


def read_origin(members: dict[str, Any]) -> str | None:
    """The database behind the service. Raises FeedError."""
    found = members.get("origin")
    if found is not None and (not isinstance(found, str) or not 1 <= len(found) <= 200):
        raise FeedError("malformed", "origin: a text of 1 to 200 characters is expected")
    return found


def bounds_of_changes(config: OperationsConfig) -> Bounds:
    """The configured bounds of the response to a poll."""
    return Bounds(config.max_changes_octets, config.max_item_octets, {"changes": config.max_changes})


def bounds_of_snapshot(config: OperationsConfig) -> Bounds:
    """The configured bounds of a snapshot."""
    return Bounds(config.max_snapshot_octets, config.max_item_octets, {"standing": config.max_standing})
