"""The metrics listener, with ordinary and with hostile clients."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from dane_radius.local import metrics_server
from dane_radius.local.metrics_server import MAX_CONNECTIONS, MetricsServer
from dane_radius.server.metrics import Metrics
from tests.unit.dane_radius.script import WAIT, until


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    server = MetricsServer("127.0.0.1", 0, Metrics().registry)
    server.start()
    yield server
    server.stop()


def connect(server: MetricsServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.server_port), timeout=WAIT)


def scrape(server: MetricsServer, path: str = "/metrics", method: str = "GET", accept: str = "*/*") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=WAIT)
    try:
        connection.request(method, path, headers={"Accept": accept})
        response = connection.getresponse()
        assert "Python" not in (response.headers["Server"] or "")
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_a_scrape_shows_every_metric(server: MetricsServer) -> None:
    status, text = scrape(server)
    assert status == 200
    assert 'dane_radius_decisions_total{monitored="false",reason="dane_match",verdict="accept"} 0.0' in text
    assert scrape(server, "/")[0] == 200
    assert scrape(server, "/metrics?name=x")[0] == 200
    assert scrape(server, accept="application/openmetrics-text; version=1.0.0")[1].endswith("# EOF\n")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/etc/passwd", 404), ("POST", "/metrics", 501)])
def test_everything_else_is_refused(server: MetricsServer, method: str, path: str, status: int) -> None:
    assert scrape(server, path, method)[0] == status


def test_a_thousand_idle_connections_are_limited_to_eight_and_closed(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    idle = [connect(server) for _ in range(300)]
    until(lambda: len(server._open) == MAX_CONNECTIONS)
    # One descriptor for each client, and one of the server for each connection that it keeps.
    until(lambda: len(os.listdir("/proc/self/fd")) <= before + 300 + MAX_CONNECTIONS)
    assert threading.active_count() <= threads + MAX_CONNECTIONS + 1
    monkeypatch.setattr(metrics_server, "_MAX_CONNECTION_SECONDS", 0.0)
    assert server.close_overdue() == MAX_CONNECTIONS
    until(lambda: not server._open)
    for connection in idle:
        connection.close()
    assert scrape(server)[0] == 200


def test_a_connection_that_sends_slowly_is_closed(server: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(server) as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        until(lambda: len(server._open) == 1)
        slow.sendall(b"x")
        monkeypatch.setattr(metrics_server, "_MAX_CONNECTION_SECONDS", 0.0)
        server.close_overdue()
        slow.settimeout(WAIT)
        assert slow.recv(100) == b""
    until(lambda: not server._open)


@pytest.mark.parametrize(
    "octets", [b"", b"\r\n\r\n", b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"x" * 200_000]
)
def test_an_invalid_request_affects_only_its_own_connection(
    server: MetricsServer, octets: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    # The server may close the connection before everything is sent.
    with connect(server) as hostile, contextlib.suppress(OSError):
        hostile.sendall(octets)
        hostile.shutdown(socket.SHUT_WR)
        while hostile.recv(65536):
            pass
    until(lambda: not server._open)
    assert scrape(server)[0] == 200
    assert capsys.readouterr().err == ""
