"""Make the caches between us and a name's zone forget it: the resolver's first, then the module's."""

from __future__ import annotations

import re
import socket

from dane_radius.control import ControlError, ask

_TIMEOUT_SECONDS = 1.0
_NAME = re.compile(r"[a-z0-9_.-]{1,253}")
_MAX_ANSWER_OCTETS = 4096


class FlushFailed(RuntimeError):
    """A cache could not be told. Its answers live until their TTL ends."""


def flush_unbound(path: str, name: str, *, below: bool = False) -> None:
    """Forget a name in Unbound. Raises FlushFailed.

    Two commands: `flush` alone keeps TLSA records, `flush_type` alone keeps what QNAME minimisation learned about the
    name (an NXDOMAIN, for instance). `below`: everything under the name, DNSSEC keys included, as an emergency rollover
    needs it.
    """
    if not _NAME.fullmatch(name):
        # Anything else could be a command of its own.
        raise FlushFailed(f"unbound: {name!r} is no name")
    for command in (f"flush_zone {name}",) if below else (f"flush_type {name} TLSA", f"flush {name}"):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
                connection.settimeout(_TIMEOUT_SECONDS)
                connection.connect(path)
                connection.sendall(f"UBCT1 {command}\n".encode("ascii"))
                answer = connection.recv(_MAX_ANSWER_OCTETS)
        except OSError as error:
            raise FlushFailed(f"unbound: {path}: {error.strerror or error}") from error
        if not answer.startswith(b"ok"):
            raise FlushFailed(f"unbound: {command}: {answer.decode('utf-8', 'replace').strip()!r}")


def flush_module(path: str, name: str, *, below: bool = False) -> None:
    """Forget a name in the module (`below`: and all under it). Raises FlushFailed."""
    try:
        ask(path, "flush", timeout=_TIMEOUT_SECONDS, name=name, below=below)
    except ControlError as error:
        raise FlushFailed(f"dane_radius: {error}") from error
