"""wpa_supplicant's control interface: datagrams over a Unix socket. Events start with a priority, such as `<3>`."""

from __future__ import annotations

import socket
from pathlib import Path


class ControlInterface:
    """A connection to the control socket at `path`. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._events: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            # An abstract address that the kernel chooses: wpa_supplicant sends its responses to it.
            self._socket.bind("")
            self._socket.connect(str(path))
            if self.request("ATTACH").strip() != "OK":
                raise OSError("ATTACH was refused")
        except OSError:
            self.close()
            raise

    def request(self, command: str, timeout: float = 2.0) -> str:
        """Send a command and return its response. Events that arrive in between are kept. Raises OSError."""
        self._socket.settimeout(timeout)
        self._socket.send(command.encode())
        while True:
            text = self._socket.recv(65536).decode("utf-8", "replace")
            if not text.startswith("<"):
                return text
            self._events.append(text.partition(">")[2])

    def event(self, timeout: float) -> str | None:
        """The next event, or None after `timeout` seconds, or when wpa_supplicant has ended."""
        if self._events:
            return self._events.pop(0)
        self._socket.settimeout(timeout)
        try:
            text = self._socket.recv(65536).decode("utf-8", "replace")
        except OSError:
            return None
        return text.partition(">")[2] if text.startswith("<") else text

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
