"""What the worker remembers over a restart: where it is in each feed, what it discovered, whom it still has to end.

One JSON file, replaced as a whole. It holds nothing that cannot be found again: a file that is gone or damaged costs a
full synchronisation, and is never a reason not to start.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trust_sync.sessions import Session
from trust_sync.standing import Cause

VERSION = 2


@dataclass
class FeedPosition:
    """seq: the last change that was dealt with, None before the first snapshot. Times: seconds since 1970."""

    seq: int | None = None
    last_success: float = 0.0
    last_snapshot: float = 0.0
    failures: int = 0
    last_error: str | None = None


@dataclass
class Evidence:
    """A name and the anchors that its zone led to when it was last looked at.

    due: when it is looked at again; last_success: when the zone, and where need be its authority URL, last answered;
    both in seconds since 1970.
    """

    fingerprints: list[str]
    due: float
    last_success: float = 0.0
    failures: int = 0
    last_error: str | None = None


@dataclass
class PendingEnd:
    """A session that should be over. noticed, due: seconds since 1970."""

    session: Session
    cause: Cause
    noticed: float
    due: float
    attempts: int = 0
    last_reply: str = ""
    # Set: the session is to be moved to this VLAN instead of ended.
    vlan: str | None = None


@dataclass
class State:
    """Everything that is remembered."""

    feeds: dict[str, FeedPosition] = field(default_factory=dict)
    evidence: dict[str, Evidence] = field(default_factory=dict)
    # Since when no name is known to lead to an anchor, in seconds since 1970: `<fingerprint> <domain>`.
    unbacked: dict[str, float] = field(default_factory=dict)
    pending: dict[str, PendingEnd] = field(default_factory=dict)
    # The TLSA records last seen of names with live sessions: what a key roll is noticed by.
    records: dict[str, list[str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A copy, as plain data: it may be encoded while the state changes."""
        return {
            "version": VERSION,
            "feeds": {name: {**vars(feed)} for name, feed in self.feeds.items()},
            "evidence": {
                name: {**vars(item), "fingerprints": [*item.fingerprints]} for name, item in self.evidence.items()
            },
            "unbacked": dict(self.unbacked),
            "pending": {
                key: {**{f: v for f, v in vars(end).items() if f != "session"}, "session": end.session.to_json()}
                for key, end in self.pending.items()
            },
            # The lists in it are replaced, never changed.
            "records": dict(self.records),
        }

    @classmethod
    def from_json(cls, data: Any) -> State:
        """Raises ValueError, TypeError or KeyError for anything else than `to_json` gave."""
        if data["version"] != VERSION:
            raise ValueError(f"version {data['version']!r}, {VERSION} expected")
        return cls(
            feeds={str(name): FeedPosition(**item) for name, item in data["feeds"].items()},
            evidence={str(name): Evidence(**item) for name, item in data["evidence"].items()},
            unbacked={str(key): float(since) for key, since in data["unbacked"].items()},
            pending={
                str(key): PendingEnd(**{**item, "session": Session(**item["session"]), "cause": Cause(item["cause"])})
                for key, item in data["pending"].items()
            },
            records={str(name): [str(r) for r in records] for name, records in data["records"].items()},
        )


class StateFile:
    """Loads and saves a State."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self.problem: str | None = None
        self._saved = b""

    def load(self) -> State:
        """What was saved; an empty State when there is nothing usable, and then `problem` says why."""
        try:
            octets = self._path.read_bytes()
            state = State.from_json(json.loads(octets))
        except FileNotFoundError:
            return State()
        except OSError as error:
            self.problem = f"{self._path}: {error.strerror}"
            return State()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            self.problem = f"{self._path}: not a state file ({error}); kept as {self._path.name}.damaged"
            with contextlib.suppress(OSError):
                os.replace(self._path, self._path.with_name(self._path.name + ".damaged"))
            return State()
        self._saved = octets
        return state

    def save(self, data: dict[str, Any]) -> None:
        """Write what `State.to_json` gave, if anything changed. Raises OSError; the old file then stays."""
        octets = json.dumps(data, separators=(",", ":")).encode()
        if octets == self._saved:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f".{self._path.name}.new")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        self._saved = octets
