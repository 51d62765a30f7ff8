"""Refreshes discovered anchors by TTL and Cache-Control.

The names through which an anchor was found are refreshed, and those that policy contains without a wildcard. Only a
validated answer can end the link between a name and an anchor. A failed lookup or fetch never does; it is repeated.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

from dane_radius.core import AnchorRecord, AnchorSource, Answer, Secure, SecureAbsent
from policy import Policy
from trust_sync.anchors import Holding
from trust_sync.discovery.candidates import still_published
from trust_sync.discovery.context import DiscoveryContext
from trust_sync.discovery.metrics import DiscoveryMetrics
from trust_sync.discovery.outcome import Outcome
from trust_sync.discovery.reasons import DiscoveryStatus, Reason
from trust_sync.discovery.retirement import AnchorRetirement
from trust_sync.discovery.search import AnchorSearch
from trust_sync.discovery.state import DiscoveredName, DiscoveryState
from trust_sync.shared import Reporting, retry_delay

_STEP_SECONDS = 1.0
_RETIREMENT_SECONDS = 60.0
_CONCURRENT = 4
# Consecutive failures after which a name without an anchor is no longer refreshed.
_MAX_FAILURES_WITHOUT_ANCHOR = 10
# A refresh comes up to this share earlier, so names that were discovered together are not always refreshed together.
_JITTER = 0.1


def literal_names(policy: Policy) -> list[str]:
    """List the names to which policy grants access without a wildcard. Only these can be looked up in advance."""
    names = {text for rule in policy.rules if rule.grant is not None for text in rule.patterns if "*" not in text}
    return sorted(name for name in names if policy.could_grant(name))


class AnchorRefresher:
    """Refreshes the names in `state`."""

    def __init__(
        self,
        context: DiscoveryContext,
        search: AnchorSearch,
        retirement: AnchorRetirement,
        state: DiscoveryState,
        reporting: Reporting[DiscoveryMetrics],
    ) -> None:
        self._context, self._config = context, context.config
        self._search, self._retirement, self._state = search, retirement, state
        self._metrics, self._log = reporting.metrics, reporting.log
        self._adopted: Policy | None = None
        self._literal_names: frozenset[str] = frozenset()
        self._next_retirement = 0.0
        self._restore_names_of_device_certificates()

    def _restore_names_of_device_certificates(self) -> None:
        """Refresh the name of each device certificate held, even if the state file was lost."""
        names = self._state.names
        for record in self._context.held:
            for name in record.domains if record.source is AnchorSource.LEAF else ():
                if name not in names and len(names) < self._config.max_names:
                    names[name] = DiscoveredName([record.fingerprint], self._context.wall())

    async def run(self) -> None:
        """Refresh until cancelled."""
        while True:
            try:
                await self.step()
            except Exception:
                # A defect with one name must not stop the refresh of the others.
                self._log.exception("refresh of anchors failed")
            await asyncio.sleep(_STEP_SECONDS)

    async def step(self) -> None:
        """Refresh the names that are due, and retire anchors if that is due."""
        self.adopt_policy()
        now = self._context.wall()
        # A time far ahead was set before the clock was set back.
        latest = now + 2 * self._config.refresh_max
        due = sorted((d.due, name) for name, d in self._state.names.items() if not now < d.due <= latest)
        for start in range(0, len(due), _CONCURRENT):
            await asyncio.gather(*(self.refresh(name) for _, name in due[start : start + _CONCURRENT]))
        if not 0 < self._next_retirement - now <= _RETIREMENT_SECONDS:
            interval = min(_RETIREMENT_SECONDS, max(_STEP_SECONDS, self._config.retire_after))
            self._next_retirement = now + interval
            self._retirement.retire()

    def adopt_policy(self) -> None:
        """Begin to refresh the names that the policy in force contains without a wildcard."""
        policy = self._context.policy()
        if policy is self._adopted:
            return
        self._adopted = policy
        names = literal_names(policy)[: self._config.max_names] if self._config.enabled else []
        self._literal_names = frozenset(names)
        for name in names:
            self._state.names.setdefault(name, DiscoveredName([], self._context.wall()))

    def remember(self, outcome: Outcome) -> None:
        """Begin to refresh what a discovery found."""
        if outcome.status is not DiscoveryStatus.FOUND or outcome.fingerprint is None:
            return
        names = self._state.names
        if outcome.name not in names and len(names) >= self._config.max_names:
            # The name that is due first makes room. Its anchor is retired unless it is discovered again.
            del names[min(names, key=lambda name: names[name].due)]
        now = self._context.wall()
        names[outcome.name] = DiscoveredName(
            [outcome.fingerprint, *outcome.also], self._due_after(outcome.ttl or 0.0), now
        )

    async def refresh(self, name: str) -> str | None:
        """Refresh the anchors of a name. Returns a description of the failure, if it failed."""
        item = self._state.names.get(name)
        if item is None:
            return None
        if not self._context.policy().could_grant(name) or not self._config.enabled:
            del self._state.names[name]
            return None
        answer = await self._context.dns.tlsa(name)
        self._release_unpublished(name, item, answer)
        if isinstance(answer, SecureAbsent):
            self._settle(name, item, float(answer.ttl))
            return None
        outcome = await self._search.find_again(name, answer)
        if self._state.names.get(name) is not item:
            # A discovery was faster. Its result is more recent.
            return None
        if outcome.status is DiscoveryStatus.FOUND:
            self.remember(outcome)
            if outcome.source is not None:
                self._metrics.refreshed.labels(outcome.source).set(self._context.wall())
            return None
        if isinstance(answer, Secure) and outcome.reason is Reason.NO_CERTIFICATE_IN_DNS:
            self._settle(name, item, float(answer.ttl))
            return None
        return self._record_failure(name, item, outcome)

    def _release_unpublished(self, name: str, item: DiscoveredName, answer: Answer) -> None:
        """End the link to each anchor that the zone provably no longer publishes.

        A device's own certificate is removed at once. A CA loses one of the names that lead to it.
        """
        if not isinstance(answer, Secure | SecureAbsent):
            return
        records = answer.records if isinstance(answer, Secure) else ()
        for record in self._held_anchors(item):
            if still_published(record, records):
                continue
            item.fingerprints.remove(record.fingerprint)
            item.failures = 0
            self._log.info("anchor no longer published", name=name, fingerprint=record.fingerprint)
            if record.source is AnchorSource.LEAF:
                self._retirement.remove(Holding(record.fingerprint, name))

    def _held_anchors(self, item: DiscoveredName) -> Iterable[AnchorRecord]:
        return [record for f in item.fingerprints if (record := self._context.held.get(f)) is not None]

    def _settle(self, name: str, item: DiscoveredName, ttl: float) -> None:
        """Record that the zone provably publishes no anchor. The name is forgotten unless policy contains it."""
        if name not in self._literal_names:
            self._state.names.pop(name, None)
            return
        self._state.names[name] = DiscoveredName(item.fingerprints, self._due_after(ttl), self._context.wall())

    def _record_failure(self, name: str, item: DiscoveredName, outcome: Outcome) -> str:
        item.failures += 1
        item.last_error = f"{outcome.reason}: {outcome.detail}"
        self._metrics.refresh_failures.labels(outcome.reason).inc()
        delay = retry_delay(item.failures, self._config.refresh_min, self._config.refresh_max)
        item.due = self._context.wall() + _jittered(delay)
        hopeless = not item.fingerprints and item.failures >= _MAX_FAILURES_WITHOUT_ANCHOR
        if hopeless and name not in self._literal_names:
            self._state.names.pop(name, None)
        if item.failures == 1:
            self._log.warning("anchor not refreshed; it stays in force", name=name, error=item.last_error)
        return item.last_error

    def _due_after(self, ttl: float) -> float:
        """When a refresh is due, given the seconds for which the last result is valid."""
        delay = min(self._config.refresh_max, max(self._config.refresh_min, ttl))
        return self._context.wall() + _jittered(delay)


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1 - _JITTER, 1)  # noqa: S311  # not for security
