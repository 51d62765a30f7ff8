"""Hints to `trust_sync` about an identity whose trust anchor is not held yet.

Called on the EAP identity, which anybody can claim. So a hint decides nothing, never raises, and costs little however
many come: policy and what is known are looked at first, both in memory; a rate limit, in all and for one identity
domain, comes before the socket. FreeRADIUS runs one call of this module at a time, so that waiting here keeps every
other device waiting: it is done out of a budget of its own, and when that is spent, hints are sent without waiting.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from dane_radius.limits import RateLimiter, RecentlySeen
from dane_radius.lookups import WaitBudget
from dane_radius.names import identity_domain, normalize
from dane_radius.reasons import Refused
from policy import Policy

VERSION = 1
_MAX_REPLY_OCTETS = 64 * 1024
# On top of the worker's own time: it answers `pending` when that is over.
_SLACK_SECONDS = 0.05


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
    wait_share: the share of the clock that hints may wait, all together.
    """

    wait: float = 0.3
    rate: float = 20.0
    rate_per_domain: float = 5.0
    repeat: float = 2.0
    wait_share: float = 0.1


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
    """Sends hints over the worker's socket. Thread-safe; `hint` never raises."""

    def __init__(
        self,
        path: str,
        limits: HintLimits,
        holds_anchor: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`holds_anchor`: whether an anchor that could vouch for a name is held."""
        self._path, self._limits, self._holds_anchor, self._clock = path, limits, holds_anchor, clock
        self._lock = threading.Lock()
        self._limiter = RateLimiter(limits.rate, limits.rate_per_domain)
        self._said = RecentlySeen(limits.repeat)
        self._budget = WaitBudget(limits.wait_share, 2 * limits.wait, clock)

    def hint(self, identity: str, policy: Policy) -> HintResult:
        """Tell the worker about an identity, if there is anything to tell, and wait for it for a moment."""
        name = claimed_name(identity)
        if name is None:
            return HintResult.NO_NAME
        if not policy.could_grant(name):
            return HintResult.NO_POLICY
        if self._holds_anchor(name):
            return HintResult.HELD
        if not self._enter(name):
            return HintResult.LIMITED
        granted = self._budget.take(self._limits.wait)
        began = self._clock()
        try:
            return self._ask(name, granted)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return HintResult.UNAVAILABLE
        finally:
            self._budget.give_back(granted - (self._clock() - began))

    def _enter(self, name: str) -> bool:
        now = self._clock()
        with self._lock:
            if (name, now) in self._said:
                return False
            if not self._limiter.allow(identity_domain(name), now):
                return False
            self._said.add(name, now)
            return True

    def _ask(self, name: str, wait: float) -> HintResult:
        deadline = time.monotonic() + wait + _SLACK_SECONDS
        request = {"v": VERSION, "op": "discover", "name": name, "wait": round(wait, 3)}
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(_SLACK_SECONDS)
            connection.connect(self._path)
            connection.sendall(json.dumps(request).encode() + b"\n")
            octets = bytearray()
            while b"\n" not in octets:
                left = deadline - time.monotonic()
                if left <= 0 or len(octets) > _MAX_REPLY_OCTETS:
                    return HintResult.PENDING
                connection.settimeout(left)
                try:
                    chunk = connection.recv(4096)
                except TimeoutError:
                    return HintResult.PENDING
                if not chunk:
                    return HintResult.UNAVAILABLE
                octets += chunk
        reply = json.loads(bytes(octets).split(b"\n", 1)[0])
        if not isinstance(reply, dict) or reply.get("ok") is not True:
            return HintResult.UNAVAILABLE
        return HintResult(reply["state"])
