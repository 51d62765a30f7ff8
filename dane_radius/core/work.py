"""How much work one decision may be. No I/O; the clock is the caller's.

A decision runs while every other device waits, and a zone chooses what is published in it: certificates, their name
constraints, the keys that sign. So what costs much is counted before it is done, and a decision that would need more
than any honest zone does is refused. Each limit is several times what real deployments need, and all of them together
stay below 20 ms on a small server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# Certificates that a path may be looked for in: anchors of the identity domain, and those published as `2 0 0`.
MAX_CANDIDATES = 32
MAX_CHAIN_CERTIFICATE_OCTETS = 16 * 1024
# Octets of certificates that one decision parses in all.
MAX_PARSED_OCTETS = 64 * 1024
# One takes 0.05 to 0.7 ms, depending on the key.
MAX_SIGNATURES = 16
# Pairs of a name and a name constraint; one takes 0.7 µs.
MAX_COMPARISONS = 8_000
# Certificates that are tried as issuers, with everything but their signature.
MAX_STEPS = 64

MAX_RSA_BITS = 8192
# 65,537 is 17 bits; nothing real is longer than this, and OpenSSL's own limit lets a verification take milliseconds.
MAX_RSA_EXPONENT_BITS = 33


class TooMuchWork(Exception):
    """A decision would take more than is allowed; the text says of what, with what was found and what is expected."""


def _never() -> bool:
    return False


@dataclass(slots=True)
class Work:
    """What one decision has done so far. `out_of_time`: whether its time is over."""

    out_of_time: Callable[[], bool] = _never
    octets: int = 0
    signatures: int = 0
    comparisons: int = 0
    steps: int = 0

    def parse(self, octets: int) -> None:
        """Before a certificate is parsed. Raises TooMuchWork, as the others do."""
        self.octets += octets
        self._check(self.octets, MAX_PARSED_OCTETS, "octets of certificates")

    def verify(self) -> None:
        """Before a signature is verified."""
        self.signatures += 1
        self._check(self.signatures, MAX_SIGNATURES, "signatures to verify")

    def compare(self, pairs: int) -> None:
        """Before names are held against name constraints."""
        self.comparisons += pairs
        self._check(self.comparisons, MAX_COMPARISONS, "pairs of a name and a name constraint")

    def step(self) -> None:
        """Before a certificate is tried as an issuer."""
        self.steps += 1
        self._check(self.steps, MAX_STEPS, "certificates to try as issuers")

    def _check(self, count: int, limit: int, what: str) -> None:
        if count > limit:
            raise TooMuchWork(f"more than {limit} {what}")
        if self.out_of_time():
            raise TooMuchWork("the time for one decision is over")
