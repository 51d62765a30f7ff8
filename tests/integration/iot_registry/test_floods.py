"""Floods, silent and slow clients, and clients that do not read: other clients are served meanwhile."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.process import wait_for
from tests.integration.iot_registry.parts import Registry

# The unit's MemoryMax is 1 GiB for the defaults; here it is for the same number of connections.
MEMORY_MAX = 1024 * 1024
HEAD = b"GET /health HTTP/1.1\r\nHost: registry\r\n"


def settings(**limits: Any) -> dict[str, dict[str, Any]]:
    return {"connections": limits}


@contextlib.contextmanager
def registry_with(folder: Path, **limits: Any) -> Iterator[Registry]:
    with Registry(folder / "registry", options=settings(**limits)).running() as registry:
        _ = registry.anchor
        yield registry


@pytest.fixture
def many_files() -> Iterator[None]:
    """The attacker needs file descriptors, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(registry: Registry, source: str, first: bytes = b"\x16") -> socket.socket | None:
    """A connection from `source` with its first octets sent; None: refused at once."""
    sock = socket.socket()
    sock.settimeout(5)
    try:
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", registry.port))
        sock.sendall(first)
    except OSError:
        sock.close()
        return None
    sock.setblocking(False)
    return sock


def secured(registry: Registry, source: str = "127.0.0.2") -> ssl.SSLSocket:
    """A connection from `source` with its TLS handshake done."""
    context = ssl.create_default_context(cafile=str(registry.anchor))
    sock = context.wrap_socket(socket.socket(), server_hostname="127.0.0.1")
    try:
        sock.settimeout(10)
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", registry.port))
    except BaseException:
        sock.close()
        raise
    return sock


def is_open(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(4096))
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False


def answered(registry: Registry, source: str) -> bool:
    """Whether a client from `source` gets an answer."""
    try:
        with contextlib.closing(secured(registry, source)) as sock:
            sock.sendall(HEAD + b"Connection: close\r\n\r\n")
            return b" 200 " in sock.recv(4096)
    except OSError:
        return False


def memory(registry: Registry) -> int:
    """The peak memory of the server, in KiB."""
    assert registry.daemon
    status = Path(f"/proc/{registry.daemon.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


def dropped(registry: Registry) -> list[dict[str, Any]]:
    lines = (registry.folder / "serve.log").read_text().splitlines()
    return [json.loads(line) for line in lines if '"connection.dropped"' in line]


def log_size(registry: Registry) -> int:
    return (registry.folder / "serve.log").stat().st_size


def test_a_flood_from_one_address_leaves_the_others_their_places(tmp_path: Path, many_files: None) -> None:
    with registry_with(tmp_path) as registry:
        before = log_size(registry)
        flood = [connect(registry, "127.0.0.66") for _ in range(5000)]
        try:
            served = sum(answered(registry, f"127.0.0.{number}") for number in range(70, 80))
            alive = sum(is_open(sock) for sock in flood if sock is not None)
        finally:
            for sock in flood:
                if sock is not None:
                    sock.close()
        print(f"served {served} of 10, {alive} held, {memory(registry)} KiB, {log_size(registry) - before} of log")
        assert served == 10
        assert 200 <= alive <= 250
        assert memory(registry) < MEMORY_MAX / 4
        assert "Traceback" not in (registry.folder / "serve.log").read_text()
        assert len([line for line in dropped(registry) if line["reason"] == "address-full"]) == 1
        assert log_size(registry) - before < 20_000


def test_a_flood_from_many_addresses_gives_way(tmp_path: Path, many_files: None) -> None:
    """Each sends a request as large as one buffer, then an unfinished header section: the maximum of memory."""
    with registry_with(tmp_path, header_seconds=600, handshake_seconds=600, idle_seconds=600) as registry:
        large = HEAD + b"Content-Length: 240000\r\n\r\n" + b"x" * 240_000
        filler = HEAD + b"".join(b"X-%d: %s\r\n" % (number, b"x" * 8000) for number in range(7))
        with contextlib.ExitStack() as open_sockets:
            flood = []
            for number in range(900):
                # When all connections are taken, the clients that hold the most get no more.
                with contextlib.suppress(OSError):
                    sock = open_sockets.enter_context(secured(registry, f"127.0.1.{1 + number % 9}"))
                    flood.append(sock)
                    sock.sendall(large)
                    assert b" 200 " in sock.recv(4096)
                    sock.sendall(filler)
                    sock.setblocking(False)
            served = sum(answered(registry, f"127.0.0.{number}") for number in range(70, 80))
            alive = sum(is_open(sock) for sock in flood)
        print(f"served {served} of 10, {alive} of 900 held, {memory(registry)} KiB")
        assert served == 10
        assert 700 <= alive <= 800
        assert memory(registry) < MEMORY_MAX * 0.9
        assert {line["reason"] for line in dropped(registry)} >= {"gave-way"}


def test_a_place_in_use_does_not_give_way(tmp_path: Path) -> None:
    with registry_with(tmp_path, total=10, per_address=10) as registry:
        key = registry.key("feed:read")
        seq = registry.api("GET", "/v1/snapshot", key).json["seq"]
        poll = f"GET /v1/changes?since={seq}&wait=5 HTTP/1.1\r\nHost: r\r\nAuthorization: Bearer {key}\r\n\r\n"
        polls = [secured(registry, "127.0.0.5") for _ in range(8)]
        try:
            for sock in polls:
                sock.sendall(poll.encode())
            wait_for(
                lambda: "iot_registry_feed_consumers 8.0" in registry.curl("/metrics").body.decode(), "all to wait"
            )
            for number in range(20, 60):
                flooding = connect(registry, f"127.0.0.{number}")
                if flooding:
                    polls.append(flooding)  # type: ignore[arg-type]  # closed with the others
            assert answered(registry, "127.0.0.99")
            for sock in polls[:8]:
                assert b" 200 " in sock.recv(4096)
        finally:
            for sock in polls:
                sock.close()


def send_nothing(registry: Registry) -> socket.socket:
    found = connect(registry, "127.0.0.2", b"")
    assert found
    return found


def send_one_octet(registry: Registry) -> socket.socket:
    found = connect(registry, "127.0.0.2")
    assert found
    return found


def secure_and_silent(registry: Registry) -> socket.socket:
    return secured(registry)


def after_a_request(registry: Registry) -> socket.socket:
    sock = secured(registry)
    sock.sendall(HEAD + b"\r\n")
    assert b" 200 " in sock.recv(4096)
    return sock


def half_a_head(registry: Registry) -> socket.socket:
    sock = after_a_request(registry)
    sock.sendall(HEAD)
    return sock


def half_a_body(registry: Registry) -> socket.socket:
    sock = secured(registry)
    sock.sendall(b"POST /v1/devices HTTP/1.1\r\nHost: r\r\nContent-Type: application/json\r\n")
    sock.sendall(f"Authorization: Bearer {registry.admin}\r\nContent-Length: 100\r\n\r\n{{".encode())
    return sock


@pytest.mark.parametrize(
    ("hold", "trickle", "reason"),
    [
        (send_nothing, b"", "handshake-timeout"),
        (send_one_octet, b"", "handshake-timeout"),
        (secure_and_silent, b"", "header-timeout"),
        (after_a_request, b"", None),
        (half_a_head, b"x", "header-timeout"),
        (half_a_body, b" ", None),
    ],
)
def test_whoever_waits_is_let_go(
    waiting_registry: Registry, hold: Callable[[Registry], socket.socket], trickle: bytes, reason: str | None
) -> None:
    registry = waiting_registry
    begun = time.monotonic()
    before = registry.curl("/metrics").body.decode()
    with contextlib.closing(hold(registry)) as sock:
        sock.setblocking(False)

        def ended() -> bool:
            with contextlib.suppress(OSError):
                sock.send(trickle)
            return not is_open(sock)

        wait_for(ended, "the server to end it", timeout=20, interval=0.3)
    print(f"{hold.__name__}: ended after {time.monotonic() - begun:.1f} s")
    if reason:
        pattern = re.compile(rf'iot_registry_connections_dropped_total{{reason="{reason}"}} (\S+)')
        after = registry.curl("/metrics").body.decode()
        assert float(pattern.findall(after)[0]) > float(pattern.findall(before)[0])


@pytest.fixture(scope="module")
def waiting_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    limits = dict.fromkeys(("handshake_seconds", "header_seconds", "body_seconds", "idle_seconds", "send_seconds"), 1.5)
    with registry_with(tmp_path_factory.mktemp("waiting"), **limits) as registry:
        yield registry


def test_a_client_that_does_not_read_is_let_go(waiting_registry: Registry) -> None:
    registry = waiting_registry
    with contextlib.closing(secured(registry)) as sock:
        sock.setblocking(False)

        def ended() -> bool:
            # Each is answered with some 30 kB, until the socket's buffers are full.
            with contextlib.suppress(OSError):
                sock.send(b"GET /v1/openapi.json HTTP/1.1\r\nHost: r\r\n\r\n")
            return any(line["reason"] == "send-timeout" for line in dropped(registry))

        wait_for(ended, "the server to end it", timeout=30, interval=0.005)


def test_requests_ahead_of_their_time_are_bounded(waiting_registry: Registry) -> None:
    registry = waiting_registry
    key = registry.key("feed:read")
    seq = registry.api("GET", "/v1/snapshot", key).json["seq"]
    sock = secured(registry)
    try:
        poll = f"GET /v1/changes?since={seq}&wait=20 HTTP/1.1\r\nHost: r\r\nAuthorization: Bearer {key}\r\n\r\n"
        sock.sendall(poll.encode())
        wait_for(lambda: "iot_registry_feed_consumers 1.0" in registry.curl("/metrics").body.decode(), "it to wait")
        with contextlib.suppress(OSError):
            for _ in range(500):
                sock.sendall(HEAD + b"X: " + b"x" * 1000 + b"\r\n\r\n")
        wait_for(lambda: any(line["reason"] == "flooded" for line in dropped(registry)), "the server to end it")
    finally:
        sock.close()


def test_clients_behind_a_known_proxy_are_not_counted_as_one(tmp_path: Path) -> None:
    with registry_with(tmp_path, total=40, per_address=2, shared_addresses=["127.0.0.8/32"]) as registry:
        held = [secured(registry, "127.0.0.8") for _ in range(12)]
        try:
            assert answered(registry, "127.0.0.8")
            others = [secured(registry, "127.0.0.9") for _ in range(2)]
            assert not answered(registry, "127.0.0.9")
            held += others
        finally:
            for sock in held:
                sock.close()


def test_more_connections_than_files_are_refused_at_the_start(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry", options=settings(total=100_000)).prepare()
    done = registry.run("serve", check=False)
    assert done.returncode == 1
    assert "connections.total: found 100000" in done.stderr
    assert "LimitNOFILE" in done.stderr


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (b"\x00\x01\x02\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(40)) + b"\r\n", 400),
    ],
)
def test_what_is_not_http_gets_a_plain_refusal(sqlite_registry: Registry, first: bytes, status: int) -> None:
    registry = sqlite_registry
    with contextlib.closing(secured(registry)) as sock:
        sock.sendall(first)
        answer = b""
        with contextlib.suppress(OSError):
            while part := sock.recv(4096):
                answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.[01] %d " % status, head), answer
    assert b"\r\nserver:" not in head.lower()
    assert b"content-type: application/problem+json" in head.lower()
    assert json.loads(body)["reason"] == "malformed"
    assert "Traceback" not in (registry.folder / "serve.log").read_text()
