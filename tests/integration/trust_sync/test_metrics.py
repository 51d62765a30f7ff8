"""The listener for Prometheus: connections that send nothing, or very little, do not stop scrapes or the worker."""

from __future__ import annotations

import contextlib
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.process import wait_for
from tests.harness.trust_sync import TrustSync

# More than the listener accepts at once.
CONNECTIONS = 100
# The listener's own bounds are 3 s for a pause and 10 s for a connection.
PATIENCE_SECONDS = 60


@pytest.fixture
def sync(tmp_path: Path) -> Iterator[TrustSync]:
    (tmp_path / "policy.yaml").write_text(
        "version: 1\nrules:\n  - {name: all, identity: ['**.example.net'], grant: {vlan: 1}}\n"
    )
    module = tmp_path / "dane-radius.toml"
    module.write_text(
        f'policy = "{tmp_path}/policy.yaml"\nanchors = "{tmp_path}/anchors"\ncontrol_socket = "{tmp_path}/none.sock"\n'
    )
    with TrustSync(tmp_path / "sync", module) as sync:
        yield sync


def scrape(sync: TrustSync) -> str:
    """The metrics; empty when the listener refuses the connection."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{sync.metrics_port}/metrics", timeout=5) as reply:
            text: str = reply.read().decode()
            return text
    except OSError:
        return ""


def threads(sync: TrustSync) -> int:
    assert sync.daemon is not None
    found = re.search(r"^Threads:\s+(\d+)$", Path(f"/proc/{sync.daemon.pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def connect(sync: TrustSync, stack: contextlib.ExitStack) -> list[socket.socket]:
    address = "127.0.0.1", sync.metrics_port
    return [stack.enter_context(socket.create_connection(address, 5)) for _ in range(CONNECTIONS)]


def test_the_metrics_can_be_scraped(sync: TrustSync) -> None:
    assert "trust_sync_build_info{" in scrape(sync)


def test_idle_connections_stop_neither_scrapes_nor_the_worker(sync: TrustSync) -> None:
    with contextlib.ExitStack() as stack:
        connect(sync, stack)
        assert sync.status()["anchor_count"] == 0
        # Most of them were closed; none of those has a thread.
        assert threads(sync) < CONNECTIONS
        wait_for(lambda: scrape(sync), "a scrape", timeout=PATIENCE_SECONDS)
        assert sync.status()["anchor_count"] == 0


def test_connections_that_send_an_octet_now_and_then_are_ended(sync: TrustSync) -> None:
    """They never pause for long enough to be ended for that."""
    with contextlib.ExitStack() as stack:
        slow = connect(sync, stack)
        for connection in slow:
            with contextlib.suppress(OSError):
                connection.sendall(b"GET /metrics HTTP/1.1\r\nX-Slow: ")

        def send_and_scrape() -> str:
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.sendall(b"x")
            return scrape(sync)

        wait_for(send_and_scrape, "a scrape", timeout=PATIENCE_SECONDS)
        assert sync.status()["anchor_count"] == 0
