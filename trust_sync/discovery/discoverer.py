"""Just-in-time discovery: starts a search for a name that a device claims, within limits.

The hint that starts a discovery is unauthenticated. Policy is therefore checked first, and then the limits. Only then
follow the lookup and perhaps one HTTPS request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from dane_radius.core import AnchorRecord, AnchorSource, Refused, identity_domain, normalize
from dane_radius.local import RateLimiter, RecentlySeen
from trust_sync.discovery.context import DiscoveryContext
from trust_sync.discovery.outcome import Outcome, refused
from trust_sync.discovery.reasons import DiscoveryStatus, Reason
from trust_sync.discovery.search import AnchorSearch

_MAX_NAME_CHARACTERS = 253


class Discoverer:
    """Runs discoveries, at most one at a time for each name.

    on_outcome: called with each outcome and the seconds that it took; 0 if it needed no lookup.
    """

    def __init__(
        self,
        context: DiscoveryContext,
        search: AnchorSearch,
        on_outcome: Callable[[Outcome, float], None] = lambda outcome, seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context, self._config, self._search = context, context.config, search
        self._on_outcome, self._clock = on_outcome, clock
        self._limiter = RateLimiter(self._config.rate, self._config.rate_per_domain)
        self._failed = RecentlySeen(self._config.negative_ttl)
        self._running: dict[str, asyncio.Task[Outcome]] = {}
        self._running_by_domain: dict[str, int] = {}

    async def hint(self, claimed: str, wait: float) -> Outcome:
        """Discover anchors for the name that a device claims. The outcome is `pending` after `wait` seconds."""
        name = self._admit(claimed)
        if isinstance(name, Outcome):
            self._on_outcome(name, 0.0)
            return name
        task = self._running.get(name) or self._start(name)
        done, _ = await asyncio.wait([task], timeout=wait)
        if done:
            return task.result()
        detail = f"not done after {wait:g} s; still running"
        return Outcome(name, DiscoveryStatus.PENDING, Reason.STILL_LOOKING, detail)

    def _admit(self, claimed: str) -> str | Outcome:
        """Decide without I/O whether to start or join a discovery. Returns the normalized name, or the outcome."""
        if not self._config.enabled:
            return refused(claimed[:_MAX_NAME_CHARACTERS], Reason.DISABLED, "discovery is disabled")
        try:
            name = normalize(claimed.encode("utf-8", "surrogatepass"))
        except Refused as error:
            return refused(claimed[:_MAX_NAME_CHARACTERS], Reason.NAME_MALFORMED, error.detail)
        if not self._context.policy().could_grant(name):
            return refused(name, Reason.POLICY_NO_RULE, f"no rule gives {name} access")
        domain = identity_domain(name)
        if known := self._find_held(name, domain):
            detail = f"{known.subject} vouches for {domain}"
            return Outcome(name, DiscoveryStatus.KNOWN, Reason.ANCHOR_KNOWN, detail)
        if name in self._running:
            return name
        return self._check_limits(name, domain) or name

    def _check_limits(self, name: str, domain: str) -> Outcome | None:
        now = self._clock()
        if (name, now) in self._failed:
            detail = f"tried less than {self._config.negative_ttl:g} s ago"
            return refused(name, Reason.FAILED_RECENTLY, detail)
        in_domain = self._running_by_domain.get(domain, 0)
        if len(self._running) >= self._config.concurrent or in_domain >= self._config.concurrent_per_domain:
            return refused(name, Reason.OVERLOADED, f"{len(self._running)} discoveries are running")
        if not self._limiter.allow(domain, now):
            return refused(name, Reason.RATE_LIMITED, f"too many discoveries for {domain}, or in all")
        return None

    def _find_held(self, name: str, domain: str) -> AnchorRecord | None:
        """Find a CA that is held for the domain, or the certificate of this very name."""
        held = self._context.held
        records = held.for_domain(domain)
        records += [record for record in held.for_domain(name) if record.source is AnchorSource.LEAF]
        return next((r for r in records if r.source is not AnchorSource.LEAF or name in r.domains), None)

    def _start(self, name: str) -> asyncio.Task[Outcome]:
        domain = identity_domain(name)
        task = asyncio.create_task(self._run(name), name=f"discover {name}")
        self._running[name] = task
        self._running_by_domain[domain] = self._running_by_domain.get(domain, 0) + 1

        def finished(_: asyncio.Task[Outcome]) -> None:
            self._running.pop(name, None)
            self._running_by_domain[domain] -= 1
            if not self._running_by_domain[domain]:
                del self._running_by_domain[domain]

        task.add_done_callback(finished)
        return task

    async def _run(self, name: str) -> Outcome:
        began = self._clock()
        try:
            async with asyncio.timeout(self._config.timeout):
                outcome = await self._search.find(name)
        except TimeoutError:
            outcome = refused(name, Reason.TIMEOUT, f"not done within {self._config.timeout:g} s")
        except Exception as error:
            outcome = refused(name, Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}")
        now = self._clock()
        if outcome.status is DiscoveryStatus.REFUSED:
            self._failed.add(name, now)
        self._on_outcome(outcome, now - began)
        return outcome
