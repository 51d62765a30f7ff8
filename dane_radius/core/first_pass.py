"""The first pass of policy over a certificate, kept for the next time that the device authenticates."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import NamedTuple

from dane_radius.core.certificate import Leaf
from dane_radius.core.decision import MAX_CACHED_OCTETS, Prepared, StandingOf, nothing_known, prepare
from dane_radius.core.reasons import ReasonCode, Refused
from dane_radius.core.ruling import Ruling
from policy import DeviceStanding, Policy, PolicySettings, RequestFacts


class _Entry(NamedTuple):
    """A result, with what it follows from. `began`: the `now` of it, in seconds since 1970."""

    result: Prepared | Ruling
    settings: PolicySettings
    device: DeviceStanding | None
    began: float


class FirstPass:
    """`prepare` with a memory of a bounded number of results.

    A result is used again while the policy is the same object, the device's standing is the same, and the time
    `expires` has not come.
    """

    def __init__(self, max_entries: int = 8192) -> None:
        # By certificate, which is compared by identity, and request.
        self._entries: OrderedDict[tuple[Leaf, RequestFacts], _Entry] = OrderedDict()
        self._max_entries = max_entries

    def __len__(self) -> int:
        return len(self._entries)

    def prepare(
        self, leaf: Leaf, policy: Policy, request: RequestFacts, standing_of: StandingOf = nothing_known, *, now: float
    ) -> Prepared | Ruling:
        """The result of `dane_radius.core.prepare`, which has the same arguments."""
        entry = self._entries.get((leaf, request))
        if entry is not None and entry.settings is policy.settings and _still_holds(entry, standing_of, now):
            return entry.result
        result = prepare(leaf, policy, request, standing_of, now=now)
        # What cannot be said now may be known in a moment, without any sign of it here.
        is_lasting = isinstance(result, Prepared) or result.reason is not ReasonCode.STANDING_UNAVAILABLE
        if is_lasting and len(leaf.der) <= MAX_CACHED_OCTETS:
            self._keep((leaf, request), _Entry(result, policy.settings, result.device, now))
        return result

    def _keep(self, key: tuple[Leaf, RequestFacts], entry: _Entry) -> None:
        # Each step is atomic, so that threads may interleave between them.
        self._entries.pop(key, None)
        self._entries[key] = entry
        if len(self._entries) > self._max_entries:
            with contextlib.suppress(KeyError):
                self._entries.popitem(last=False)


def still_holds(prepared: Prepared, policy: Policy, standing_of: StandingOf, now: float) -> bool:
    """Whether `prepare` would now return the same for the same certificate and request.

    Raises Refused where `standing_of` does.
    """
    return prepared.settings is policy.settings and _is_current(prepared, prepared.device, standing_of, now)


def _still_holds(entry: _Entry, standing_of: StandingOf, now: float) -> bool:
    if now < entry.began:
        # The clock was set back. A time window may be another then.
        return False
    try:
        return _is_current(entry.result, entry.device, standing_of, now)
    except Refused:
        return False


def _is_current(result: Prepared | Ruling, device: DeviceStanding | None, standing_of: StandingOf, now: float) -> bool:
    if result.expires is not None and now >= result.expires:
        return False
    return result.name is None or standing_of(result.name) == device
