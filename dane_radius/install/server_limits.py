"""The limits in radiusd.conf that requests need which wait for the DNS. Pure functions over the file's text.

Each waiting request occupies a worker thread. When all devices of a building authenticate again after a power failure,
they would wait for one of Debian's 32 threads instead of the DNS. FreeRADIUS also keeps each answered packet for
`cleanup_delay` seconds: about 450 authentications a second exhaust its default of 16,384 requests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

LimitKey = Literal["max_requests", "max_servers"]

# For a building with a thousand devices in a zone 100 ms away, of which some hundred wait at the same time.
DEFAULT_THREADS = 1024
_MAX_REQUESTS = 65_536

_THREAD_POOL = re.compile(r"^thread\s+pool\s*\{.*?^\}", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Change:
    """The old and the new value of one setting."""

    old: int
    new: int


def required(threads: int) -> dict[LimitKey, int]:
    """The least value of each setting for this number of threads.

    `start_servers` and the settings for spare threads stay unchanged. FreeRADIUS starts more threads
    as packets arrive. Packets that alternate between many idle threads take 5 % more CPU time than with few, whose
    caches are warm.
    """
    return {"max_requests": _MAX_REQUESTS, "max_servers": threads}


def max_waiting(threads: int) -> int:
    """How many requests may wait at the same time: seven eighths of the threads, so that other requests find one."""
    return max(1, threads * 7 // 8)


def threads_of(text: str) -> int | None:
    """`max_servers` of the thread pool in a radiusd.conf; None if it is not set."""
    return _read(text, "max_servers")


def raise_to(text: str, least: Mapping[LimitKey, int]) -> tuple[str, dict[LimitKey, Change], list[LimitKey]]:
    """A radiusd.conf with each setting at its least value or above, the changes, and the settings that it lacks."""
    changes: dict[LimitKey, Change] = {}
    missing = []
    for key, value in least.items():
        current = _read(text, key)
        if current is None:
            missing.append(key)
        elif current < value:
            text = _write(text, key, value)
            changes[key] = Change(current, value)
    return text, changes, missing


def restore(text: str, changes: Mapping[LimitKey, Change]) -> tuple[str, list[LimitKey]]:
    """A radiusd.conf with the old values, and the settings that keep theirs because they were changed since."""
    kept = []
    for key, change in changes.items():
        if _read(text, key) == change.new:
            text = _write(text, key, change.old)
        else:
            kept.append(key)
    return text, kept


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
