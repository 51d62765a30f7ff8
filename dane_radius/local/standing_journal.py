"""The format of the standing journal: what `operations` said of devices and makers, as JSON lines. No I/O.

`trust_sync` writes the journal, and the module reads it. The first line is the header:

    {"format": 1, "source": "https://operations.example.net", "sequence": 17}

It may also have `origin` (the database behind the source), `journal` (the identifier of this file), and, after a
compaction, `continues` and `octets`: the first `octets` octets of this file say the same as the whole file with that
identifier. Each other line is an entry, which replaces earlier ones of the same subject, or a position:

    {"sequence": 17, "subject": "device", "name": "a1.camera._device.example.net", "standing": "quarantined",
     "approved": false, "zone": null, "until": null, "then": "normal", "removed": false}
    {"position": 17}

`then_zone` is present if `then` has a zone. A position says that the file contains every change up to that number.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

from policy import Standing

FORMAT = 1
JOURNAL_FILE = "journal"
DEVICE, MAKER = "device", "maker"
_MAX_NAME_OCTETS = 253
_MAX_ZONE_CHARACTERS = 253
# The year 2248. Later times are mistakes.
_MAX_SECONDS = float(1 << 33)

# In ascending order of strictness.
STRICTNESS: tuple[Standing, ...] = (
    Standing.NORMAL,
    Standing.WATCHED,
    Standing.PENDING,
    Standing.QUARANTINED,
    Standing.BLOCKED,
)
RANK = {standing: rank for rank, standing in enumerate(STRICTNESS)}
_ENCODER = json.JSONEncoder(separators=(",", ":"))
_STANDINGS = {str(standing): standing for standing in Standing}


class JournalFormatError(ValueError):
    """A line of the journal cannot be read."""


class Header(NamedTuple):
    """The first line. Optional members are described above."""

    source: str
    sequence: int
    origin: str | None = None
    journal: str | None = None
    continues: str | None = None
    octets: int = 0

    def to_line(self) -> bytes:
        """The line, without its newline."""
        members = {"format": FORMAT, **{key: value for key, value in self._asdict().items() if value is not None}}
        return _ENCODER.encode(members).encode()


class Position(NamedTuple):
    """The file contains every change up to this number."""

    sequence: int

    def to_line(self) -> bytes:
        """The line, without its newline."""
        return b'{"position":%d}' % self.sequence


class Entry(NamedTuple):
    """What is said of one device, or of one maker (a domain: see `maker_domains`).

    until: seconds since 1970, from which on `then` and `then_zone` count. removed: nothing is known any more.
    kept: an earlier service said so, and the present one has not confirmed that it no longer holds.
    """

    name: str
    maker: bool = False
    standing: Standing = Standing.NORMAL
    approved: bool = False
    zone: str | None = None
    until: float | None = None
    then: Standing = Standing.NORMAL
    removed: bool = False
    kept: bool = False
    then_zone: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the entry says no more than that the subject is normal, so it need not be kept."""
        return self.removed or (
            self.standing is Standing.NORMAL and not self.approved and self.zone is None and self.until is None
        )

    def to_line(self, sequence: int) -> bytes:
        """The line, without its newline."""
        members: dict[str, Any] = {
            "sequence": sequence,
            "subject": MAKER if self.maker else DEVICE,
            "name": self.name,
            "standing": self.standing.value,
            "approved": self.approved,
            "zone": self.zone,
            "until": self.until,
            "then": self.then.value,
            "removed": self.removed,
        }
        if self.then_zone is not None:
            members["then_zone"] = self.then_zone
        if self.kept:
            members["kept"] = True
        return _ENCODER.encode(members).encode()


def read_standing(word: Any) -> Standing:
    """The standing that a word stands for. A word that is not known counts as `blocked`: a newer service may use it.

    Raises JournalFormatError if it is not a text.
    """
    if not isinstance(word, str):
        raise JournalFormatError(f"standing: {type(word).__name__} found, a text is expected")
    return _STANDINGS.get(word, Standing.BLOCKED)


def read_entry(members: dict[str, Any]) -> Entry:
    """An entry, from the members that a journal line and a change of the feed have in common.

    Raises JournalFormatError. Whether the name is a DNS name is not checked.
    """
    subject, name = members.get("subject"), members.get("name")
    if subject not in (DEVICE, MAKER):
        raise JournalFormatError(f"subject: {subject!r:.60} found, device or maker is expected")
    if not isinstance(name, str) or not 1 <= len(name) <= _MAX_NAME_OCTETS:
        raise JournalFormatError("name: a text of 1 to 253 characters is expected")
    maker = subject == MAKER
    if _boolean(members, "removed"):
        return Entry(name, maker, removed=True)
    return Entry(
        name,
        maker,
        read_standing(members.get("standing")),
        _boolean(members, "approved"),
        _zone(members, "zone"),
        _time(members.get("until")),
        read_standing(members.get("then") or "normal"),
        kept=_boolean(members, "kept"),
        then_zone=_zone(members, "then_zone"),
    )


def _zone(members: dict[str, Any], key: str) -> str | None:
    found = members.get(key)
    if found is None or (isinstance(found, str) and 1 <= len(found) <= _MAX_ZONE_CHARACTERS):
        return found
    raise JournalFormatError(f"{key}: null, or a text of 1 to 253 characters, is expected")


def _boolean(members: dict[str, Any], key: str) -> bool:
    found = members.get(key, False)
    if not isinstance(found, bool):
        raise JournalFormatError(f"{key}: {type(found).__name__} found, true or false is expected")
    return found


def _time(found: Any) -> float | None:
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise JournalFormatError(f"until: {type(found).__name__} found, null or seconds since 1970 are expected")
    if not math.isfinite(found) or not 0 <= found < _MAX_SECONDS:
        raise JournalFormatError(f"until: {found!r:.40} is no time in seconds since 1970")
    return float(found)


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise JournalFormatError(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise JournalFormatError(f"{type(found).__name__} found, an object is expected")
    return found


def _count(members: dict[str, Any], key: str) -> int:
    found = members.get(key)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise JournalFormatError(f"{key}: {found!r:.40} found, a number from 0 is expected")
    return found


def read_header(line: bytes) -> Header:
    """The first line. Raises JournalFormatError."""
    members = _object(line)
    if members.get("format") != FORMAT:
        raise JournalFormatError(f"format: {members.get('format')!r:.40} found, {FORMAT} is expected")
    texts = {key: members.get(key) for key in ("origin", "journal", "continues")}
    source = members.get("source")
    if not isinstance(source, str) or not all(text is None or isinstance(text, str) for text in texts.values()):
        raise JournalFormatError("source, origin, journal, continues: texts are expected")
    octets = _count(members, "octets") if "octets" in members else 0
    return Header(source, _count(members, "sequence"), texts["origin"], texts["journal"], texts["continues"], octets)


def read_line(line: bytes) -> Entry | Position:
    """Any line but the first. Raises JournalFormatError."""
    return read_numbered_line(line)[1]


def read_numbered_line(line: bytes) -> tuple[int, Entry | Position]:
    """Any line but the first, and the number of its change. Raises JournalFormatError."""
    members = _object(line)
    if "position" in members:
        position = Position(_count(members, "position"))
        return position.sequence, position
    return _count(members, "sequence"), read_entry(members)
