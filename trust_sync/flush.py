"""Make the caches between us and a name's zone forget it: the resolver's first, then the module's."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from dane_radius.local import ControlError, Logger, ask
from trust_sync.metrics import Metrics

_TIMEOUT_SECONDS = 1.0
_THREADS = 4
CACHES = frozenset({"unbound", "module"})
_NAME = re.compile(r"[a-z0-9_.-]{1,253}")
_MAX_ANSWER_OCTETS = 4096


class FlushFailed(RuntimeError):
    """A cache could not be told. Its answers live until their TTL ends."""


class Flush(Protocol):
    """How one cache is told. Raises FlushFailed."""

    def __call__(self, path: str, name: str, *, below: bool = False) -> None: ...


def flush_unbound(path: str, name: str, *, below: bool = False) -> None:
    """Forget a name in Unbound. Raises FlushFailed.

    Two commands: `flush` alone keeps TLSA records, `flush_type` alone keeps what QNAME minimisation learned about the
    name (an NXDOMAIN, for instance). `below`: everything under the name, DNSSEC keys included, as an emergency rollover
    needs it.
    """
    if not _NAME.fullmatch(name):
        # Anything else could be a command of its own.
        raise FlushFailed(f"unbound: {name!r} is no name")
    for command in (f"flush_zone {name}",) if below else (f"flush_type {name} TLSA", f"flush {name}"):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
                connection.settimeout(_TIMEOUT_SECONDS)
                connection.connect(path)
                connection.sendall(f"UBCT1 {command}\n".encode("ascii"))
                answer = connection.recv(_MAX_ANSWER_OCTETS)
        except OSError as error:
            raise FlushFailed(f"unbound: {path}: {error.strerror or error}") from error
        if not answer.startswith(b"ok"):
            raise FlushFailed(f"unbound: {command}: {answer.decode('utf-8', 'replace').strip()!r}")


def flush_module(path: str, name: str, *, below: bool = False) -> None:
    """Forget a name in the module (`below`: and all under it). Raises FlushFailed."""
    try:
        ask(path, "flush", timeout=_TIMEOUT_SECONDS, name=name, below=below)
    except ControlError as error:
        raise FlushFailed(f"dane_radius: {error}") from error


class Flusher:
    """Tells both caches, from threads of its own: a cache that hangs holds up nothing else.

    Failures are reported; TTLs then bound the delay.
    """

    def __init__(self, unbound: str | None, module: str | None, metrics: Metrics, log: Logger) -> None:
        """`unbound`, `module`: control sockets; None for a cache that is not told."""
        self._caches: dict[str, tuple[Flush, str]] = {}
        if unbound is not None:
            self._caches["unbound"] = flush_unbound, unbound
        if module is not None:
            self._caches["module"] = flush_module, module
        self._metrics, self._log = metrics, log
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="flush")

    async def names(self, names: Collection[str], *, caches: Collection[str] = CACHES) -> None:
        """Make the caches forget some names."""
        await self._flush([(name, False) for name in names], caches)

    async def below(self, domains: Collection[str], *, caches: Collection[str] = CACHES) -> None:
        """Make the caches forget all names of some domains, and their zones' keys."""
        await self._flush([(domain, True) for domain in domains], caches)

    async def _flush(self, wanted: Sequence[tuple[str, bool]], caches: Collection[str]) -> None:
        loop = asyncio.get_running_loop()
        # The resolver first: the module may ask it again at once.
        for cache, (function, socket_path) in self._caches.items():
            if cache in caches and wanted:
                failures = await loop.run_in_executor(self._threads, _all, function, socket_path, wanted)
                if failures:
                    self._metrics.flush_failures.labels(cache).inc(len(failures))
                    self._log.warning(
                        "cache not flushed; its TTL bounds the delay",
                        cache=cache, error=str(failures[0]), count=len(failures),
                    )  # fmt: skip

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _all(function: Flush, path: str, wanted: Sequence[tuple[str, bool]]) -> list[FlushFailed]:
    """Flush one after the other. What cannot be reached is not tried again for each of them."""
    failures: list[FlushFailed] = []
    for name, below in wanted:
        try:
            function(path, name, below=below)
        except FlushFailed as error:
            failures.append(error)
            if isinstance(error.__cause__, OSError) or isinstance(getattr(error.__cause__, "__cause__", None), OSError):
                break
    return failures
