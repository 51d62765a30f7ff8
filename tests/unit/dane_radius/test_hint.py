"""The module's hints to the worker: which names they carry, and what any worker may answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dane_radius.server.hint import Hinter, HintLimits, HintResult, claimed_name
from policy import parse_policy

POLICY = parse_policy(
    b"version: 1\nrules:\n  - {name: bad, identity: ['*.bad._device.example.net'], deny: true}\n"
    b"  - {name: good, identity: ['**.example.net'], grant: {vlan: 1}}\n"
)


NAMES = {
    "a1._device.example.net": "a1._device.example.net",
    "A1._Device.Example.NET.": "a1._device.example.net",
    "anonymous@a1._device.example.net": "a1._device.example.net",
    "@a1._device.example.net": "a1._device.example.net",
    "a@b@c.example.net": "c.example.net",
    "host": None,
    "": None,
    "@": None,
    "10.0.0.1": None,
    "*.example.net": None,
    "a\0b.example.net": None,
    "\udcff.example.net": None,
    "x" * 300 + ".example.net": None,
    "user@": None,
}


@pytest.mark.parametrize("identity", NAMES)
def test_what_an_identity_claims(identity: str) -> None:
    assert claimed_name(identity) == NAMES[identity]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[[bytes | None], str]]:
    """Serve one fixed answer on a socket. None: no answer."""
    stop: list[socket.socket] = []

    def serve(answer: bytes | None) -> str:
        path = tmp_path / f"w{len(stop)}.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(16)
        stop.append(listener)
        held: list[socket.socket] = stop

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    held.append(connection)
                    if answer is not None:
                        connection.recv(4096)
                        connection.sendall(answer)
                        connection.close()

        threading.Thread(target=run, daemon=True).start()
        return str(path)

    yield serve
    for item in stop:
        with contextlib.suppress(OSError):
            item.shutdown(socket.SHUT_RDWR)
        item.close()


def hinter(path: str, **limits: float) -> Hinter:
    return Hinter(path, HintLimits(**{"wait": 0.1, **limits}), lambda name: name.startswith("held"))


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (b'{"ok": true, "state": "found", "reason": "installed"}\n', HintResult.FOUND),
        (b'{"ok": true, "state": "refused", "reason": "tlsa_absent"}\n', HintResult.REFUSED),
        (b'{"ok": true, "state": "surprise"}\n', HintResult.UNAVAILABLE),
        (b'{"ok": true}\n', HintResult.UNAVAILABLE),
        (b'{"ok": false, "error": "x"}\n', HintResult.UNAVAILABLE),
        (b"garbage\n", HintResult.UNAVAILABLE),
        (b"", HintResult.UNAVAILABLE),
        (b"x" * 200_000 + b"\n", HintResult.UNAVAILABLE),
        (None, HintResult.PENDING),
    ],
)
async def test_a_hint_survives_any_worker(
    worker: Callable[[bytes | None], str], answer: bytes | None, result: HintResult
) -> None:
    found = await hinter(worker(answer)).send("a1._device.example.net")
    assert found is result or (answer and len(answer) > 100_000 and found is HintResult.PENDING)


async def test_what_needs_no_hint_sends_none(tmp_path: Path) -> None:
    quiet = hinter(str(tmp_path / "nobody.sock"))
    assert quiet.choose("x", POLICY) is HintResult.NO_NAME
    assert quiet.choose("a1._device.example.org", POLICY) is HintResult.NO_POLICY
    assert quiet.choose("a1.bad._device.example.net", POLICY) is HintResult.NO_POLICY
    assert quiet.choose("held._device.example.net", POLICY) is HintResult.HELD
    assert quiet.choose("a1._device.example.net", POLICY) == "a1._device.example.net"
    assert await quiet.send("a1._device.example.net") is HintResult.UNAVAILABLE
    # A second hint so soon is not sent.
    assert quiet.choose("a1._device.example.net", POLICY) is HintResult.LIMITED


async def test_a_flood_of_hints_is_limited_and_a_silent_worker_is_not_waited_for(
    worker: Callable[[bytes | None], str],
) -> None:
    limits = HintLimits(wait=0.05, rate=1000, rate_per_domain=10)
    flooded = Hinter(worker(None), limits, lambda name: False, clock=lambda: 0.0)
    chosen = [flooded.choose(f"a{n}._device.example.net", POLICY) for n in range(100)]
    assert chosen.count(HintResult.LIMITED) == 90
    async with asyncio.timeout(10):
        assert await flooded.send("a1._device.example.net") is HintResult.PENDING
