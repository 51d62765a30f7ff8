"""The content of a card's state file: one line with a checksum, then JSON. Pure.

The checksum tells a damaged file from a new card, so a damaged card is never replaced by an empty one silently.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from iot_safe_sim.card.object_store import ObjectStore

FORMAT = 1


class StateError(Exception):
    """The state directory cannot be used; the text names the file, what was found and what to do."""


def encode(store: ObjectStore, *, key_store: str) -> bytes:
    """The content of the state file of a card with these objects and this key store."""
    body = json.dumps({"format": FORMAT, "key_store": key_store, "store": store.to_json()}, indent=1).encode()
    return b"sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def decode(path: Path, raw: bytes) -> dict[str, Any]:
    """The document in a state file. Raises StateError, which names `path`, for a wrong checksum or format."""
    head, _, body = raw.partition(b"\n")
    if head != b"sha256 " + hashlib.sha256(body).hexdigest().encode():
        raise StateError(f"{path}: damaged (its checksum does not match); restore it, or remove it to start a new card")
    document: dict[str, Any] = json.loads(body)
    if document.get("format") != FORMAT:
        raise StateError(f"{path}: format {document.get('format')!r}, expected {FORMAT}")
    return document
