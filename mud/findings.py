"""What is wrong with a MUD file, or was skipped in it: where, why, and under which name a program knows it."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from enum import StrEnum

from mud.limits import MAX_FINDINGS, MAX_FOUND_CHARACTERS, MAX_MESSAGE, MAX_PROBLEMS

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = MAX_FOUND_CHARACTERS


class Code(StrEnum):
    """The kinds of finding. The set is closed."""

    # The file deviates from RFC 8520, and its meaning is still clear.
    DRAFT_NAME = "draft_name"
    HEX_ETHERTYPE = "hex_ethertype"
    RANGE_OPERATOR = "range_operator"
    BARE_ADDRESS = "bare_address"
    QUOTED_BOOLEAN = "quoted_boolean"
    MISPLACED = "misplaced"
    DUPLICATE = "duplicate"
    REPLACED_CHARACTERS = "replaced_characters"
    # Something is left out. It never permits a packet.
    UNKNOWN_MEMBER = "unknown_member"
    EXTENSION = "extension"
    MISSING_ACL = "missing_acl"
    UNUSED_ACL = "unused_acl"
    # An entry does not become a rule, or becomes a wider drop.
    INVALID_ENTRY = "invalid_entry"
    UNSUPPORTED_MATCH = "unsupported_match"
    UNSUPPORTED_ACTION = "unsupported_action"
    CONTRADICTION = "contradiction"
    WIDENED_DROP = "widened_drop"
    # An entry becomes a rule, and an administrator should know something about it.
    REJECT_AS_DROP = "reject_as_drop"
    ADDRESS = "address"
    CONTROLLER_CLASS = "controller_class"
    TLS_NOT_ENFORCED = "tls_not_enforced"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `place` is the path of the member in the file, or names the ACL and its entry."""

    code: Code
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class MudError(ValueError):
    """A MUD file that is not used. `problems` has one line for each mistake, which names the place."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = [printable(problem) for problem in problems[:MAX_PROBLEMS]]
        if len(problems) > MAX_PROBLEMS:
            self.problems.append(f"and {len(problems) - MAX_PROBLEMS} more problems")
        super().__init__("\n".join(self.problems))


class Findings:
    """Collects the findings of one file. With a limit, a file with more is not used."""

    def __init__(self, limit: int | None = MAX_FINDINGS) -> None:
        self._limit = limit
        self._list: list[Finding] = []

    def add(self, code: Code, place: str, text: str) -> None:
        """Raises MudError if there are too many."""
        if self._limit is not None and len(self._list) >= self._limit:
            raise MudError([f"{place}: more than {self._limit} deviations"])
        self._list.append(Finding(code, printable(place), printable(text)))

    def all(self) -> tuple[Finding, ...]:
        return tuple(self._list)


def printable(text: str) -> str:
    """Text with parts of the file, such as names of members, bounded and without control characters."""
    if len(text) > MAX_MESSAGE:
        text = text[:MAX_MESSAGE] + "…"
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def found(value: object) -> str:
    """A value of the file, short enough for a message and printable."""
    text = _BRIEF.repr(value)
    return text if len(text) <= MAX_FOUND_CHARACTERS else text[:MAX_FOUND_CHARACTERS] + "…"
