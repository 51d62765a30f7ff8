"""The TLSA lookup and the trust anchor hint that start on the EAP identity, before the certificate is known.

An identity is unauthenticated, so it decides nothing here: rate limits apply to both, and a name that policy cannot
grant access causes neither.
"""

from __future__ import annotations

import time

from dane_radius.dns.background import Cause
from dane_radius.dns.domains import Domain
from dane_radius.dns.lookups import Lookups
from dane_radius.local.anchor_directory import AnchorDirectory
from dane_radius.local.rate_limits import RateLimiter
from dane_radius.server.authentication import NotYet
from dane_radius.server.hint import HINT_SLACK_SECONDS, Hinter, HintResult, claimed_name
from dane_radius.server.metrics import Metrics
from dane_radius.server.waits import HintUnderWay, Waits
from policy import PolicyStore, RequestFacts


class EarlyWork:
    """Starts lookups and hints. `waits`: the requests that wait for a hint's result."""

    def __init__(
        self,
        policies: PolicyStore,
        anchors: AnchorDirectory,
        lookups: Lookups,
        hinter: Hinter | None,
        limiter: RateLimiter,
        metrics: Metrics,
    ) -> None:
        """`hinter`: None if `trust_sync` takes no hints. `limiter`: limits lookups, in all and for each NAS."""
        self._policies, self._anchors, self._lookups = policies, anchors, lookups
        self._hinter, self._limiter, self._metrics = hinter, limiter, metrics
        self.waits: Waits[str] = Waits(lookups, 0.0)
        # Requests that wait for hints are counted as if they waited for this domain.
        self._hint_domain = Domain("(hints)")
        # Whether FreeRADIUS has called `begin`. True from the start without a hinter, where the call is optional.
        self.called = hinter is None

    def begin(self, identity: str, request: RequestFacts) -> NotYet | None:
        """Start the lookup and the hint. `NotYet`: the handshake should wait for the anchor, and then call `resume`."""
        name = claimed_name(identity)
        if name is not None and self._policies.current.could_grant(name):
            nas = request.nas_identifier or request.nas_address or ""
            if not self._lookups.is_cached(name) and self._limiter.allow(nas, time.monotonic()):
                self._lookups.start_lookup(name, Cause.IDENTITY)
        self.called = True
        return self._hint(self._hinter, identity) if self._hinter is not None else None

    def _hint(self, hinter: Hinter, identity: str) -> NotYet | None:
        chosen = hinter.choose(identity, self._policies.current)
        if isinstance(chosen, HintResult):
            self._metrics.hints.labels(chosen).inc()
            return None
        hint = HintUnderWay(self._hint_domain)
        if not self._lookups.submit(self._send(hinter, chosen, hint)):
            return None
        seconds = hinter.limits.wait + HINT_SLACK_SECONDS
        wait = self.waits.start_hint_wait(hint, chosen, seconds, self._lookups.wait_limits.max_waiting_for_slow)
        return NotYet(wait.text) if wait is not None else None

    async def _send(self, hinter: Hinter, name: str, hint: HintUnderWay) -> None:
        result = HintResult.UNAVAILABLE
        try:
            result = await hinter.send(name)
        finally:
            self._metrics.hints.labels(result).inc()
            self.waits.complete_hint(hint, result)

    def resume(self, wait: str) -> None:
        """Continue after a wait for an anchor, which may have been installed meanwhile."""
        if self.waits.end_wait(wait) is not None:
            self._anchors.refresh()
