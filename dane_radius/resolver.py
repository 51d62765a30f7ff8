"""Ask the validating resolver: sockets, retransmission and deadlines around `dns_wire`.

The AD flag means something only over a path that nobody can write to: loopback, or DNS over TLS to a resolver that is
authenticated (RFC 6698 section 8.3; RFC 7671 section 10.1). Plain DNS to any other address is a configuration error.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import Protocol

from dane_radius.answers import Answer, Unavailable
from dane_radius.dns_wire import Truncated, WireError, decode_response, encode_query, interpret

# Unbound never sends a reply later than its discard-timeout (1.9 s), so waiting longer for one datagram is useless.
DEFAULT_TIMEOUT_SECONDS = 1.5
DEFAULT_RETRANSMIT_SECONDS = 0.2
_MAX_DATAGRAM_OCTETS = 65535


class Resolver(Protocol):
    """Anything that can look up the TLSA RRset of a normalized name, within its own bounded time."""

    def lookup(self, name: str) -> Answer:
        """Never raises: what goes wrong is an answer, too."""


def check_loopback(address: str) -> None:
    """Raises ValueError unless `address` is a loopback address."""
    try:
        loopback = ipaddress.ip_address(address).is_loopback
    except ValueError as error:
        raise ValueError(f"{address!r} is not an IP address") from error
    if not loopback:
        raise ValueError(
            f"plain DNS to {address} could be forged on the way; a loopback address or DNS over TLS is expected"
        )


@dataclass(frozen=True)
class LoopbackResolver:
    """A validating resolver on this host: UDP with retransmission, TCP when the answer is truncated.

    `timeout` and `retransmit` are seconds: the whole time that one lookup may take, and the time after which the
    question is sent again.
    """

    address: str = "127.0.0.1"
    port: int = 53
    timeout: float = DEFAULT_TIMEOUT_SECONDS
    retransmit: float = DEFAULT_RETRANSMIT_SECONDS

    def __post_init__(self) -> None:
        check_loopback(self.address)

    def lookup(self, name: str) -> Answer:
        """The TLSA RRset of `name`; `Unavailable` when no good answer comes within `timeout`."""
        deadline = time.monotonic() + self.timeout
        try:
            try:
                return self._over_udp(name, deadline)
            except Truncated:
                return over_tcp(name, self._connect_tcp(deadline), deadline)
        except TimeoutError:
            return Unavailable(f"no answer from {self} within {self.timeout:g} s")
        except ConnectionRefusedError:
            return Unavailable(f"{self} is not listening")
        except OSError as error:
            return Unavailable(f"{self}: {error.strerror or error}")
        except WireError as error:
            return Unavailable(f"{self} sent a malformed answer: {error}")

    def __str__(self) -> str:
        return f"resolver {self.address} port {self.port}"

    @property
    def _family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET

    def _over_udp(self, name: str, deadline: float) -> Answer:
        message_id = secrets.randbelow(0x10000)
        query = encode_query(name, message_id)
        # A socket per lookup costs as little as a kept one, has a fresh source port, and no late answers of others.
        with socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as udp:
            udp.connect((self.address, self.port))
            last_error: WireError | None = None
            while (now := time.monotonic()) < deadline:
                udp.send(query)
                resend = min(now + self.retransmit, deadline)
                while (left := resend - time.monotonic()) > 0:
                    udp.settimeout(left)
                    try:
                        octets = udp.recv(_MAX_DATAGRAM_OCTETS)
                    except TimeoutError:
                        break
                    try:
                        message = decode_response(octets, name, message_id)
                    except Truncated:
                        raise
                    except WireError as error:
                        # Not an answer to us, or garbage: keep waiting for a good one until the deadline.
                        last_error = error
                        continue
                    # Our answer: if it contradicts itself, a second copy would do the same.
                    return interpret(message, name)
            if last_error is not None:
                raise last_error
            raise TimeoutError

    def _connect_tcp(self, deadline: float) -> socket.socket:
        return socket.create_connection((self.address, self.port), timeout=_left(deadline))


def over_tcp(name: str, stream: socket.socket, deadline: float) -> Answer:
    """Ask over a connected stream (TCP or TLS), and close it. Raises OSError, TimeoutError, WireError."""
    with stream:
        message_id = secrets.randbelow(0x10000)
        query = encode_query(name, message_id)
        stream.settimeout(_left(deadline))
        stream.sendall(struct.pack("!H", len(query)) + query)
        (size,) = struct.unpack("!H", _receive(stream, 2, deadline))
        octets = _receive(stream, size, deadline)
        return interpret(decode_response(octets, name, message_id), name)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _receive(stream: socket.socket, size: int, deadline: float) -> bytes:
    chunks = bytearray()
    while len(chunks) < size:
        stream.settimeout(_left(deadline))
        chunk = stream.recv(size - len(chunks))
        if not chunk:
            raise WireError("the connection ended in the middle of a message")
        chunks += chunk
    return bytes(chunks)


@dataclass(frozen=True)
class TlsResolver:
    """A validating resolver elsewhere, over DNS over TLS (RFC 7858), authenticated by name or by pinned key.

    `server_name` is checked against the certificate, whose CA is in `ca_file` (None: the system's trust store).
    """

    address: str
    server_name: str
    port: int = 853
    ca_file: str | None = None
    timeout: float = DEFAULT_TIMEOUT_SECONDS

    def lookup(self, name: str) -> Answer:
        """As `LoopbackResolver.lookup`. A server that fails authentication gives `Unavailable`, never an answer."""
        deadline = time.monotonic() + self.timeout
        try:
            return over_tcp(name, self._connect(deadline), deadline)
        except TimeoutError:
            return Unavailable(f"no answer from {self} within {self.timeout:g} s")
        except ssl.SSLError as error:
            return Unavailable(f"{self} did not authenticate: {error.reason or error}")
        except OSError as error:
            return Unavailable(f"{self}: {error.strerror or error}")
        except WireError as error:
            return Unavailable(f"{self} sent a malformed answer: {error}")

    def __str__(self) -> str:
        return f"resolver {self.server_name} ({self.address} port {self.port}, TLS)"

    def _connect(self, deadline: float) -> socket.socket:
        context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        stream = socket.create_connection((self.address, self.port), timeout=_left(deadline))
        try:
            stream.settimeout(_left(deadline))
            return context.wrap_socket(stream, server_hostname=self.server_name)
        except BaseException:
            stream.close()
            raise
