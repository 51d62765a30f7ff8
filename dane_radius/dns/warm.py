"""Which names are worth asking for so that the resolver stays ready for the devices below them. No I/O, no clock.

The first lookup in a zone costs the resolver several round trips: delegation, keys, each label on the way. The names of
the devices themselves are many and seldom asked for; what stands above them is asked for by all. So one lookup of
`camera._device.example.net` a minute saves every device below it most of its wait, and tells beforehand whether the
zone's servers answer at all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

# Below the minute for which a resolver keeps what it knows (cache-max-ttl of the Unbound settings that we give).
REPEAT_SECONDS = 45.0


class WarmNames:
    """Names above devices, and when each is to be looked up next. Times are those of one monotonic clock."""

    def __init__(self, at_most: int) -> None:
        """`at_most` names are kept; 0: none."""
        self._at_most = at_most
        self._due: OrderedDict[str, float] = OrderedDict()
        self._listed: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self._due)

    def keep(self, names: Iterable[str], now: float) -> None:
        """The names that policy speaks of, in place of those that it spoke of before. They are due at once."""
        before, self._listed = self._listed, frozenset(list(names)[: self._at_most])
        for name in before - self._listed:
            self._due.pop(name, None)
        for name in self._listed:
            self._due.setdefault(name, now)
        self._make_room()

    def used(self, name: str, now: float) -> None:
        """A device below `name` was let in."""
        if name in self._due:
            self._due.move_to_end(name)
        elif self._at_most:
            self._due[name] = now + REPEAT_SECONDS
            self._make_room()

    def _make_room(self) -> None:
        """The names that were used longest ago go first; those that policy speaks of stay."""
        surplus = len(self._due) - self._at_most
        if surplus > 0:
            for name in [name for name in self._due if name not in self._listed][:surplus]:
                del self._due[name]

    def due(self, now: float, at_most: int = 16) -> list[str]:
        """Up to `at_most` names to look up now; each is due again after a while."""
        names = [name for name, due in self._due.items() if due <= now][:at_most]
        for name in names:
            self._due[name] = now + REPEAT_SECONDS
        return names
