"""Reading replies of other processes, which may be of another version: a value of another type counts as missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A JSON object, or an empty one."""
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


def entries(data: Mapping[str, Any], key: str) -> list[Any]:
    """A list, or an empty one."""
    value = data.get(key)
    return value if isinstance(value, list) else []


def number(data: Mapping[str, Any], key: str) -> int | None:
    """A number, rounded towards zero, or None."""
    value = data.get(key)
    return int(value) if isinstance(value, int | float) and abs(value) < 1e15 else None
