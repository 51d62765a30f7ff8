"""Just-in-time discovery: from a name that somebody claims to an anchor that its own zone vouches for.

What starts it is unauthenticated. So policy comes first, then the limits, and only then the DNS and perhaps one HTTPS
request; and nothing is installed that DNSSEC-validated records do not lead to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from dane_radius.core import AnchorRecord, AnchorSource, Answer, Refused, Secure, identity_domain, normalize
from dane_radius.local import RateLimiter, RecentlySeen
from policy import Policy
from trust_sync.certificate import CertificateRefused
from trust_sync.config import DiscoveryConfig
from trust_sync.fetch import Fetcher, FetchFailed
from trust_sync.leads import DeadEnd, Fetch, Found, Lead, check_fetched, leads
from trust_sync.lookup import Lookup
from trust_sync.reasons import Reason, State, of_answer, of_certificate, of_fetch
from trust_sync.store import ShadowError, StoreError, TooManyDomainsError

# Certificates of one name's records that are installed: more than any rollover needs.
MAX_ANCHORS_PER_NAME = 4


class Anchors(Protocol):
    """What discovery needs of the anchor store."""

    def for_domain(self, domain: str) -> list[AnchorRecord]: ...

    def get(self, fingerprint: str) -> AnchorRecord | None: ...

    def count_discovered(self, domain: str) -> int: ...

    @property
    def discovered(self) -> int: ...

    def add(
        self, certificate: Any, domains: tuple[str, ...], source: AnchorSource, fetched: datetime
    ) -> AnchorRecord | None: ...


@dataclass(frozen=True)
class Outcome:
    """What a discovery came to, step by step. `ttl`: seconds after which it is worth another look.

    fingerprint: of the first anchor that was found; also: of those that the same records hold besides.
    """

    name: str
    state: State
    reason: Reason
    detail: str
    steps: tuple[str, ...] = ()
    fingerprint: str | None = None
    source: AnchorSource | None = None
    ttl: float | None = None
    also: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": str(self.state),
            "reason": str(self.reason),
            "detail": self.detail,
            "steps": list(self.steps),
            "fingerprint": self.fingerprint,
            "source": str(self.source) if self.source else None,
        }


@dataclass
class _Trail:
    """The steps so far, and the first thing that went wrong."""

    name: str
    steps: list[str] = field(default_factory=list)
    problem: tuple[Reason, str] | None = None

    def note(self, step: str) -> None:
        self.steps.append(step)

    def fail(self, reason: Reason, detail: str) -> None:
        self.steps.append(f"{reason}: {detail}")
        self.problem = self.problem or (reason, detail)

    def refused(self, reason: Reason, detail: str) -> Outcome:
        return Outcome(self.name, State.REFUSED, reason, detail, (*self.steps,))


class Discoverer:
    """Runs discoveries, each name at most once at a time."""

    def __init__(
        self,
        config: DiscoveryConfig,
        policy: Callable[[], Policy],
        store: Anchors,
        lookup: Lookup,
        fetcher: Fetcher,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._policy, self._store = config, policy, store
        self._lookup, self._fetcher, self._now, self._clock = lookup, fetcher, now, clock
        self._limiter = RateLimiter(config.rate, config.rate_per_domain)
        self._failed = RecentlySeen(config.negative_ttl)
        self._failed_urls = RecentlySeen(config.negative_ttl)
        self._running: dict[str, asyncio.Task[Outcome]] = {}
        self._running_in: dict[str, int] = {}
        self.on_outcome: Callable[[Outcome, float], None] = lambda outcome, seconds: None

    async def hint(self, claimed: str, wait: float) -> Outcome:
        """The outcome for a name that a device claims, or `pending` when it takes longer than `wait` seconds."""
        gate = self._gate(claimed)
        if isinstance(gate, Outcome):
            self.on_outcome(gate, 0.0)
            return gate
        task = self._running.get(gate) or self._start(gate)
        done, _ = await asyncio.wait([task], timeout=wait)
        if done:
            return task.result()
        return Outcome(gate, State.PENDING, Reason.STILL_LOOKING, f"not done after {wait:g} s; it goes on")

    def _gate(self, claimed: str) -> str | Outcome:
        """The normalized name, if a discovery may start or join for it. Costs no I/O."""
        trail = _Trail(claimed[:253])
        if not self._config.enabled:
            return trail.refused(Reason.DISABLED, "discovery is switched off")
        try:
            name = normalize(claimed.encode("utf-8", "surrogatepass"))
        except Refused as error:
            return trail.refused(Reason.NAME_MALFORMED, error.detail)
        trail.name = name
        domain = identity_domain(name)
        if not self._policy().could_grant(name):
            return trail.refused(Reason.POLICY_NO_RULE, f"no rule gives {name} access")
        if known := self._known(name, domain):
            return Outcome(name, State.KNOWN, Reason.ANCHOR_KNOWN, f"{known.subject} vouches for {domain}")
        if name in self._running:
            return name
        now = self._clock()
        if (name, now) in self._failed:
            return trail.refused(Reason.FAILED_RECENTLY, f"tried less than {self._config.negative_ttl:g} s ago")
        if (
            len(self._running) >= self._config.concurrent
            or self._running_in.get(domain, 0) >= self._config.concurrent_per_domain
        ):
            return trail.refused(Reason.OVERLOADED, f"{len(self._running)} discoveries are running")
        if not self._limiter.allow(domain, now):
            return trail.refused(Reason.RATE_LIMITED, f"too many discoveries for {domain}, or in all")
        return name

    def _known(self, name: str, domain: str) -> AnchorRecord | None:
        """A CA for the domain, or this very name's own certificate."""
        records = self._store.for_domain(domain)
        records += [record for record in self._store.for_domain(name) if record.source is AnchorSource.LEAF]
        return next((r for r in records if r.source is not AnchorSource.LEAF or name in r.domains), None)

    def _start(self, name: str) -> asyncio.Task[Outcome]:
        domain = identity_domain(name)
        task = asyncio.create_task(self._run(name), name=f"discover {name}")
        self._running[name] = task
        self._running_in[domain] = self._running_in.get(domain, 0) + 1

        def finished(_: asyncio.Task[Outcome]) -> None:
            self._running.pop(name, None)
            self._running_in[domain] -= 1
            if not self._running_in[domain]:
                del self._running_in[domain]

        task.add_done_callback(finished)
        return task

    async def _run(self, name: str) -> Outcome:
        began = self._clock()
        try:
            async with asyncio.timeout(self._config.timeout):
                outcome = await self.discover(name)
        except TimeoutError:
            outcome = _Trail(name).refused(Reason.TIMEOUT, f"not done within {self._config.timeout:g} s")
        except Exception as error:
            outcome = _Trail(name).refused(Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}")
        now = self._clock()
        if outcome.state is State.REFUSED:
            self._failed.add(name, now)
        self.on_outcome(outcome, now - began)
        return outcome

    async def discover(
        self, name: str, *, install: bool = True, fresh: bool = False, answer: Answer | None = None
    ) -> Outcome:
        """Look for anchors for a normalized name and, with `install`, put them in force.

        All certificates that stand in the records themselves, as there are two of them while a CA is being rolled; and
        when there are none, the first one that can be fetched. `fresh`: also where such a URL failed a moment ago.
        `answer`: what the DNS has said already. No limits apply here; `hint` keeps them.
        """
        trail = _Trail(name)
        if answer is None:
            answer = await self._lookup.tlsa(name)
        problem = of_answer(answer)
        if problem or not isinstance(answer, Secure):
            reason, detail = problem or (Reason.INTERNAL_ERROR, "")
            trail.fail(reason, detail)
            return trail.refused(reason, detail)
        trail.note(f"TLSA: secure, {', '.join(record.short for record in answer.records)} (TTL {answer.ttl} s)")
        found = leads(answer.records, name, self._now(), pkix_cd=self._policy().allows_pkix_cd(name))
        outcome: Outcome | None = None
        for lead in found:
            if outcome is not None and (not isinstance(lead, Found) or len(outcome.also) + 1 >= MAX_ANCHORS_PER_NAME):
                break
            another = await self._follow(lead, trail, float(answer.ttl), install=install, fresh=fresh)
            if outcome is None:
                outcome = another
            elif another is not None and another.fingerprint is not None:
                outcome = replace(outcome, also=(*outcome.also, another.fingerprint), steps=another.steps)
        if outcome is not None:
            return outcome
        reason, detail = trail.problem or (
            Reason.NO_CERTIFICATE_IN_DNS,
            "no TLSA record holds a certificate that could be an anchor, or lead to one",
        )
        return trail.refused(reason, detail)

    async def _follow(self, lead: Lead, trail: _Trail, ttl: float, *, install: bool, fresh: bool) -> Outcome | None:
        match lead:
            case DeadEnd(reason, detail):
                trail.fail(reason, detail)
                return None
            case Fetch():
                fetched = await self._fetch(lead, trail, fresh=fresh)
                if fetched is None:
                    return None
                found, max_age = fetched
                return self._install(found, trail, min(ttl, max_age) if max_age is not None else ttl, install=install)
            case Found():
                return self._install(lead, trail, ttl, install=install)

    async def _fetch(self, lead: Fetch, trail: _Trail, *, fresh: bool) -> tuple[Found, float | None] | None:
        url = f"https://{lead.host}{lead.path}"
        if not fresh and (url, self._clock()) in self._failed_urls:
            trail.fail(Reason.FAILED_RECENTLY, f"{url} failed less than {self._config.negative_ttl:g} s ago")
            return None
        trail.note(f"PKIX-CD: {url}")
        try:
            fetched = await self._fetcher.get(lead.host, lead.path)
            return check_fetched(lead, fetched.body, trail.name, self._now()), fetched.max_age
        except FetchFailed as error:
            trail.fail(of_fetch(error.problem), str(error))
        except CertificateRefused as error:
            trail.fail(of_certificate(error.problem), f"{url}: {error}")
        self._failed_urls.add(url, self._clock())
        return None

    def _install(self, found: Found, trail: _Trail, ttl: float, *, install: bool) -> Outcome | None:
        certificate = found.certificate
        what = f"{found.source}: {certificate.subject_text or '(empty subject)'} for {', '.join(found.domains)}"
        if install:
            if problem := self._no_room(certificate.fingerprint, identity_domain(trail.name)):
                trail.fail(Reason.TOO_MANY_ANCHORS, problem)
                return None
            try:
                self._store.add(certificate, found.domains, found.source, self._now())
            except ShadowError as error:
                trail.fail(Reason.SHADOWS, str(error))
                return None
            except TooManyDomainsError as error:
                trail.fail(Reason.TOO_MANY_ANCHORS, str(error))
                return None
            except StoreError as error:
                trail.fail(Reason.STORE_FAILED, str(error))
                return None
        trail.note(what)
        return Outcome(
            trail.name,
            State.FOUND,
            Reason.INSTALLED,
            what,
            (*trail.steps,),
            certificate.fingerprint,
            found.source,
            ttl,
        )

    def _no_room(self, fingerprint: str, domain: str) -> str | None:
        if self._store.get(fingerprint) is not None:
            return None
        count, limits = self._store.count_discovered(domain), self._config
        if count >= limits.max_anchors_per_domain:
            return f"{domain} has {count} anchors from discovery already"
        if self._store.discovered >= limits.max_anchors:
            return f"there are {self._store.discovered} anchors from discovery already"
        return None
