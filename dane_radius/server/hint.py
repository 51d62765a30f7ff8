"""Hints to `trust_sync` about an identity for which no trust anchor is installed.

An EAP identity is unauthenticated. A hint therefore decides nothing, never raises, and stays cheap under a flood:
policy and the anchors are checked first, in memory, and rate limits, in all and for each identity domain, come before
the socket. The event loop uses the socket; a request waits for the result outside FreeRADIUS's Python lock (see
`dane_radius.server.waits`).
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

# Added to the time that `trust_sync` is given, after which it answers `pending`.
HINT_SLACK_SECONDS = 0.05


class HintResult(StrEnum):
    """The result of a hint. The last four are the answers of `trust_sync`."""

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
    """Limits on the module's side. Times are seconds, rates are per second.

    wait: how long an authentication may wait for `trust_sync`. repeat: how long no further hint is sent about a name.
    """

    wait: float = 0.3
    rate: float = 20.0
    rate_per_domain: float = 5.0
    repeat: float = 2.0


def claimed_name(identity: str) -> str | None:
    """The device name that an EAP identity claims: the realm of an NAI (RFC 7542), or else the whole identity.

    None if that is not a valid device name.
    """
    _, at, realm = identity.rpartition("@")
    try:
        return normalize((realm if at else identity).encode("utf-8", "surrogatepass"))
    except Refused:
        return None


class Hinter:
    """Sends hints to the socket of `trust_sync`. No method raises. `choose` is not thread-safe."""

    def __init__(
        self,
        path: str,
        limits: HintLimits,
        holds_anchor: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`holds_anchor`: whether an anchor is installed that may vouch for a name."""
        self._path, self._holds_anchor, self._clock = path, holds_anchor, clock
        self.limits = limits
        self._limiter = RateLimiter(limits.rate, limits.rate_per_domain)
        self._recently_sent = RecentlySeen(limits.repeat)

    def choose(self, identity: str, policy: Policy) -> str | HintResult:
        """The name to send a hint about, or the reason to send none."""
        name = claimed_name(identity)
        if name is None:
            return HintResult.NO_NAME
        if not policy.could_grant(name):
            return HintResult.NO_POLICY
        if self._holds_anchor(name):
            return HintResult.HELD
        now = self._clock()
        if (name, now) in self._recently_sent or not self._limiter.allow(identity_domain(name), now):
            return HintResult.LIMITED
        self._recently_sent.add(name, now)
        return name

    async def send(self, name: str) -> HintResult:
        """Send a hint about a name, and wait for the result as long as the limits allow."""
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
