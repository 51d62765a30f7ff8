"""Waiting until the device's TLSA record is published and validated."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from cryptography import x509

from iot_safe_sim.device.resolver import Resolver
from iot_safe_sim.device.tlsa import TlsaState

#: Seconds between two queries: short at first, because a registry publishes within a second, then longer.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
#: Seconds between two reports of a wait whose state does not change.
REMIND_SECONDS = 10.0


@dataclass(frozen=True)
class TlsaWait:
    """Queries until a record matches, or until `timeout` (seconds) is over."""

    resolver: Resolver
    timeout: float
    #: Called with each change of state and the seconds so far, and every REMIND_SECONDS without a change.
    progress: Callable[[TlsaState, float], None] = lambda state, seconds: None
    #: Called by `checked` with the fault of a resolver that is not usable.
    complain: Callable[[str], None] = lambda text: None
    sleep: Callable[[float], None] = field(default=time.sleep)
    clock: Callable[[], float] = field(default=time.monotonic)

    def checked(self, name: str) -> TlsaWait:
        """This wait, or one that queries only once if the resolver is not usable for `name`. Calls `complain` then."""
        fault = self.resolver.fault(name)
        if fault is None:
            return self
        self.complain(fault)
        return replace(self, timeout=0.0)

    def wait(self, name: str, certificate: x509.Certificate, issuers: Sequence[x509.Certificate]) -> TlsaState:
        """Returns VOUCHED, or the last state when the time is over."""
        begun, pause, before, told = self.clock(), FIRST_PAUSE, None, 0.0
        while True:
            state = self.resolver.query_tlsa(name, certificate, issuers)
            waited = self.clock() - begun
            if state != before or waited - told >= REMIND_SECONDS:
                self.progress(state, waited)
                before, told = state, waited
            if state is TlsaState.VOUCHED or waited + pause > self.timeout:
                return state
            self.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)
