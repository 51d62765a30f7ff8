"""Accounting queries from the event loop. They run in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from trust_sync.sessions.accounting_database import AccountingDatabase
from trust_sync.sessions.session import Session

_THREADS = 4
_ResultT = TypeVar("_ResultT")


class Accounting:
    """The accounting database, if there is one. Without it there are no sessions.

    Every query raises AccountingUnavailable.
    """

    def __init__(self, database: AccountingDatabase | None) -> None:
        self._database = database
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sessions")

    @property
    def configured(self) -> bool:
        """Whether there is a database."""
        return self._database is not None

    async def _run(self, query: Callable[[], _ResultT]) -> _ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._threads, query)

    async def names(self) -> set[str]:
        """List the names that have live sessions."""
        return await self._run(self._database.names) if self._database is not None else set()

    async def live(self, names: Sequence[str]) -> set[str]:
        """Select the names that have live sessions."""
        return await self._run(partial(self._database.live, names)) if self._database is not None and names else set()

    async def of(self, names: Sequence[str]) -> list[Session]:
        """List the live sessions of some names."""
        return await self._run(partial(self._database.of, names)) if self._database is not None and names else []

    async def all(self) -> list[Session]:
        """List all live sessions."""
        return await self._run(self._database.all) if self._database is not None else []

    async def is_live(self, session: Session) -> bool:
        """Say whether a session is still live. Without a database, every session counts as live."""
        return self._database is None or await self._run(partial(self._database.is_live, session))

    async def nas_secrets(self) -> list[tuple[str, str]]:
        """List address (or network) and secret of each row of the `nas` table."""
        return await self._run(self._database.nas_secrets) if self._database is not None else []

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
