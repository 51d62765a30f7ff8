"""A TCP connection to the registry that breaks after a request for a certificate."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field

from tests.harness.process import free_port, wait_for
from tests.integration.iot_registry.parts import Registry

#: A TLS record of application data from the client that is at least this long carries a certificate request.
REQUEST_BYTES = 400


@dataclass
class BreakingConnection:
    """Forwards a port to the registry, and breaks after a request for a certificate `cuts` times.

    It breaks once the registry has responded, which its metrics show. So the response is lost, not the request.
    """

    registry: Registry
    port: int = field(default_factory=free_port)
    #: How many more connections break, and how many responses were lost.
    cuts: int = 0
    lost: int = 0
    #: Whether clients send a certificate in TLS 1.3. Encrypted, it looks like a request, and precedes it.
    certificates: bool = False

    def answers(self) -> float:
        """How many certificate requests the registry has responded to."""
        lines = self.registry.curl("/metrics").body.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("iot_registry_enrollments_total"))

    def __enter__(self) -> BreakingConnection:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        threads: list[threading.Thread] = []
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                break
            thread = threading.Thread(target=self._carry, args=(client,), daemon=True)
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join(5)

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.registry.port)) as server:
            asked = threading.Event()
            back = threading.Thread(target=self._back, args=(server, client, asked), daemon=True)
            back.start()
            before = self.answers() if self.cuts > 0 else 0
            pending, large = b"", 0
            try:
                while data := client.recv(65536):
                    pending += data
                    while len(pending) >= 5 and len(pending) >= (size := 5 + int.from_bytes(pending[3:5], "big")):
                        large += pending[0] == 23 and size > REQUEST_BYTES
                        if large > self.certificates and self.cuts > 0 and not asked.is_set():
                            self.cuts -= 1
                            asked.set()
                        pending = pending[size:]
                    server.sendall(data)
                    if asked.is_set():
                        wait_for(lambda: self.answers() > before, "the registry's answer")
                        self.lost += 1
                        # The connection ends without a closing alert, as when a modem loses its network.
                        client.shutdown(socket.SHUT_RDWR)
                        server.shutdown(socket.SHUT_RDWR)
                        break
                else:
                    server.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            back.join(10)

    def _back(self, server: socket.socket, client: socket.socket, asked: threading.Event) -> None:
        try:
            while data := server.recv(65536):
                if not asked.is_set():
                    client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass
