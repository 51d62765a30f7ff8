"""Change feeds over HTTPS: how one is followed, for any publisher and any content.

Pure: `messages`, `json_stream`, `schedule`, `memory_budget`, `log_limit`, `state`. Network: `client`. `followed_feed`
joins them. May import `shared`, `dane_radius.dns` and `dane_radius.local`.
"""

from trust_sync.feeds.client import FeedClient, HistoryGone
from trust_sync.feeds.followed_feed import FollowedFeed, Polled
from trust_sync.feeds.json_stream import Bounds, Unusable
from trust_sync.feeds.log_limit import LimitedLog
from trust_sync.feeds.memory_budget import MemoryBudget
from trust_sync.feeds.messages import (
    ChangesReader,
    FeedError,
    Message,
    NumberedChange,
    Problems,
    SequenceError,
    expect_array,
    number,
    shortened,
    why_unreadable,
)
from trust_sync.feeds.metrics import FAILURES, FeedMetrics
from trust_sync.feeds.state import FeedPosition

__all__ = [
    "FAILURES",
    "Bounds",
    "ChangesReader",
    "FeedClient",
    "FeedError",
    "FeedMetrics",
    "FeedPosition",
    "FollowedFeed",
    "HistoryGone",
    "LimitedLog",
    "MemoryBudget",
    "Message",
    "NumberedChange",
    "Polled",
    "Problems",
    "SequenceError",
    "Unusable",
    "expect_array",
    "number",
    "shortened",
    "why_unreadable",
]
