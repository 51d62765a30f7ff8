"""The limits in FreeRADIUS's own radiusd.conf that waiting requests need. Text in, text out.

A request that waits for the DNS occupies a worker thread. With Debian's 32 threads, a building that comes back after a
power cut would wait for threads instead of the DNS. And the server remembers each answered packet for `cleanup_delay`
seconds: its stock 16,384 requests are used up by some 450 authentications a second.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# A building of a thousand devices in a zone 100 ms away: some hundred of them wait at a time.
DEFAULT_THREADS = 1024
_MAX_REQUESTS = 65_536

_THREAD_POOL = re.compile(r"^thread\s+pool\s*\{.*?^\}", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Change:
    """One setting: what it was, and what it was raised to."""

    old: int
    new: int


def wanted(threads: int) -> dict[str, int]:
    """The least value of each setting for so many threads.

    `start_servers` and the spare threads stay as they are. The server makes threads as fast as it needs them, and
    packets that take turns on many idle threads cost it 5 % more CPU than on few, whose caches are warm.
    """
    return {"max_requests": _MAX_REQUESTS, "max_servers": threads}


def places(threads: int) -> int:
    """How many requests may wait at once, so that others find a thread: seven eighths of the threads."""
    return max(1, threads * 7 // 8)


def threads_of(text: str) -> int | None:
    """`max_servers` of the thread pool in a radiusd.conf; None without one."""
    return _read(text, "max_servers")


def raise_to(text: str, least: Mapping[str, int]) -> tuple[str, dict[str, Change], list[str]]:
    """A radiusd.conf with every setting at its least value or above; what changed; the settings that it lacks."""
    changes: dict[str, Change] = {}
    missing = []
    for key, value in least.items():
        current = _read(text, key)
        if current is None:
            missing.append(key)
        elif current < value:
            text = _write(text, key, value)
            changes[key] = Change(current, value)
    return text, changes, missing


def put_back(text: str, changes: Mapping[str, Change]) -> tuple[str, list[str]]:
    """A radiusd.conf with what was raised as it was before; settings that were changed since are left, and named."""
    left = []
    for key, change in changes.items():
        if _read(text, key) == change.new:
            text = _write(text, key, change.old)
        else:
            left.append(key)
    return text, left


def _find(text: str, key: str) -> re.Match[str] | None:
    start, end = 0, len(text)
    if key != "max_requests":
        pool = _THREAD_POOL.search(text)
        if pool is None:
            return None
        start, end = pool.span()
    return re.compile(rf"^(\s*{key}\s*=\s*)(\d+)", re.MULTILINE).search(text, start, end)


def _read(text: str, key: str) -> int | None:
    found = _find(text, key)
    return int(found[2]) if found else None


def _write(text: str, key: str, value: int) -> str:
    found = _find(text, key)
    if found is None:
        return text
    return f"{text[: found.start(2)]}{value}{text[found.end(2) :]}"
