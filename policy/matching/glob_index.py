"""Many glob patterns for one label, found by a label without trying each of them.

A pattern with one star is found by what stands before and after the star. One with more stars is found by the rarest of
its pieces, and then tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from policy.matching.globs import matches_glob

ChildT = TypeVar("ChildT")

_PATTERNS_PER_REST = 64
# The lengths of pieces. A label has at most 63 characters, so at most 63 pieces of each length.
_PIECE_LENGTHS = (8, 4, 2, 1)


class GlobIndex(Generic[ChildT]):
    """Children by glob pattern. After the last `add`, call `freeze`."""

    __slots__ = ("_around", "_by_piece", "_exact", "_many", "_piece_lengths", "_prefix_lengths", "_suffix_lengths")

    def __init__(self) -> None:
        # By pattern, for `get` while the index is built.
        self._exact: dict[str, ChildT] = {}
        self._many: list[str] = []
        self._freeze_empty()

    def _freeze_empty(self) -> None:
        self._prefix_lengths: tuple[int, ...] = ()
        self._suffix_lengths: tuple[int, ...] = ()
        # Lengths of the text before and after the star.
        self._around: tuple[tuple[int, int], ...] = ()
        self._piece_lengths: tuple[int, ...] = ()
        self._by_piece: dict[str, list[tuple[str, ChildT]]] = {}

    def get(self, pattern: str) -> ChildT | None:
        """The child of exactly this pattern."""
        return self._exact.get(pattern)

    def put(self, pattern: str, child: ChildT) -> None:
        """Set the child of a pattern that has a star, and more than a star."""
        if pattern not in self._exact and pattern.count("*") > 1:
            self._many.append(pattern)
        self._exact[pattern] = child

    def containers(self) -> list[Any]:
        """What is large, for `dismantle`."""
        return [self._exact, self._by_piece]

    def freeze(self, rest: Callable[[], None] = lambda: None) -> None:
        """Prepare for `find`. `rest` is called often."""
        prefixes, suffixes, around = set(), set(), set()
        for count, pattern in enumerate(self._exact):
            if count % _PATTERNS_PER_REST == 0:
                rest()
            before, _, after = pattern.partition("*")
            if "*" in after:
                continue
            if not after:
                prefixes.add(len(before))
            elif not before:
                suffixes.add(len(after))
            else:
                around.add((len(before), len(after)))
        self._prefix_lengths, self._suffix_lengths = tuple(sorted(prefixes)), tuple(sorted(suffixes))
        self._around = tuple(sorted(around))
        self._freeze_pieces(rest)

    def _freeze_pieces(self, rest: Callable[[], None]) -> None:
        counts: dict[str, int] = {}
        for count, pattern in enumerate(self._many):
            if count % _PATTERNS_PER_REST == 0:
                rest()
            for piece in set(_pieces(pattern)):
                counts[piece] = counts.get(piece, 0) + 1
        for count, pattern in enumerate(self._many):
            if count % _PATTERNS_PER_REST == 0:
                rest()
            pieces = sorted(set(_pieces(pattern)))
            rarest = min(pieces, key=lambda piece: (counts[piece], -len(piece)))
            self._by_piece.setdefault(rarest, []).append((pattern, self._exact[pattern]))
        self._piece_lengths = tuple(sorted({len(piece) for piece in self._by_piece}))
        self._many = []

    def find(self, label: str, found: list[ChildT]) -> None:
        """Append the children of all patterns that match a label."""
        children, length = self._exact, len(label)
        for before in self._prefix_lengths:
            if before > length:
                break
            child = children.get(label[:before] + "*")
            if child is not None:
                found.append(child)
        for after in self._suffix_lengths:
            if after > length:
                break
            child = children.get("*" + label[length - after :])
            if child is not None:
                found.append(child)
        for before, after in self._around:
            if before + after <= length:
                child = children.get(f"{label[:before]}*{label[length - after :]}")
                if child is not None:
                    found.append(child)
        if self._piece_lengths:
            self._find_by_pieces(label, found)

    def _find_by_pieces(self, label: str, found: list[ChildT]) -> None:
        by_piece = self._by_piece
        for size in self._piece_lengths:
            for piece in {label[start : start + size] for start in range(len(label) - size + 1)}:
                for pattern, child in by_piece.get(piece, ()):
                    if matches_glob(pattern, label):
                        found.append(child)


def _pieces(pattern: str) -> Iterator[str]:
    """Pieces of a pattern with several stars, each of which a label that matches contains."""
    for part in filter(None, pattern.split("*")):
        size = next(size for size in _PIECE_LENGTHS if size <= len(part))
        yield from (part[start : start + size] for start in range(len(part) - size + 1))
