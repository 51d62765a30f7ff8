"""Whether an identity domain answers, and how many requests may wait for it. No I/O, no clock.

A request that waits occupies a thread of the RADIUS server. A domain whose lookups are answered gives its threads back
after a round trip or two; a dead one keeps each for the whole deadline. So the limits are on the requests that wait,
and tight only for a domain that leaves its lookups unanswered:

- a domain that has just answered may use every place;
- a domain that nothing is known about may use most of them: the rest is left to domains that answer;
- a domain that is slow may use a few, and all slow domains together an eighth of the places.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum

# How long an answer, or the lack of one, says something about a domain. Seconds.
_REMEMBERED_SECONDS = 60.0
_MAX_DOMAINS = 10_000


@dataclass(frozen=True, slots=True)
class WaitLimits:
    """Bounds on requests that wait for the DNS at once.

    places: in all; it must stay below the RADIUS server's threads, so that a device that need not wait finds one.
    places_of_slow_domain: for one domain that leaves its lookups unanswered.
    slow_after: seconds without any answer, with a lookup under way, from which a domain is slow.
    lookups_of_slow_domain: lookups under way for such a domain; the others are not started.
    """

    places: int = 256
    places_of_slow_domain: int = 8
    slow_after: float = 1.0
    lookups_of_slow_domain: int = 16

    @property
    def places_of_unknown(self) -> int:
        """For all domains together that have not answered yet."""
        return max(1, self.places * 3 // 4)

    @property
    def places_of_slow(self) -> int:
        """For all slow domains together."""
        return max(1, self.places // 8)


class Full(StrEnum):
    """Why no more requests may wait. `places`: as many wait as may. `descriptors`: the process has none left."""

    PLACES = "places"
    SLOW_DOMAIN = "slow_domain"
    SLOW_DOMAINS = "slow_domains"
    UNKNOWN_DOMAINS = "unknown_domains"
    DESCRIPTORS = "descriptors"


@dataclass(eq=False, slots=True)
class Domain:
    """What is known about one identity domain. Times are those of one monotonic clock, in seconds."""

    name: str
    # Lookups under way, by the time that each was started: the oldest first.
    under_way: dict[object, float] = field(default_factory=dict)
    waiting: int = 0
    heard: float = -math.inf
    unanswered: float = -math.inf

    def is_slow(self, now: float, limits: WaitLimits) -> bool:
        """Whether nothing was heard of the domain for `slow_after`, although it was asked, or is being asked since."""
        if now - self.heard <= limits.slow_after:
            return False
        if self.unanswered > self.heard and now - self.unanswered < _REMEMBERED_SECONDS:
            return True
        since = next(iter(self.under_way.values()), math.inf)
        return now - since > limits.slow_after

    def answers(self, now: float) -> bool:
        """Whether it has answered lately."""
        return now - self.heard < _REMEMBERED_SECONDS

    @property
    def idle(self) -> bool:
        return not self.under_way and not self.waiting


class Domains:
    """The domains that are known about, and the requests that wait for them."""

    def __init__(self, limits: WaitLimits) -> None:
        self._limits = limits
        self._domains: OrderedDict[str, Domain] = OrderedDict()
        self._waited_for: set[Domain] = set()
        self.waiting = 0

    def of(self, name: str) -> Domain:
        """The domain called `name`."""
        domain = self._domains.get(name)
        if domain is None:
            domain = self._domains[name] = Domain(name)
            if len(self._domains) > _MAX_DOMAINS:
                self._forget_one()
        else:
            self._domains.move_to_end(name)
        return domain

    def _forget_one(self) -> None:
        for domain in self._domains.values():
            if domain.idle:
                del self._domains[domain.name]
                return

    def started(self, domain: Domain, lookup: object, now: float) -> None:
        """A lookup of the domain is under way."""
        domain.under_way[lookup] = now

    def ended(self, domain: Domain, lookup: object, now: float, *, answered: bool) -> None:
        """It has ended. `answered`: something of the domain was heard, whatever it was."""
        started = domain.under_way.pop(lookup, now)
        if answered:
            domain.heard = now
        elif now - started >= self._limits.slow_after / 4:
            # Unbound gives a dead server up sooner than a lookup's deadline. A failure that comes at once costs nobody
            # a wait, and says nothing about the next lookup.
            domain.unanswered = now

    def may_start(self, domain: Domain, now: float) -> bool:
        """Whether another lookup of the domain may be started."""
        return len(domain.under_way) < self._limits.lookups_of_slow_domain or not domain.is_slow(now, self._limits)

    def may_wait(self, domain: Domain, now: float) -> tuple[Full, str] | None:
        """None when one more request may wait for the domain; else what stands against it, also in words."""
        limits = self._limits
        if self.waiting >= limits.places:
            return Full.PLACES, f"{self.waiting} requests wait for the DNS, as many as may"
        if domain.is_slow(now, limits):
            if domain.waiting >= limits.places_of_slow_domain:
                return Full.SLOW_DOMAIN, f"{domain.name} does not answer, and {domain.waiting} requests wait for it"
            slow = self.waiting_for_slow(now)
            if slow >= limits.places_of_slow:
                why = f"{domain.name} does not answer, and {slow} requests wait for domains that do not"
                return Full.SLOW_DOMAINS, why
        elif not domain.answers(now) and self.waiting >= limits.places_of_unknown:
            why = f"{self.waiting} requests wait for the DNS; the other places are for domains that have answered"
            return Full.UNKNOWN_DOMAINS, why
        return None

    def entered(self, domain: Domain) -> None:
        """One more request waits for the domain."""
        domain.waiting += 1
        self.waiting += 1
        self._waited_for.add(domain)

    def left(self, domain: Domain) -> None:
        """It waits no longer."""
        domain.waiting -= 1
        self.waiting -= 1
        if not domain.waiting:
            self._waited_for.discard(domain)

    def waiting_for_slow(self, now: float) -> int:
        """Requests that wait for slow domains."""
        return sum(domain.waiting for domain in self._waited_for if domain.is_slow(now, self._limits))

    def slow(self, now: float) -> list[Domain]:
        """The domains that are slow now."""
        return [domain for domain in self._domains.values() if domain.is_slow(now, self._limits)]
