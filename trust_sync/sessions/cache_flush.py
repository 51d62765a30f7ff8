"""Removes names from the caches between the worker and a name's zone: the resolver's, and the module's."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from dane_radius.local import ControlError, ask
from trust_sync.sessions.metrics import SessionMetrics
from trust_sync.shared import Reporting

_TIMEOUT_SECONDS = 1.0
_THREADS = 4
_NAME = re.compile(r"[a-z0-9_.-]{1,253}")
_MAX_ANSWER_OCTETS = 4096
# Labels of the caches.
UNBOUND, MODULE = "unbound", "module"
ALL_CACHES = frozenset({UNBOUND, MODULE})


class FlushFailed(RuntimeError):
    """A cache was not flushed. Its answers live until their TTL ends."""


class Cache(Protocol):
    """A cache of DNS answers. Methods raise FlushFailed."""

    def flush_name(self, name: str) -> None:
        """Remove the records of a name."""

    def flush_domain(self, domain: str) -> None:
        """Remove the records of a domain and of all names below it, DNSSEC keys included."""


@dataclass(frozen=True)
class UnboundCache:
    """Unbound's cache. path: its control socket."""

    path: str

    def flush_name(self, name: str) -> None:
        """Remove the records of a name. Raises FlushFailed.

        `flush` alone keeps TLSA records. `flush_type` alone keeps an NXDOMAIN that QNAME minimization has found.
        """
        self._command("flush_type", name, " TLSA")
        self._command("flush", name)

    def flush_domain(self, domain: str) -> None:
        """Remove everything below a domain, DNSSEC keys included, as a key rollover needs it. Raises FlushFailed."""
        self._command("flush_zone", domain)

    def _command(self, verb: str, name: str, suffix: str = "") -> None:
        if not _NAME.fullmatch(name):
            # Other characters could add a command.
            raise FlushFailed(f"unbound: {name!r} is no name")
        command = f"{verb} {name}{suffix}"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
                connection.settimeout(_TIMEOUT_SECONDS)
                connection.connect(self.path)
                connection.sendall(f"UBCT1 {command}\n".encode("ascii"))
                answer = connection.recv(_MAX_ANSWER_OCTETS)
        except OSError as error:
            raise FlushFailed(f"unbound: {self.path}: {error.strerror or error}") from error
        if not answer.startswith(b"ok"):
            raise FlushFailed(f"unbound: {command}: {answer.decode('utf-8', 'replace').strip()!r}")


@dataclass(frozen=True)
class ModuleCache:
    """The cache of the module in FreeRADIUS. path: its control socket."""

    path: str

    def flush_name(self, name: str) -> None:
        """Remove the answer for a name. Raises FlushFailed."""
        self._flush(name=name, below=False)

    def flush_domain(self, domain: str) -> None:
        """Remove the answers for a domain and all names below it. Raises FlushFailed."""
        self._flush(name=domain, below=True)

    def _flush(self, **fields: str | bool) -> None:
        try:
            ask(self.path, "flush", timeout=_TIMEOUT_SECONDS, **fields)
        except ControlError as error:
            raise FlushFailed(f"dane_radius: {error}") from error


class CacheFlusher:
    """Flushes both caches in threads of its own, so a cache that hangs delays nothing else.

    Failures are logged and counted. TTLs then bound the delay.
    """

    def __init__(self, unbound: str | None, module: str | None, reporting: Reporting[SessionMetrics]) -> None:
        """unbound, module: control sockets. None: the cache is not flushed."""
        # The resolver comes first, because the module may ask it again at once.
        self._caches: dict[str, Cache] = {}
        if unbound is not None:
            self._caches[UNBOUND] = UnboundCache(unbound)
        if module is not None:
            self._caches[MODULE] = ModuleCache(module)
        self._metrics, self._log = reporting.metrics, reporting.log
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="flush")

    async def names(self, names: Sequence[str], *, caches: Collection[str] = ALL_CACHES) -> None:
        """Remove names from the caches."""
        for label, cache in self._selected(caches):
            await self._flush_all(label, cache.flush_name, names)

    async def domains(self, domains: Sequence[str], *, caches: Collection[str] = ALL_CACHES) -> None:
        """Remove all names of domains, and the keys of their zones."""
        for label, cache in self._selected(caches):
            await self._flush_all(label, cache.flush_domain, domains)

    def _selected(self, caches: Collection[str]) -> list[tuple[str, Cache]]:
        return [(label, cache) for label, cache in self._caches.items() if label in caches]

    async def _flush_all(self, label: str, flush: Callable[[str], None], names: Sequence[str]) -> None:
        if not names:
            return
        loop = asyncio.get_running_loop()
        failures = await loop.run_in_executor(self._threads, _flush_each, flush, names)
        if failures:
            self._metrics.flush_failures.labels(label).inc(len(failures))
            self._log.warning(
                "cache not flushed; its TTL bounds the delay",
                cache=label, error=str(failures[0]), count=len(failures),
            )  # fmt: skip

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _flush_each(flush: Callable[[str], None], names: Sequence[str]) -> list[FlushFailed]:
    """Flush one name after the other. Returns the failures. Stops if the cache cannot be reached."""
    failures: list[FlushFailed] = []
    for name in names:
        try:
            flush(name)
        except FlushFailed as error:
            failures.append(error)
            if isinstance(error.__cause__, OSError) or isinstance(getattr(error.__cause__, "__cause__", None), OSError):
                break
    return failures
