"""Networks between this host and test switches, with a number that no other test run on this host holds."""

from __future__ import annotations

import atexit
import functools
import itertools
import socket
import sys
import threading
from pathlib import Path
from typing import NamedTuple

_numbers = itertools.count(1)
# Switches are made in several threads at once.
_lock = threading.Lock()


class Link(NamedTuple):
    """The addresses of this host (`here`) and of a switch (`there`), and their prefix length."""

    here: str
    there: str
    prefix: int


def next_link(*, ipv6: bool = False) -> Link:
    """Two addresses that nobody else uses, from 10.N.n.0/24 or fd00:dade:N:n::/64."""
    with _lock:
        first, second = _claim()[0], next(_numbers) % 250
    net = f"fd00:dade:{first:x}:{second:x}::" if ipv6 else f"10.{first}.{second}."
    return Link(f"{net}1", f"{net}2", 64 if ipv6 else 24)


@functools.cache
def _claim() -> tuple[int, socket.socket]:
    """A second octet, and the socket that claims it for as long as this process lives.

    An abstract socket's name can be bound once, and the kernel frees it at process exit. The interfaces of a test run
    that was killed remain, and their routes would take this run's packets.
    """
    routed = _routed_octets(Path("/proc/net/route").read_text())
    for octet in range(200, 250):
        if octet in routed:
            continue
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0dane-radius-test-net-{octet}")
        except OSError:
            claim.close()
            continue
        atexit.register(claim.close)
        return octet, claim
    raise RuntimeError("test runs, living or killed, hold all networks from 10.200.0.0 to 10.249.255.255")


def _routed_octets(table: str) -> set[int]:
    """The second octets of the networks in 10.0.0.0/8 that /proc/net/route has. It writes addresses in host order."""
    destinations = (int(line.split()[1], 16).to_bytes(4, sys.byteorder) for line in table.splitlines()[1:])
    return {address[1] for address in destinations if address[0] == 10}
