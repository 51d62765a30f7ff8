"""How far the decision log is reported: a small file that outlives the process."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from trust_sync.shared import sync_folder, write_all


@dataclass(frozen=True)
class Position:
    """A place in the decision log.

    inode, head: the file: its number, and a digest of its first octets, as a number is used again. head_octets: how
    many octets `head` is of. offset: everything before it is reported. end: the end of the lines that are under way;
    after a restart, the same lines are sent again. lost: decisions that were never reported, since the first start.
    """

    inode: int = 0
    head: str = ""
    head_octets: int = 0
    offset: int = 0
    end: int = 0
    lost: int = 0


class PositionFile:
    """Loads and saves the position. problem: why the saved one was not used."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self.problem: str | None = None

    def load(self) -> Position | None:
        """The saved position. None: there is none, or none that can be used."""
        try:
            members = json.loads(self._path.read_bytes())
            position = Position(**members)
            numbers = (position.inode, position.head_octets, position.offset, position.end, position.lost)
            if not isinstance(position.head, str) or any(type(n) is not int or n < 0 for n in numbers):
                raise ValueError("numbers from 0 are expected")
            return position
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            self.problem = f"{self._path}: {error}"
            return None

    def save(self, position: Position) -> None:
        """Replace the file. Durable when it returns. Raises OSError; the old file stays then."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f".{self._path.name}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, json.dumps(asdict(position)).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, self._path)
        sync_folder(self._path.parent)
