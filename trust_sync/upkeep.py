"""Looks after what discovery found: again by TTL and Cache-Control, and away with what nothing leads to any more.

What is looked at are names: those by which an anchor was found, and those that policy spells out. A validated answer
may take an anchor away from a name; a failure, of the DNS or of a web server, never does, and is tried again later.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Iterable

from dane_radius.core import AnchorRecord, AnchorSource, Secure, SecureAbsent, identity_domain
from dane_radius.local import Logger
from policy import Policy
from trust_sync.config import DiscoveryConfig
from trust_sync.discovery import Discoverer, Outcome
from trust_sync.leads import still_published
from trust_sync.lookup import Lookup
from trust_sync.metrics import Metrics
from trust_sync.reasons import Reason
from trust_sync.reasons import State as Outcomes
from trust_sync.retirement import Holding, retire
from trust_sync.standing import retry_after
from trust_sync.state import Evidence, State
from trust_sync.store import AnchorStore, StoreError

_STEP_SECONDS = 1.0
_RETIRE_SECONDS = 60.0
_CONCURRENT = 4
# Failures in a row after which a name without any anchor is forgotten.
_HOPELESS = 10
# A look comes this much earlier at the most, so that what was found together is not looked at together for ever.
_JITTER = 0.1


def spelled_out(policy: Policy) -> list[str]:
    """The names that policy gives access to without a wildcard: all that can be looked up before anybody turns up."""
    names = {text for rule in policy.rules if rule.grant is not None for text in rule.patterns if "*" not in text}
    return sorted(name for name in names if policy.could_grant(name))


class Upkeep:
    """`live`: the names that have live sessions. Times are seconds since 1970 (`wall`), as they outlive the process."""

    def __init__(
        self,
        config: DiscoveryConfig,
        policy: Callable[[], Policy],
        store: AnchorStore,
        lookup: Lookup,
        discoverer: Discoverer,
        state: State,
        live: Callable[[], Collection[str]],
        metrics: Metrics,
        log: Logger,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._config, self._policy, self._store, self._lookup = config, policy, store, lookup
        self._discoverer, self._state, self._live, self._metrics = discoverer, state, live, metrics
        self._log, self._wall = log, wall
        self._adopted: Policy | None = None
        self._spelled_out: frozenset[str] = frozenset()
        self._next_retirement = 0.0
        self._adopt_leaves()

    def _adopt_leaves(self) -> None:
        """A device's own certificate says by which name it was found, even where the state file was lost."""
        for record in self._store.records.values():
            for name in record.domains if record.source is AnchorSource.LEAF else ():
                if name not in self._state.evidence and len(self._state.evidence) < self._config.max_names:
                    self._state.evidence[name] = Evidence([record.fingerprint], self._wall())

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.step()
            except Exception:
                # One name that cannot be dealt with must not keep the others from being looked after.
                self._log.exception("looking after anchors failed")
            await asyncio.sleep(_STEP_SECONDS)

    async def step(self) -> None:
        """Look at the names that are due, and retire what is due for that."""
        self.adopt_policy()
        now = self._wall()
        # Too far ahead: the clock was set back since.
        far = now + 2 * self._config.refresh_max
        due = sorted((e.due, name) for name, e in self._state.evidence.items() if e.due <= now or e.due > far)
        for start in range(0, len(due), _CONCURRENT):
            await asyncio.gather(*(self.refresh(name) for _, name in due[start : start + _CONCURRENT]))
        if not 0 < self._next_retirement - now <= _RETIRE_SECONDS:
            self._next_retirement = now + min(_RETIRE_SECONDS, max(_STEP_SECONDS, self._config.retire_after))
            self.retire()

    def adopt_policy(self) -> None:
        """Look after the names that policy spells out, from now on."""
        policy = self._policy()
        if policy is self._adopted:
            return
        self._adopted = policy
        names = spelled_out(policy)[: self._config.max_names] if self._config.enabled else []
        self._spelled_out = frozenset(names)
        for name in names:
            self._state.evidence.setdefault(name, Evidence([], self._wall()))

    # one name

    def remember(self, outcome: Outcome) -> None:
        """Look after what a discovery found."""
        if outcome.state is not Outcomes.FOUND or outcome.fingerprint is None:
            return
        limits = self._config
        if outcome.name not in self._state.evidence and len(self._state.evidence) >= limits.max_names:
            # The one that is due first; while nobody looks after its anchor, that is on its way out.
            self._state.evidence.pop(min(self._state.evidence, key=lambda name: self._state.evidence[name].due))
        now = self._wall()
        wait = min(limits.refresh_max, max(limits.refresh_min, outcome.ttl or 0.0))
        found = [outcome.fingerprint, *outcome.also]
        self._state.evidence[outcome.name] = Evidence(found, now + _jittered(wait), now)

    async def refresh(self, name: str) -> str | None:
        """Look again at what a name leads to; says what went wrong, if anything did. Raises nothing of that."""
        evidence = self._state.evidence.get(name)
        if evidence is None:
            return None
        if not self._policy().could_grant(name) or not self._config.enabled:
            # The operator's word: nothing is asked any more for the sake of this name.
            del self._state.evidence[name]
            return None
        answer = await self._lookup.tlsa(name)
        if isinstance(answer, Secure | SecureAbsent):
            records = answer.records if isinstance(answer, Secure) else ()
            held = [record for f in evidence.fingerprints if (record := self._store.get(f)) is not None]
            gone = [record for record in held if not still_published(record, records)]
            self._withdrawn(name, evidence, gone)
        if isinstance(answer, SecureAbsent):
            self._settle(name, evidence, float(answer.ttl))
            return None
        outcome = await self._discoverer.discover(name, fresh=True, answer=answer)
        if self._state.evidence.get(name) is not evidence:
            # Discovered anew meanwhile; that is younger.
            return None
        if outcome.state is Outcomes.FOUND:
            self.remember(outcome)
            if outcome.source is not None:
                self._metrics.refreshed.labels(outcome.source).set(self._wall())
            return None
        if isinstance(answer, Secure) and outcome.reason is Reason.NO_CERTIFICATE_IN_DNS:
            self._settle(name, evidence, float(answer.ttl))
            return None
        return self._failed(name, evidence, outcome)

    def _withdrawn(self, name: str, evidence: Evidence, gone: Iterable[AnchorRecord]) -> None:
        """The zone has let go of these: the device's own certificate ends here, a CA has one name less behind it."""
        for record in gone:
            evidence.fingerprints.remove(record.fingerprint)
            evidence.failures = 0
            self._log.info("anchor no longer published", name=name, fingerprint=record.fingerprint)
            if record.source is AnchorSource.LEAF:
                self._remove(Holding(record.fingerprint, name))

    def _settle(self, name: str, evidence: Evidence, ttl: float) -> None:
        """Nothing to be found there, provably: forgotten, unless policy spells the name out."""
        if name not in self._spelled_out:
            self._state.evidence.pop(name, None)
            return
        now = self._wall()
        wait = min(self._config.refresh_max, max(self._config.refresh_min, ttl))
        self._state.evidence[name] = Evidence(evidence.fingerprints, now + _jittered(wait), now)

    def _failed(self, name: str, evidence: Evidence, outcome: Outcome) -> str:
        evidence.failures += 1
        evidence.last_error = f"{outcome.reason}: {outcome.detail}"
        self._metrics.refresh_failures.labels(outcome.reason).inc()
        wait = retry_after(evidence.failures, self._config.refresh_min, self._config.refresh_max)
        evidence.due = self._wall() + _jittered(wait)
        if not evidence.fingerprints and evidence.failures >= _HOPELESS and name not in self._spelled_out:
            self._state.evidence.pop(name, None)
        if evidence.failures == 1:
            self._log.warning(
                "anchor not refreshed; it stays, and is tried again", name=name, error=evidence.last_error
            )
        return evidence.last_error

    # what nothing leads to

    def retire(self) -> None:
        """Take away what nothing has led to for long enough."""
        now = self._wall()
        outcome = retire(
            self._store.records.values(),
            self._backed(),
            {Holding(*key.split(" ", 1)): since for key, since in self._state.unbacked.items() if " " in key},
            {identity_domain(name) for name in self._live()},
            self._store.for_domain,
            now,
            self._config.retire_after,
        )
        self._state.unbacked = {str(holding): since for holding, since in outcome.unbacked.items()}
        for holding in outcome.gone:
            if not self._remove(holding):
                self._state.unbacked[str(holding)] = now - self._config.retire_after

    def _backed(self) -> set[Holding]:
        found = set()
        for name, evidence in self._state.evidence.items():
            for fingerprint in evidence.fingerprints:
                found |= {Holding(fingerprint, name), Holding(fingerprint, identity_domain(name))}
        return found

    def _remove(self, holding: Holding) -> bool:
        try:
            self._store.remove(holding.fingerprint, [holding.domain])
        except StoreError as error:
            self._metrics.store_failures.inc()
            self._log.error("anchor not removed", domain=holding.domain, error=str(error))
            return False
        self._log.info("anchor removed", domain=holding.domain, fingerprint=holding.fingerprint)
        return True


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1 - _JITTER, 1)  # noqa: S311  # not for security
