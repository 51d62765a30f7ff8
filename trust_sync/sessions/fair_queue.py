"""A queue with round-robin order between sources. Pure."""

from __future__ import annotations

from collections import OrderedDict


class FairQueue:
    """Items of several sources, each at most once. Sources take turns; the items of one source keep their order."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        self._source_of: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._source_of)

    def __contains__(self, item: str) -> bool:
        return item in self._source_of

    @property
    def items(self) -> list[str]:
        """All items, in no particular order."""
        return list(self._source_of)

    def put(self, source: str, item: str) -> None:
        """Add an item. One that is in the queue keeps its position."""
        if item not in self._source_of:
            self._source_of[item] = source
            self._lines.setdefault(source, OrderedDict())[item] = None

    def pop(self) -> str:
        """Remove and return the next item. Raises KeyError if the queue is empty."""
        source, line = self._lines.popitem(last=False)
        item, _ = line.popitem(last=False)
        del self._source_of[item]
        if line:
            self._lines[source] = line
        return item

    def remove(self, item: str) -> bool:
        """Remove an item. Returns whether it was in the queue."""
        source = self._source_of.pop(item, None)
        if source is None:
            return False
        line = self._lines[source]
        del line[item]
        if not line:
            del self._lines[source]
        return True
