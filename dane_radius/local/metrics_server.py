"""The HTTP listener that Prometheus scrapes.

It runs in radiusd's process, whose descriptors and threads it must not exhaust. Both the number of connections and the
duration of each are therefore limited, even if a client sends slowly. A connection beyond the limit is closed at once.
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
# A scrape takes milliseconds.
_MAX_CONNECTION_SECONDS = 10.0
_IO_TIMEOUT_SECONDS = 3.0
# How long `stop` waits at most for the serving thread to notice.
_POLL_SECONDS = 0.1


class _Handler(BaseHTTPRequestHandler):
    """Serves GET /metrics and refuses everything else. One request per connection."""

    server: MetricsServer
    # For each read and each write: see socketserver.StreamRequestHandler.
    timeout = _IO_TIMEOUT_SECONDS
    server_version = "dane-radius"
    sys_version = ""

    def do_GET(self) -> None:
        """Send all metrics, in the format that the client accepts."""
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

    def log_message(self, format: str, *args: Any) -> None:  # the base class's name
        """Does nothing: requests are not logged."""


class MetricsServer(ThreadingMixIn, HTTPServer):
    """Serves the metrics of a registry. Housekeeping must call `close_overdue` regularly."""

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
        """As in the base class, but without a DNS lookup of the host's own name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def start(self) -> None:
        """Start a thread that serves."""
        threading.Thread(target=self.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True).start()

    def stop(self) -> None:
        """Stop serving, and close the listener."""
        self.shutdown()
        self.server_close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the connection is within the limit. The base class closes it otherwise."""
        with self._lock:
            if len(self._open) >= MAX_CONNECTIONS:
                return False
            self._open[request] = time.monotonic()
        return True

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, and stop counting it."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Does nothing: a client that disconnects early is not an error to report."""

    def close_overdue(self) -> int:
        """Close connections that have lasted too long, even active ones; returns the number closed."""
        horizon = time.monotonic() - _MAX_CONNECTION_SECONDS
        with self._lock:
            overdue = [request for request, began in self._open.items() if began < horizon]
            for request in overdue:
                # The next read or write of the connection's thread fails, which ends the thread.
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
        return len(overdue)
