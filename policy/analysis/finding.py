"""What an examination of a policy file finds."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """error: the policy does not do what it says. warning: probably a mistake. note: intended in some policies."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Finding(NamedTuple):
    """One finding. `code` is stable. `line`: in the policy file, from 1; None if it is not about one place there.

    `fix` says what to do. `key`: where in the file, as in `zones.guests.vlan`.
    """

    code: str
    level: Level
    line: int | None
    key: str
    message: str
    fix: str


def key_of(*path: str | int) -> str:
    """A path in the file as text: `rules[3].identity`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
