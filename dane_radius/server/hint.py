"""Hints to `trust_sync` about an identity whose trust anchor is not held yet.

Sent on the EAP identity, which anybody can claim. So a hint decides nothing, never raises, and costs little however
many come: policy and what is known are looked at first, both in memory; a rate limit, in all and for one identity
domain, comes before the socket. The socket is the event loop's; a request that waits for the outcome does so outside of
FreeRADIUS's Python lock (see `dane_radius.server.waits`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from dane_radius.core.names import identity_domain, normalize
from dane_radius.core.reasons import Refused
from dane_radius.local.control_socket import ControlError, ask_async
from dane_radius.local.rate_limits import RateLimiter, RecentlySeen
from policy import Policy

# On top of the worker's own time: it answers `pending` when that is over.
HINT_SLACK_SECONDS = 0.05


class HintResult(StrEnum):
    """What a hint came to. The last four are the worker's own words."""

    NO_NAME = "no_name"
    NO_POLICY = "no_policy"
    HELD = "held"
    LIMITED = "limited"
    UNAVAILABLE = "unavailable"
    KNOWN = "known"
    FOUND = "found"
    PENDING = "pending"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class HintLimits:
    """Bounds on the module's side. Times are seconds, rates are per second.

    wait: how long an authentication may wait for the worker. repeat: how long nothing more is said about a name.
    """

    wait: float = 0.3
    rate: float = 20.0
    rate_per_domain: float = 5.0
    repeat: float = 2.0


def claimed_name(identity: str) -> str | None:
    """The device name that an EAP identity claims: the whole of it, or the realm of an NAI (RFC 7542).

    None when it claims none that could be looked up.
    """
    _, at, realm = identity.rpartition("@")
    try:
        return normalize((realm if at else identity).encode("utf-8", "surrogatepass"))
    except Refused:
        return None


class Hinter:
    """Sends hints over the worker's socket; nothing here raises. `choose` is not thread-safe."""

    def __init__(
        self,
        path: str,
        limits: HintLimits,
        holds_anchor: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`holds_anchor`: whether an anchor that could vouch for a name is held."""
        self._path, self._holds_anchor, self._clock = path, holds_anchor, clock
        self.limits = limits
        self._limiter = RateLimiter(limits.rate, limits.rate_per_domain)
        self._said = RecentlySeen(limits.repeat)

    def choose(self, identity: str, policy: Policy) -> str | HintResult:
        """The name that the worker is to be told about; or why there is nothing to tell."""
        name = claimed_name(identity)
        if name is None:
            return HintResult.NO_NAME
        if not policy.could_grant(name):
            return HintResult.NO_POLICY
        if self._holds_anchor(name):
            return HintResult.HELD
        now = self._clock()
        if (name, now) in self._said or not self._limiter.allow(identity_domain(name), now):
            return HintResult.LIMITED
        self._said.add(name, now)
        return name

    async def send(self, name: str) -> HintResult:
        """Tell the worker about a name, and wait for what it finds for as long as the limits allow."""
        try:
            async with asyncio.timeout(self.limits.wait + HINT_SLACK_SECONDS):
                return await self._send(name)
        except TimeoutError:
            return HintResult.PENDING
        except (OSError, ValueError, KeyError):
            return HintResult.UNAVAILABLE

    async def _send(self, name: str) -> HintResult:
        try:
            reply = await ask_async(self._path, "discover", name=name, wait=round(self.limits.wait, 3))
        except ControlError:
            return HintResult.UNAVAILABLE
        return HintResult(reply["state"])
