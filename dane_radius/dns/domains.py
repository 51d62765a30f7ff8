"""Whether an identity domain answers, and how many requests may wait for it. No I/O, no clock.

A request that waits occupies a thread of the RADIUS server. A domain that answers frees its threads after a round trip
or two; a dead domain occupies each thread until the lookup's deadline. The limits therefore apply to waiting requests,
and they are tight only for a domain that leaves its lookups unanswered:

- requests for a domain that has answered recently may use every place;
- requests for unknown domains may use three quarters of the places;
- requests for one slow domain may use a few, and those for all slow domains together an eighth of the places.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum

# How long an answer, or the lack of one, determines the state of a domain.
_STATE_SECONDS = 60.0
_MAX_DOMAINS = 10_000


@dataclass(frozen=True, slots=True)
class WaitLimits:
    """Limits on the requests that wait for the DNS at the same time.

    max_waiting: in all. It must stay below the RADIUS server's threads, so that a request that does not wait finds one.
    max_waiting_per_slow_domain: for one domain that leaves its lookups unanswered.
    slow_after: seconds without an answer, while a lookup is under way, after which a domain is slow.
    max_lookups_per_slow_domain: lookups under way for a slow domain; further ones are not started.
    """

    max_waiting: int = 256
    max_waiting_per_slow_domain: int = 8
    slow_after: float = 1.0
    max_lookups_per_slow_domain: int = 16

    @property
    def max_waiting_for_unknown(self) -> int:
        """For all domains together that have not answered yet."""
        return max(1, self.max_waiting * 3 // 4)

    @property
    def max_waiting_for_slow(self) -> int:
        """For all slow domains together."""
        return max(1, self.max_waiting // 8)


class WaitLimit(StrEnum):
    """The limit that keeps one more request from waiting.

    `TOTAL`: all requests together. `DESCRIPTORS`: the process has no file descriptor left.
    """

    TOTAL = "places"
    SLOW_DOMAIN = "slow_domain"
    SLOW_DOMAINS = "slow_domains"
    UNKNOWN_DOMAINS = "unknown_domains"
    DESCRIPTORS = "descriptors"


@dataclass(eq=False, slots=True)
class Domain:
    """The state of one identity domain. Times are seconds of one monotonic clock."""

    name: str
    # The start time of each lookup under way, oldest first.
    under_way: dict[object, float] = field(default_factory=dict)
    waiting: int = 0
    last_answered: float = -math.inf
    last_unanswered: float = -math.inf

    def is_slow(self, now: float, limits: WaitLimits) -> bool:
        """Whether the domain has given no answer for `slow_after`, although it was asked.

        Either its last lookup ended without an answer less than a minute ago, or its oldest lookup under way has
        taken longer than `slow_after`.
        """
        if now - self.last_answered <= limits.slow_after:
            return False
        if self.last_unanswered > self.last_answered and now - self.last_unanswered < _STATE_SECONDS:
            return True
        oldest = next(iter(self.under_way.values()), math.inf)
        return now - oldest > limits.slow_after

    def answered_recently(self, now: float) -> bool:
        """Whether the last answer is less than a minute old."""
        return now - self.last_answered < _STATE_SECONDS

    @property
    def idle(self) -> bool:
        return not self.under_way and not self.waiting


class Domains:
    """The state of every known domain, and the number of requests that wait for each."""

    def __init__(self, limits: WaitLimits) -> None:
        self._limits = limits
        self._domains: OrderedDict[str, Domain] = OrderedDict()
        self._waited_for: set[Domain] = set()
        self.waiting = 0

    def get(self, name: str) -> Domain:
        """The domain called `name`, added if it is unknown.

        Beyond the limit, the idle domain used least recently is evicted.
        """
        domain = self._domains.get(name)
        if domain is None:
            domain = self._domains[name] = Domain(name)
            if len(self._domains) > _MAX_DOMAINS:
                self._evict_one()
        else:
            self._domains.move_to_end(name)
        return domain

    def _evict_one(self) -> None:
        for domain in self._domains.values():
            if domain.idle:
                del self._domains[domain.name]
                return

    def lookup_started(self, domain: Domain, lookup: object, now: float) -> None:
        """Record that a lookup of the domain has started."""
        domain.under_way[lookup] = now

    def lookup_ended(self, domain: Domain, lookup: object, now: float, *, answered: bool) -> None:
        """Record that a lookup has ended. `answered`: with any answer but `Unavailable`."""
        started = domain.under_way.pop(lookup, now)
        if answered:
            domain.last_answered = now
        elif now - started >= self._limits.slow_after / 4:
            # Unbound gives up on a dead server before a lookup's deadline. An immediate failure makes no request wait,
            # and does not predict the next lookup.
            domain.last_unanswered = now

    def may_look_up(self, domain: Domain, now: float) -> bool:
        """Whether another lookup of the domain may start."""
        below_limit = len(domain.under_way) < self._limits.max_lookups_per_slow_domain
        return below_limit or not domain.is_slow(now, self._limits)

    def limit_reached(self, domain: Domain, now: float) -> tuple[WaitLimit, str] | None:
        """The limit that keeps one more request from waiting for the domain, and its explanation; None if none does."""
        limits = self._limits
        if self.waiting >= limits.max_waiting:
            return WaitLimit.TOTAL, f"{self.waiting} requests wait for the DNS, as many as may"
        if domain.is_slow(now, limits):
            if domain.waiting >= limits.max_waiting_per_slow_domain:
                why = f"{domain.name} does not answer, and {domain.waiting} requests wait for it"
                return WaitLimit.SLOW_DOMAIN, why
            slow = self.waiting_for_slow(now)
            if slow >= limits.max_waiting_for_slow:
                why = f"{domain.name} does not answer, and {slow} requests wait for domains that do not"
                return WaitLimit.SLOW_DOMAINS, why
        elif not domain.answered_recently(now) and self.waiting >= limits.max_waiting_for_unknown:
            why = f"{self.waiting} requests wait for the DNS; the other places are for domains that have answered"
            return WaitLimit.UNKNOWN_DOMAINS, why
        return None

    def wait_started(self, domain: Domain) -> None:
        """Count one more request that waits for the domain."""
        domain.waiting += 1
        self.waiting += 1
        self._waited_for.add(domain)

    def wait_ended(self, domain: Domain) -> None:
        """Count one request less that waits for the domain."""
        domain.waiting -= 1
        self.waiting -= 1
        if not domain.waiting:
            self._waited_for.discard(domain)

    def waiting_for_slow(self, now: float) -> int:
        """The number of requests that wait for slow domains."""
        return sum(domain.waiting for domain in self._waited_for if domain.is_slow(now, self._limits))

    def slow(self, now: float) -> list[Domain]:
        """The domains that are slow now."""
        return [domain for domain in self._domains.values() if domain.is_slow(now, self._limits)]
