"""Networks between the host and test switches: 10.N.n.0/24, with an N that no other test run on this machine has."""

from __future__ import annotations

import itertools
import socket

_numbers = itertools.count(1)
# Held while this process lives: an abstract socket's name can be bound once, and goes with the process.
_claim: socket.socket | None = None
_second_octet = 0


def next_private_net() -> str:
    """The first three octets of a network that nobody else uses, for example `10.201.3`."""
    return f"10.{_octet()}.{next(_numbers) % 250}"


def _octet() -> int:
    global _claim, _second_octet
    for octet in range(200, 250) if _claim is None else ():
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0dane-radius-test-net-{octet}")
        except OSError:
            claim.close()
            continue
        _claim, _second_octet = claim, octet
        break
    if _claim is None:
        raise RuntimeError("fifty test runs hold all networks from 10.200.0.0 to 10.249.255.255")
    return _second_octet
