"""Where Prometheus scrapes: a listener that cannot take the RADIUS server's descriptors or threads away.

It runs in radiusd's process. So there are few connections at once, each for a short time, whoever opens them and
however slowly it speaks; one too many is closed at once.
"""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

MAX_CONNECTIONS = 8
# A scrape takes milliseconds. Seconds.
_MAX_CONNECTION_SECONDS = 10.0
_MAX_PAUSE_SECONDS = 3.0
# How soon `stop` is noticed.
_POLL_SECONDS = 0.1


class _Handler(BaseHTTPRequestHandler):
    """GET /metrics; everything else is refused. One request a connection."""

    server: MetricsServer
    # For each read and write: see socketserver.StreamRequestHandler.
    timeout = _MAX_PAUSE_SECONDS
    server_version = "dane-radius"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with every metric, in the format that the scraper asks for."""
        if self.path.partition("?")[0] not in ("/", "/metrics"):
            self.send_error(404)
            return
        encoder, content_type = choose_encoder(self.headers.get("Accept", ""))
        body = encoder(self.server.metrics)
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # the name that the base class gives it
        """Strangers' requests are not worth a line each."""


class MetricsServer(ThreadingMixIn, HTTPServer):
    """Serves a registry. `close_overdue` is for the housekeeping."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: str, port: int, metrics: CollectorRegistry) -> None:
        """Bind. Raises OSError."""
        self.metrics = metrics
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._lock = threading.Lock()
        self._open: dict[Any, float] = {}
        super().__init__((address, port), _Handler)

    def server_bind(self) -> None:
        """As the base class's, without asking the DNS for our own name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def start(self) -> None:
        """Serve, from a thread."""
        threading.Thread(target=self.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True).start()

    def stop(self) -> None:
        """End serving and close the listener."""
        self.shutdown()
        self.server_close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for a connection; without, it is closed."""
        with self._lock:
            if len(self._open) >= MAX_CONNECTIONS:
                return False
            self._open[request] = time.monotonic()
        return True

    def shutdown_request(self, request: Any) -> None:
        """A connection is over."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper that leaves in the middle is no error of ours."""

    def close_overdue(self) -> int:
        """End connections that last too long, however busy they look; returns how many."""
        horizon = time.monotonic() - _MAX_CONNECTION_SECONDS
        with self._lock:
            overdue = [request for request, began in self._open.items() if began < horizon]
            for request in overdue:
                # The thread that serves it finds its socket shut, and ends.
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
        return len(overdue)
