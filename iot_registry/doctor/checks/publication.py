"""Checks of publication: who publishes, what is waiting, and the change feed."""

from __future__ import annotations

import datetime as dt

from health_report import Fact, NotTried
from iot_registry.doctor.facts import Contents, ServerFacts
from iot_registry.doctor.findings import Check, Finding, counted, error, info, ok, warning
from iot_registry.local.config import Settings

# A change is published within a second. An attempt that failed is repeated after 30 seconds at most.
_LATE_SECONDS, _TOO_LATE_SECONDS = 60, 900
# The publisher compacts the feed every ten minutes.
_COMPACTION = dt.timedelta(hours=1)


def check_publisher(publisher: Fact[str | None], contents: Fact[Contents]) -> list[Finding]:
    """Which process publishes. Without one, no revocation takes effect."""
    check = Check.DATABASE_PUBLISHER
    if isinstance(publisher, NotTried):
        return [] if isinstance(contents, NotTried) else [info(check, f"could not be seen: {publisher.why}")]
    if publisher is None:
        found = "no process publishes changes: neither a new device nor a revocation takes effect"
        return [error(check, found, "a server that runs", "start the server (`systemctl start iot-registry`)")]
    return [ok(check, f"{publisher} publishes")]


def check_outbox(contents: Fact[Contents]) -> list[Finding]:
    """The changes that the DNS does not serve yet."""
    check = Check.OUTBOX_WAITING
    if isinstance(contents, NotTried):
        return [info(check, f"could not be tried: {contents.why}")]
    outbox = contents.outbox
    if outbox.waiting == 0:
        return [ok(check, "the DNS serves every change")]
    found = f"{counted(outbox.waiting, 'change')} not in the DNS, the oldest for {outbox.oldest_seconds:.0f} s"
    if outbox.last_error:
        found += f"; last error: {outbox.last_error}"
    if outbox.oldest_seconds < _LATE_SECONDS:
        return [ok(check, found)]
    fix = "correct what the error names, such as the name server or its key; the registry then publishes by itself"
    severe = error if outbox.oldest_seconds >= _TOO_LATE_SECONDS else warning
    return [severe(check, found, f"changes in the DNS within {_LATE_SECONDS} s", fix)]


def check_feed(
    contents: Fact[Contents], server: Fact[ServerFacts], settings: Settings, now: dt.datetime
) -> list[Finding]:
    """The change feed: whether old events are deleted, and who follows it."""
    return [*_check_retention(contents, settings, now), *_check_followers(server)]


def _check_retention(contents: Fact[Contents], settings: Settings, now: dt.datetime) -> list[Finding]:
    check = Check.FEED_RETENTION
    if isinstance(contents, NotTried):
        return []
    feed, days = contents.feed, settings.feed.retention_days
    if feed.oldest is None:
        return [ok(check, f"no events, the last number is {feed.sequence}")]
    age = now - feed.oldest
    found = f"{counted(feed.events, 'event')}, the oldest {age.total_seconds() / 86400:.1f} days old"
    if age > dt.timedelta(days=days) + _COMPACTION:
        fix = "find out why the publisher does not delete them: see database.publisher and the server's log"
        return [warning(check, found, f"events of the last {days:g} days", fix)]
    return [ok(check, f"{found}; a follower may be away for {days:g} days")]


def _check_followers(server: Fact[ServerFacts]) -> list[Finding]:
    check = Check.FEED_FOLLOWERS
    if isinstance(server, NotTried) or isinstance(server.followers, NotTried):
        return []
    if server.followers == 0:
        fix = "give networks a key with scope feed:read, so that a revocation ends sessions within seconds"
        return [info(check, "nobody follows the feed now", "networks that notice revocations at once", fix)]
    return [ok(check, f"open streams of the feed: {server.followers}")]
