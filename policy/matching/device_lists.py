"""Lists of device names, as a table of digests: a million names in one block of memory.

A name is found by the BLAKE2b digest (RFC 7693) of itself under a secret key, of 16 octets. A false hit would be a
collision of 128 bits, which nobody can search for without the key. Python's own sets would need several times the
memory, stop the process while they grow, and give the garbage collector more to traverse.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterable

_DIGEST_OCTETS = 16
_FREE = bytes(_DIGEST_OCTETS)
# The table is at most so full that a search ends after a few steps.
_MAX_LOAD = 0.6


class NameTable:
    """A set of device names. It is filled once, and then only asked.

    content: the SHA-256 of what it was read from.
    """

    __slots__ = ("_count", "_hasher", "_mask", "_table", "content")

    def __init__(self, key: bytes, capacity: int) -> None:
        """Room for `capacity` names. All tables of a policy have the same key."""
        slots = 8
        while capacity > slots * _MAX_LOAD:
            slots *= 2
        self._hasher = hashlib.blake2b(digest_size=_DIGEST_OCTETS, key=key)
        # Pages of anonymous memory, which the system clears as they are used, and not all at once. Nothing is shared
        # with a process that is forked.
        self._table = mmap.mmap(-1, slots * _DIGEST_OCTETS, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._mask = slots - 1
        self._count = 0
        self.content = b""

    @classmethod
    def of(cls, names: Iterable[str], key: bytes = b"") -> NameTable:
        """A table of normalized names."""
        every = list(names)
        table = cls(key, len(every))
        for name in every:
            table.add(name)
        return table

    def __len__(self) -> int:
        return self._count

    @property
    def octets(self) -> int:
        """The memory of the table."""
        return len(self._table)

    def add(self, name: str) -> None:
        """Add a normalized name. Raises OverflowError beyond the capacity."""
        digest = self.digest_of(name)
        table, position = self._table, (int.from_bytes(digest[:8], "little") & self._mask) * _DIGEST_OCTETS
        while (held := table[position : position + _DIGEST_OCTETS]) != _FREE:
            if held == digest:
                return
            position = (position + _DIGEST_OCTETS) % len(table)
        if self._count + 1 > (self._mask + 1) * _MAX_LOAD:
            raise OverflowError("more names than the table was made for")
        table[position : position + _DIGEST_OCTETS] = digest
        self._count += 1

    def digest_of(self, name: str) -> bytes:
        """The digest of a name, under which every table with the same key knows it."""
        hasher = self._hasher.copy()
        hasher.update(name.encode())
        return hasher.digest()

    def holds(self, digest: bytes) -> bool:
        """Whether the name with this digest is in the table."""
        table, position = self._table, (int.from_bytes(digest[:8], "little") & self._mask) * _DIGEST_OCTETS
        while (held := table[position : position + _DIGEST_OCTETS]) != digest:
            if held == _FREE:
                return False
            position = (position + _DIGEST_OCTETS) % len(table)
        return True

    def __contains__(self, name: str) -> bool:
        return self.holds(self.digest_of(name))
