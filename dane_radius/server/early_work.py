"""What an EAP identity will need, begun before its certificate is seen: its TLSA records, and its trust anchor.

Decides nothing: anybody can claim an identity. So both are bounded by rates, and skipped for names that policy grants
nothing.
"""

from __future__ import annotations

import time

from dane_radius.dns.domains import Domain
from dane_radius.dns.lookups import Cause, Lookups
from dane_radius.local.anchor_directory import AnchorDirectory
from dane_radius.local.rate_limits import RateLimiter
from dane_radius.server.authentication import NotYet
from dane_radius.server.hint import HINT_SLACK_SECONDS, Hinter, HintResult, claimed_name
from dane_radius.server.metrics import Metrics
from dane_radius.server.waits import HintUnderWay, Waits
from policy import PolicyStore, RequestFacts


class EarlyWork:
    """Starts lookups and hints. `waits` holds the requests that wait for hints."""

    def __init__(
        self,
        policies: PolicyStore,
        anchors: AnchorDirectory,
        lookups: Lookups,
        hinter: Hinter | None,
        limiter: RateLimiter,
        metrics: Metrics,
    ) -> None:
        """`hinter`: None where `trust_sync` takes no hints. `limiter`: of lookups, in all and for one NAS."""
        self._policies, self._anchors, self._lookups = policies, anchors, lookups
        self._hinter, self._limiter, self._metrics = hinter, limiter, metrics
        self.waits: Waits[str] = Waits(lookups, 0.0)
        # Requests that wait for hints are counted like those that wait for a domain.
        self._hinted = Domain("(hints)")
        # Whether FreeRADIUS has been seen to call us on an identity, or need not.
        self.called = hinter is None

    def begin(self, identity: str, request: RequestFacts) -> NotYet | None:
        """`NotYet` when the handshake should wait for the anchor: `go_on` comes after it."""
        name = claimed_name(identity)
        if name is not None and self._policies.current.could_grant(name):
            nas = request.nas_identifier or request.nas_address or ""
            if not self._lookups.holds(name) and self._limiter.allow(nas, time.monotonic()):
                self._lookups.start_lookup(name, Cause.IDENTITY)
        self.called = True
        return self._hint(self._hinter, identity) if self._hinter is not None else None

    def _hint(self, hinter: Hinter, identity: str) -> NotYet | None:
        chosen = hinter.choose(identity, self._policies.current)
        if isinstance(chosen, HintResult):
            self._metrics.hints.labels(chosen).inc()
            return None
        hint = HintUnderWay(self._hinted)
        if not self._lookups.submit(self._send(hinter, chosen, hint)):
            return None
        wait = self.waits.enter_for_hint(
            hint, chosen, hinter.limits.wait + HINT_SLACK_SECONDS, self._lookups.wait_limits.places_of_slow
        )
        return NotYet(wait.text) if wait is not None else None

    async def _send(self, hinter: Hinter, name: str, hint: HintUnderWay) -> None:
        result = HintResult.UNAVAILABLE
        try:
            result = await hinter.send(name)
        finally:
            self._metrics.hints.labels(result).inc()
            self.waits.tell(hint, result)

    def go_on(self, wait: str) -> None:
        """After a wait for an anchor: it may be there by now."""
        if self.waits.leave(wait) is not None:
            self._anchors.refresh()
