"""Accounting from the event loop: who has live sessions, asked in threads, and which of them are devices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from dane_radius.core import Refused, normalize
from policy import Policy
from trust_sync.pace import Pace
from trust_sync.sessions import Session, SessionSource

_THREADS = 4
_Found = TypeVar("_Found")


class Accounting:
    """A session source that does not block. Without one there are no sessions. All raise SessionsUnavailable."""

    def __init__(self, source: SessionSource | None) -> None:
        self._source = source
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sessions")

    @property
    def configured(self) -> bool:
        return self._source is not None

    async def _ask(self, function: Callable[[], _Found]) -> _Found:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def names(self) -> set[str]:
        """The names that have live sessions."""
        return await self._ask(self._source.names) if self._source is not None else set()

    async def live(self, names: Sequence[str]) -> set[str]:
        """Those of some names that have live sessions."""
        return await self._ask(partial(self._source.live, names)) if self._source is not None and names else set()

    async def of(self, names: Sequence[str]) -> list[Session]:
        """The live sessions of some names."""
        return await self._ask(partial(self._source.of, names)) if self._source is not None and names else []

    async def is_live(self, session: Session) -> bool:
        """Whether a session has not ended, as far as is known."""
        return self._source is None or await self._ask(partial(self._source.is_live, session))

    async def nas_secrets(self) -> list[tuple[str, str]]:
        """Address (or network) and secret of each row of the `nas` table."""
        return await self._ask(self._source.nas_secrets) if self._source is not None else []

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Devices:
    """Which users of the table are devices that policy speaks of.

    The table may hold others, let in by passwords or another CA: no TLSA record of theirs means nothing.
    """

    def __init__(self, policy: Callable[[], Policy]) -> None:
        self._policy = policy
        # What was found for the users of the table, and by which policy.
        self._known: dict[str, bool] = {}
        self._by: Policy | None = None

    async def all_of(self, users: Collection[str]) -> list[str]:
        """The devices among all users of the table. Those that were there the last time are not judged again."""
        policy = self._policy()
        if policy is not self._by:
            self._known, self._by = {}, policy
        pace = Pace()
        found: dict[str, bool] = {}
        for user in users:
            ours = self._known.get(user)
            if ours is None:
                await pace.rest()
                ours = self._is_device(user, policy)
            found[user] = ours
        if self._by is policy:
            self._known = found
        return [user for user, ours in found.items() if ours]

    async def among(self, users: Collection[str]) -> list[str]:
        """The devices among some users."""
        policy, pace = self._policy(), Pace()
        found = []
        for user in users:
            await pace.rest()
            if self._is_device(user, policy):
                found.append(user)
        return found

    @staticmethod
    def _is_device(name: str, policy: Policy) -> bool:
        try:
            return normalize(name.encode("utf-8", "surrogatepass")) == name and policy.selects(name)
        except Refused:
            return False
