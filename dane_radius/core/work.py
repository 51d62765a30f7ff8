"""Limits on the work of one decision. No I/O; the caller has the clock.

All other devices wait while a decision is computed, and the owner of a zone controls its input: certificates, their
name constraints, and the keys that sign them. Expensive operations are therefore counted before they are done, and a
decision beyond a limit is refused. Each limit is several times what real deployments need. Work up to all limits takes
less than 20 ms on a small server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# Candidates for a path: the anchors of the identity domain, and certificates published as `2 0 0`.
MAX_CANDIDATES = 32
MAX_CHAIN_CERTIFICATE_OCTETS = 16 * 1024
# Octets of all certificates that one decision parses.
MAX_PARSED_OCTETS = 64 * 1024
# Signatures that are verified. One takes 0.05 to 0.7 ms, depending on the key.
MAX_SIGNATURES = 16
# Pairs of a name and a name constraint; one takes 0.7 µs.
MAX_COMPARISONS = 8_000
# Certificates that are tried as issuers. The verification of signatures has its own limit.
MAX_STEPS = 64

MAX_RSA_BITS = 8192
# The usual exponent 65,537 has 17 bits. OpenSSL's own limit would allow verifications that take milliseconds.
MAX_RSA_EXPONENT_BITS = 33


class TooMuchWork(Exception):
    """A decision exceeds a limit; the text says which."""


def _never() -> bool:
    return False


@dataclass(slots=True)
class Work:
    """The work that one decision has done so far. `out_of_time` says whether its time is over."""

    out_of_time: Callable[[], bool] = _never
    octets: int = 0
    signatures: int = 0
    comparisons: int = 0
    steps: int = 0

    def count_parse(self, octets: int) -> None:
        """Called before a certificate is parsed. Raises TooMuchWork, as the other methods do."""
        self.octets += octets
        self._check(self.octets, MAX_PARSED_OCTETS, "octets of certificates")

    def count_signature(self) -> None:
        """Called before a signature is verified."""
        self.signatures += 1
        self._check(self.signatures, MAX_SIGNATURES, "signatures to verify")

    def count_comparisons(self, pairs: int) -> None:
        """Called before names are compared with name constraints."""
        self.comparisons += pairs
        self._check(self.comparisons, MAX_COMPARISONS, "pairs of a name and a name constraint")

    def count_step(self) -> None:
        """Called before a certificate is tried as an issuer."""
        self.steps += 1
        self._check(self.steps, MAX_STEPS, "certificates to try as issuers")

    def _check(self, count: int, limit: int, what: str) -> None:
        if count > limit:
            raise TooMuchWork(f"more than {limit} {what}")
        if self.out_of_time():
            raise TooMuchWork("the time for one decision is over")
