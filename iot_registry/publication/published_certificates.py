"""Telling enrollments that wait which certificates the publisher of this process has published."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

# Certificates that were published before anyone waited for them. Far more than one publication round has.
MAX_REMEMBERED = 10_000


class PublishedCertificates:
    """Certificates whose records are in the DNS, and the coroutines that wait for one of them.

    A publication wakes only those who wait for that certificate: if every one of n enrollments looked at the database
    whenever one of them was published, they would look n * n times. If another process publishes, it wakes
    nothing here, and a request that waits must look at the database.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}
        self._recent: OrderedDict[int, None] = OrderedDict()

    def add(self, certificates: Sequence[int]) -> None:
        """These certificates (row ids) are in the DNS. May be called from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._add, certificates)

    def _add(self, certificates: Sequence[int]) -> None:
        for certificate in certificates:
            for future in self._waiting.pop(certificate, ()):
                if not future.done():
                    future.set_result(None)
            self._recent[certificate] = None
            self._recent.move_to_end(certificate)
        while len(self._recent) > MAX_REMEMBERED:
            self._recent.popitem(last=False)

    async def wait(self, certificate: int, seconds: float) -> bool:
        """Wait at most `seconds` until the certificate was added; returns whether it was."""
        if certificate in self._recent:
            return True
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.setdefault(certificate, []).append(future)
        try:
            done, _ = await asyncio.wait({future}, timeout=seconds)
            return bool(done)
        finally:
            others = self._waiting.get(certificate, [])
            if future in others:
                others.remove(future)
            if not others:
                self._waiting.pop(certificate, None)
