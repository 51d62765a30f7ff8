"""A policy file as plain data, with the line of each key: for what a compiled policy no longer says."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from policy.loading.document import locate, read_document

Path = tuple[str | int, ...]

# Compiled rules and cases have their lines themselves, and a file may have a million of them.
_WITHOUT_LINES = frozenset({"rules", "grants", "roaming", "tests"})
_MAX_DEPTH = 4


class Document:
    """The content of a valid policy file. `data` has lists, mappings and scalars as the file writes them."""

    def __init__(self, octets: bytes) -> None:
        """`octets` must be a policy that `parse_policy` accepts."""
        self._octets = octets
        self.data: dict[str, Any] = read_document(octets, lambda: None)

    @cached_property
    def _lines(self) -> dict[Path, int]:
        wanted: set[Path] = {(key,) for key in self.data}
        for key, value in self.data.items():
            if key not in _WITHOUT_LINES:
                wanted.update(_paths((key,), value))
        return locate(self._octets, wanted)

    def line(self, *path: str | int) -> int | None:
        """The line of a key or of an element of a list, from 1; of what contains it if it is not there."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines[path] if path else None

    def get(self, *path: str | int, default: Any = None) -> Any:
        """The value at a path, or `default`."""
        value: Any = self.data
        for part in path:
            if (isinstance(value, dict) and part in value) or (
                isinstance(value, list) and isinstance(part, int) and part < len(value)
            ):
                value = value[part]  # type: ignore[index]
            else:
                return default
        return value


def _paths(prefix: Path, value: Any) -> Iterator[Path]:
    yield prefix
    if len(prefix) < _MAX_DEPTH:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, part in inner:
            yield from _paths((*prefix, key), part)
