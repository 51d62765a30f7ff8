"""A NAS that takes Disconnect- and CoA-Requests, on a loopback port."""

from __future__ import annotations

import contextlib
import io
import socket
import threading

from pyrad.dictionary import Dictionary
from pyrad.packet import CoANAK, CoAPacket, CoARequest, DisconnectNAK

from trust_sync.sessions.disconnector import Disconnector
from trust_sync.sessions.nas_directory import NasDirectory
from trust_sync.shared import NasConfig

DICTIONARY = Dictionary(io.StringIO("ATTRIBUTE Error-Cause 101 integer\n"))


class Nas:
    """A NAS on a UDP port. It drops the first `drop` requests, and then sends `replies`, of which the last repeats."""

    def __init__(self, replies: list[int | None], drop: int = 0, secret: bytes = b"s") -> None:
        self.replies, self.drop, self.secret = replies, drop, secret
        self.requests: list[bytes] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = self.socket.recvfrom(4096)
                if not data:
                    return
                self.requests.append(data)
                if self.drop:
                    self.drop -= 1
                    # Noise: for another request, with a wrong authenticator, and without RADIUS format.
                    for noise in (b"", b"x" * 30, bytes([41, data[1], 0, 20]) + bytes(16)):
                        self.socket.sendto(noise, peer)
                    continue
                cause = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                request = CoAPacket(packet=data, secret=self.secret, dict=DICTIONARY)
                reply = request.CreateReply()
                if cause is not None:
                    reply.code = CoANAK if data[0] == CoARequest else DisconnectNAK
                    reply["Error-Cause"] = cause
                self.socket.sendto(reply.ReplyPacket(), peer)

    def __enter__(self) -> Nas:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"", ("127.0.0.1", self.port))
        self.thread.join(5)
        self.socket.close()

    def disconnector(self) -> Disconnector:
        directory = NasDirectory.from_config([NasConfig(address="127.0.0.0/8", secret="s", port=self.port)])
        return Disconnector(directory, 0.2, 3, lambda: 1_700_000_000.0)
