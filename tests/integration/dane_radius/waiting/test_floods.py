"""Floods of the control socket and the metrics port, beside devices that wait."""

from __future__ import annotations

import resource
import socket
import threading
from pathlib import Path

import pytest

from dane_radius.local.control_socket import ask
from tests.harness.process import wait_for
from tests.integration.dane_radius.waiting.place import FAR, Place, accepted

pytestmark = pytest.mark.daemons


def test_floods_of_the_control_socket_and_the_metrics_port_do_not_end_a_wait(place: Place) -> None:
    devices = place.devices(FAR, 20)
    place.relay.set(round_trip=0.06)
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            ask(str(place.radius.control_socket), "status")
            place.radius.metrics()

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert accepted(place.storm(devices)) == 20
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def test_a_thousand_idle_connections_to_the_metrics_port_refuse_nobody(place: Place) -> None:
    """A server that is short of descriptors cannot write a TLS session, and refuses every device."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    idle = []
    try:
        for _ in range(1100):
            try:
                idle.append(socket.create_connection(("127.0.0.1", place.radius.metrics_port), timeout=1))
            except OSError:
                # The queue is full, which refuses the connection as well.
                break
        assert len(idle) > 8
        assert accepted(place.storm(place.devices(FAR, 20))) == 20
        assert place.radius.daemon is not None
        assert len(list(Path(f"/proc/{place.radius.daemon.pid}/fd").iterdir())) < 200
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    def scraped() -> bool:
        try:
            return "dane_radius_build_info" in place.radius.metrics()
        except (OSError, IndexError):
            # Closed without an answer: the server still holds idle connections.
            return False

    wait_for(scraped, "the next scrape", 20)
