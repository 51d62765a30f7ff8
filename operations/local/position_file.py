"""How far the feed was, as this machine remembers it outside of the database: a restored backup does not change it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from web_service.local import write_private

NAME = "feed-position.json"


@dataclass(frozen=True)
class FeedPosition:
    """origin: of the database. seq: number of the last change."""

    origin: str
    seq: int


def read_position(folder: Path) -> FeedPosition | None:
    """What is remembered; None: nothing, or nothing that can be read."""
    try:
        data = json.loads((folder / NAME).read_bytes())
        return FeedPosition(str(data["origin"]), int(data["seq"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_position(folder: Path, position: FeedPosition) -> None:
    """Remember a position. Raises OSError."""
    write_private(folder / NAME, json.dumps({"origin": position.origin, "seq": position.seq}).encode())
