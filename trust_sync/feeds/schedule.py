"""When the publisher of a feed is asked again. Pure: decisions over a position and a clock. Times are in seconds."""

from __future__ import annotations

from trust_sync.feeds.messages import FeedError
from trust_sync.feeds.state import FeedPosition
from trust_sync.shared import retry_delay

_BACKOFF_SECONDS = (1.0, 300.0)
# Shorter, because a full disk must not delay revocations for long.
_STORE_BACKOFF_SECONDS = (1.0, 10.0)
# The least time between polls that bring nothing new. A well-behaved publisher delays its response instead.
_QUIET_INTERVAL_SECONDS = 1.0
# The least time between polls that bring something new. It grows with the number of changes.
_NEWS_INTERVAL_SECONDS, _NEWS_INTERVAL_MAX_SECONDS, _SECONDS_PER_CHANGE = 0.02, 0.1, 0.001
# The least time between full comparisons.
_COMPARISON_INTERVAL_SECONDS = 10.0


def comparison_delay(position: FeedPosition, now: float) -> float:
    """The time until the next full comparison is allowed."""
    since = now - position.last_snapshot
    return _COMPARISON_INTERVAL_SECONDS - since if 0 <= since < _COMPARISON_INTERVAL_SECONDS else 0.0


def poll_interval(position: FeedPosition, changes: int, now: float) -> float:
    """The time from the start of one request to the start of the next. changes: how many the last response had."""
    if position.seq is None:
        return comparison_delay(position, now)
    if not changes:
        return _QUIET_INTERVAL_SECONDS
    return min(_NEWS_INTERVAL_MAX_SECONDS, _NEWS_INTERVAL_SECONDS + changes * _SECONDS_PER_CHANGE)


def failure_delay(position: FeedPosition, error: Exception, jitter: float, now: float) -> float:
    """The time until the next attempt after a failure: a FeedError, or of local storage. jitter: a factor up to 1."""
    limits = _BACKOFF_SECONDS if isinstance(error, FeedError) else _STORE_BACKOFF_SECONDS
    delay = retry_delay(position.failures, *limits) * jitter
    return delay if position.seq is not None else max(delay, comparison_delay(position, now))


def is_comparison_due(position: FeedPosition, resync: float, now: float) -> bool:
    """Whether the next request is for a snapshot. A clock that was set back makes it due, too."""
    return position.seq is None or not 0 <= now - position.last_snapshot < resync


def snapshot_time_for_early_comparison(position: FeedPosition, resync: float, now: float) -> float:
    """The `last_snapshot` that makes a comparison due as soon as one is allowed."""
    if now - position.last_snapshot >= _COMPARISON_INTERVAL_SECONDS:
        return 0.0
    return now - resync + _COMPARISON_INTERVAL_SECONDS
