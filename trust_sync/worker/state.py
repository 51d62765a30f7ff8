"""What the worker remembers over a restart: feed positions, discovered names, and sessions that are to be ended.

It is one JSON file, which is replaced as a whole. All of its contents can be found again. If it is missing or damaged,
the worker starts nevertheless, and synchronizes everything.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trust_sync.discovery import DiscoveredName, DiscoveryState
from trust_sync.feeds import FeedPosition
from trust_sync.sessions import Access, PendingTermination, Session, SessionState, TerminationCause

VERSION = 2


@dataclass
class WorkerState:
    """Everything that is remembered. feeds: by the name of the registry."""

    feeds: dict[str, FeedPosition] = field(default_factory=dict)
    discovery: DiscoveryState = field(default_factory=DiscoveryState)
    sessions: SessionState = field(default_factory=SessionState)

    def to_json(self) -> dict[str, Any]:
        """Copy the state as plain data, which may be encoded while the state changes."""
        return {
            "version": VERSION,
            "feeds": {name: {**vars(feed)} for name, feed in self.feeds.items()},
            "evidence": {
                name: {**vars(item), "fingerprints": [*item.fingerprints]}
                for name, item in self.discovery.names.items()
            },
            "unbacked": dict(self.discovery.unbacked),
            "pending": {key: _termination_to_json(item) for key, item in self.sessions.pending.items()},
            # Its lists are replaced, and never changed.
            "records": dict(self.sessions.records),
        }

    @classmethod
    def from_json(cls, data: Any) -> WorkerState:
        """Restore what `to_json` gave. Raises ValueError, TypeError or KeyError for anything else."""
        if data["version"] != VERSION:
            raise ValueError(f"version {data['version']!r}, {VERSION} expected")
        return cls(
            feeds={str(name): FeedPosition(**item) for name, item in data["feeds"].items()},
            discovery=DiscoveryState(
                names={str(name): DiscoveredName(**item) for name, item in data["evidence"].items()},
                unbacked={str(key): float(since) for key, since in data["unbacked"].items()},
            ),
            sessions=SessionState(
                pending={str(key): _termination_from_json(item) for key, item in data["pending"].items()},
                records={str(name): [str(r) for r in records] for name, records in data["records"].items()},
            ),
        )


def _termination_to_json(item: PendingTermination) -> dict[str, Any]:
    fields = {field: value for field, value in vars(item).items() if field not in ("session", "access")}
    access = item.access.to_json() if item.access is not None else None
    return {**fields, "session": item.session.to_json(), "access": access}


def _termination_from_json(data: dict[str, Any]) -> PendingTermination:
    fields = {**data, "session": Session(**data["session"]), "cause": TerminationCause(data["cause"])}
    # Earlier versions knew of the VLAN only.
    vlan = fields.pop("vlan", None)
    access = {"vlan": vlan} if vlan is not None else fields.get("access")
    return PendingTermination(**{**fields, "access": Access(**access) if access is not None else None})


class StateFile:
    """Loads and saves the state. problem: why the saved state was not used; None: it was."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self.problem: str | None = None
        self._saved = b""

    def load(self) -> WorkerState:
        """Load what was saved. Returns an empty state, and sets `problem`, if that cannot be used."""
        try:
            octets = self._path.read_bytes()
            state = WorkerState.from_json(json.loads(octets))
        except FileNotFoundError:
            return WorkerState()
        except OSError as error:
            self.problem = f"{self._path}: {error.strerror}"
            return WorkerState()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            self.problem = f"{self._path}: not a state file ({error}); kept as {self._path.name}.damaged"
            with contextlib.suppress(OSError):
                os.replace(self._path, self._path.with_name(self._path.name + ".damaged"))
            return WorkerState()
        self._saved = octets
        return state

    def save(self, data: dict[str, Any]) -> None:
        """Write the result of `WorkerState.to_json`, if it has changed. Raises OSError; the old file stays then."""
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
