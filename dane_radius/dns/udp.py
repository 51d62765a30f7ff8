"""DNS over UDP to a resolver on loopback: thousands of questions at once over few sockets.

A question is told from others by its socket's port and its id, both random. A socket is connected, so the kernel drops
what comes from elsewhere, and is replaced after some thousand questions, so that its port does not stay the same.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from dataclasses import dataclass, field

from dane_radius.answers import Answer, Unavailable
from dane_radius.dns.stream import StreamClient
from dane_radius.dns.wire import Truncated, WireError, decode_response, encode_query, interpret

_SOCKETS = 4
_QUESTIONS_PER_SOCKET = 10_000
# Of the 65,536 ids of a socket: a free one is found at once, and a guess hits rarely.
_MAX_OPEN_PER_SOCKET = 4096
# Answers that come in one burst must fit: the kernel counts about 0.8 KiB for each. The system's limit may be lower.
_RECEIVE_BUFFER_OCTETS = 1 << 20
_MAX_DATAGRAM_OCTETS = 65535
# Datagrams taken from one socket before the event loop sees to the others.
_DATAGRAMS_AT_ONCE = 64


@dataclass(eq=False)
class _Question:
    """One lookup: what was asked, and who awaits the answer. Times are the event loop's."""

    name: str
    message_id: int
    query: bytes
    deadline: float
    pause: float
    done: asyncio.Future[Answer | None]
    timer: asyncio.TimerHandle | None = None
    last_error: WireError | None = None
    refused: bool = False


@dataclass(eq=False)
class _Socket:
    udp: socket.socket
    questions: dict[int, _Question] = field(default_factory=dict)
    asked: int = 0


class UdpClient:
    """Asks one resolver on this host over UDP, and over TCP what does not fit. For one event loop."""

    def __init__(self, address: str, port: int, title: str, *, timeout: float, retransmit: float) -> None:
        """`title` names the resolver in what goes wrong. Times are seconds: see `LoopbackResolver`."""
        self._peer = (address, port)
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._title, self._timeout, self._retransmit = title, timeout, retransmit
        self._sockets: list[_Socket] = []
        # Replaced ones, for as long as they await answers.
        self._retired: list[_Socket] = []
        self._tcp = StreamClient(address, port, title, timeout=timeout)

    async def lookup(self, name: str) -> Answer:
        """As `Client.lookup`. A resolver that does not listen is asked again until the time is over: it may restart."""
        deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            answer = await self._ask(name, deadline)
        except WireError as error:
            return Unavailable(f"{self._title} cannot be asked: {error}")
        except OSError as error:
            return Unavailable(f"{self._title}: {error.strerror or error}")
        if answer is None:
            return await self._tcp.lookup_until(name, deadline)
        return answer

    async def _ask(self, name: str, deadline: float) -> Answer | None:
        """The answer over UDP; None when it is truncated. Raises WireError for a name without a wire form, OSError."""
        channel = self._socket()
        message_id = secrets.randbelow(0x10000)
        while message_id in channel.questions:
            message_id = secrets.randbelow(0x10000)
        query = encode_query(name, message_id)
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        question = _Question(name, message_id, query, deadline, self._retransmit, future)
        channel.questions[message_id] = question
        channel.asked += 1
        try:
            self._send(channel, question)
            return await future
        finally:
            if question.timer is not None:
                question.timer.cancel()
            channel.questions.pop(message_id, None)
            if channel in self._retired and not channel.questions:
                self._retired.remove(channel)
                self._close(channel)

    def _socket(self) -> _Socket:
        """One of the sockets, by chance; a new one while there are few."""
        if len(self._sockets) < _SOCKETS:
            channel = self._open()
            self._sockets.append(channel)
            return channel
        index = secrets.randbelow(_SOCKETS)
        channel = self._sockets[index]
        if channel.asked >= _QUESTIONS_PER_SOCKET:
            fresh = self._open()
            self._sockets[index] = fresh
            if channel.questions:
                self._retired.append(channel)
            else:
                self._close(channel)
            return fresh
        if len(channel.questions) >= _MAX_OPEN_PER_SOCKET:
            raise OSError(f"{_MAX_OPEN_PER_SOCKET} questions are open on one socket")
        return channel

    def _open(self) -> _Socket:
        udp = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_OCTETS)
            udp.connect(self._peer)
        except OSError:
            udp.close()
            raise
        channel = _Socket(udp)
        asyncio.get_running_loop().add_reader(udp, self._receive, channel)
        return channel

    def _close(self, channel: _Socket) -> None:
        asyncio.get_running_loop().remove_reader(channel.udp)
        channel.udp.close()

    def _send(self, channel: _Socket, question: _Question) -> None:
        """Send the question, and set the time for the next copy of it, or for giving up."""
        try:
            channel.udp.send(question.query)
        except BlockingIOError:
            # The send buffer is full. The copy that follows makes up for it.
            pass
        except ConnectionRefusedError:
            # An ICMP error for an earlier datagram of any question of this socket; this one was not sent.
            question.refused = True
        except OSError as error:
            if not question.done.done():
                question.done.set_exception(error)
            return
        loop = asyncio.get_running_loop()
        due = min(loop.time() + question.pause, question.deadline)
        question.pause *= 2
        question.timer = loop.call_at(due, self._overdue, channel, question)

    def _overdue(self, channel: _Socket, question: _Question) -> None:
        if question.done.done():
            return
        # A timer may fire a little early, by the resolution of the clock.
        if asyncio.get_running_loop().time() < question.deadline - 0.001:
            self._send(channel, question)
        else:
            question.done.set_result(Unavailable(self._why_not(question)))

    def _why_not(self, question: _Question) -> str:
        if question.last_error is not None:
            return f"{self._title} sent a malformed answer: {question.last_error}"
        if question.refused:
            return f"{self._title} is not listening"
        return f"no answer from {self._title} within {self._timeout:g} s"

    def _receive(self, channel: _Socket) -> None:
        for _ in range(_DATAGRAMS_AT_ONCE):
            try:
                octets = channel.udp.recv(_MAX_DATAGRAM_OCTETS)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                for question in channel.questions.values():
                    question.refused = True
                continue
            except OSError:
                return
            self._take(channel, octets)

    def _take(self, channel: _Socket, octets: bytes) -> None:
        question = channel.questions.get(int.from_bytes(octets[:2], "big"))
        if question is None or question.done.done():
            return
        try:
            message = decode_response(octets, question.name, question.message_id)
        except Truncated:
            question.done.set_result(None)
            return
        except WireError as error:
            # No answer to this question: a good one may still come.
            question.last_error = error
            return
        try:
            answer: Answer = interpret(message, question.name)
        except WireError as error:
            # Our answer. If it contradicts itself, a second copy would do the same.
            answer = Unavailable(f"{self._title} sent a malformed answer: {error}")
        question.done.set_result(answer)

    async def close(self) -> None:
        """As `Client.close`."""
        for channel in (*self._sockets, *self._retired):
            for question in channel.questions.values():
                if not question.done.done():
                    question.done.set_result(Unavailable("the lookup was ended"))
            self._close(channel)
        self._sockets, self._retired = [], []
        await self._tcp.close()
