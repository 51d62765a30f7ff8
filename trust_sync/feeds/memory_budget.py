"""A limit on the memory that the responses of all feeds occupy together. Pure."""

from __future__ import annotations


class MemoryBudget:
    """Octets that several peers may hold at once. A peer within its equal share is never refused.

    All peers together therefore hold less than twice `total`.
    """

    def __init__(self, total: int, peers: int) -> None:
        self._total, self._share = total, total // max(1, peers)
        self._held: dict[str, int] = {}

    def hold(self, peer: str, octets: int) -> bool:
        """Set what `peer` holds. False: it may not hold that much, and nothing has changed."""
        others = sum(held for name, held in self._held.items() if name != peer)
        if octets > self._share and others + octets > self._total:
            return False
        self._held[peer] = octets
        return True

    def release(self, peer: str) -> None:
        """Set what `peer` holds to nothing."""
        self._held.pop(peer, None)
