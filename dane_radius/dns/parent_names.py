"""The parent names of devices that are looked up regularly, to keep the resolver's cache warm. No I/O, no clock.

The first lookup in a zone costs the resolver several round trips: the delegation, the keys, and each label between. A
zone has many devices, and the name of each is looked up seldom; their lookups share the names above them. One lookup of
`camera._device.example.net` a minute therefore saves each device below it most of its wait. It also shows in advance
whether the zone's servers answer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

# Less than the 60 s for which containers/unbound/unbound.conf lets the resolver keep an answer (cache-max-ttl).
REPEAT_SECONDS = 45.0


class ParentNames:
    """Names above devices, with the time of their next lookup. Times are seconds of one monotonic clock."""

    def __init__(self, max_names: int) -> None:
        """`max_names`: how many names are kept; 0 turns the lookups off."""
        self._max_names = max_names
        self._due: OrderedDict[str, float] = OrderedDict()
        self._of_policy: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self._due)

    def set_policy_names(self, names: Iterable[str], now: float) -> None:
        """Replace the names that come from policy. New ones are due at once; the others keep their time."""
        before, self._of_policy = self._of_policy, frozenset(list(names)[: self._max_names])
        for name in before - self._of_policy:
            self._due.pop(name, None)
        for name in self._of_policy:
            self._due.setdefault(name, now)
        self._evict()

    def device_admitted(self, name: str, now: float) -> None:
        """Keep `name`, because a device below it was admitted."""
        if name in self._due:
            self._due.move_to_end(name)
        elif self._max_names:
            self._due[name] = now + REPEAT_SECONDS
            self._evict()

    def _evict(self) -> None:
        """Remove the names used least recently, but none that policy names."""
        surplus = len(self._due) - self._max_names
        if surplus > 0:
            for name in [name for name in self._due if name not in self._of_policy][:surplus]:
                del self._due[name]

    def take_due(self, now: float, at_most: int = 16) -> list[str]:
        """Up to `at_most` names to look up now. Each is due again after REPEAT_SECONDS."""
        names = [name for name, due in self._due.items() if due <= now][:at_most]
        for name in names:
            self._due[name] = now + REPEAT_SECONDS
        return names
