"""A TLS server for one connection, which requires a client certificate and echoes one message."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.pki import Identity, authority

CA = authority("TLS CA")
SERVER = CA.issue("localhost", eku=None)
Serve = Callable[..., int]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a server for one connection, which echoes one message. Returns its port."""
    threads: list[threading.Thread] = []

    def begin(server: Identity = SERVER, *, silent: bool = False, clients: Identity = CA) -> int:
        certificate, key = server.save(tmp_path, "server")
        (tmp_path / "clients.pem").write_bytes(clients.pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(tmp_path / "clients.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        listener = socket.create_server(("127.0.0.1", 0))

        def run() -> None:
            with listener:
                connection, _ = listener.accept()
                connection.settimeout(20)
                with connection:
                    if silent:
                        connection.recv(1000)
                        while connection.recv(1000):
                            pass
                        return
                    try:
                        with context.wrap_socket(connection, server_side=True) as tls:
                            tls.sendall(tls.recv(100))
                    except OSError:
                        pass

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
        port: int = listener.getsockname()[1]
        return port

    yield begin
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
