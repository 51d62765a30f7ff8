"""Exponential backoff. Pure."""

from __future__ import annotations

# Larger exponents would overflow without changing the result.
_MAX_DOUBLINGS = 30


def retry_delay(failures: int, shortest: float, longest: float) -> float:
    """Seconds to wait after `failures` consecutive failures: doubles from `shortest` up to `longest`."""
    return min(longest, shortest * 2.0 ** min(max(failures, 1) - 1, _MAX_DOUBLINGS))
