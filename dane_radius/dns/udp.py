"""DNS over UDP to a resolver on loopback: thousands of questions at the same time over a few sockets.

A socket's port and a message id, both random, identify a question. The sockets are connected, so the kernel drops
datagrams from other sources. A socket is replaced after 10,000 questions, so that its port changes.

Any thread may send a question; that saves the event loop a wake-up for each. The event loop does the rest: it receives
answers, and it retransmits.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import secrets
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from dane_radius.core.answers import Answer, Unavailable
from dane_radius.dns.interpret import interpret
from dane_radius.dns.stream import StreamClient
from dane_radius.dns.wire import Truncated, WireError, decode_response, encode_query

Done = Callable[[Answer], None]

_SOCKETS = 4
_QUESTIONS_PER_SOCKET = 10_000
# Of the 65,536 message ids of a socket. A free one is found quickly, and few of a forger's guesses match an open one.
_MAX_OPEN_PER_SOCKET = 4096
# A burst of answers must fit; the kernel accounts about 0.8 KiB for each. The system's limit may be lower.
_RECEIVE_BUFFER_OCTETS = 1 << 20
_MAX_DATAGRAM_OCTETS = 65535
# Datagrams read from one socket before the event loop serves the others.
_DATAGRAMS_AT_ONCE = 64
# How often the event loop checks for due retransmissions and deadlines.
_TICK_SECONDS = 0.05


@dataclass(eq=False, slots=True)
class _Question:
    """One lookup: its question, and the callback for its answer. Times are those of the event loop's clock."""

    name: str
    message_id: int
    query: bytes
    deadline: float
    pause: float
    channel: _Socket
    done: Done
    # What went wrong last, for the case that no answer arrives.
    last_error: str | None = None
    refused: bool = False
    answered: bool = False


@dataclass(eq=False, slots=True)
class _Socket:
    udp: socket.socket
    questions: dict[int, _Question] = field(default_factory=dict)
    asked: int = 0


class UdpClient:
    """Asks one resolver on this host over UDP, and over TCP if an answer is truncated. Needs one running event loop."""

    def __init__(
        self, address: str, port: int, title: str, *, timeout: float, retransmit: float, allow_sha1: bool = False
    ) -> None:
        """`title` names the resolver in messages. The other arguments are those of `LoopbackResolver`."""
        self._peer = (address, port)
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._title, self._timeout, self._retransmit, self._allow_sha1 = title, timeout, retransmit, allow_sha1
        self._loop: asyncio.AbstractEventLoop | None = None
        # Guards the sockets, the allocation of message ids, and the heap of due times.
        self._lock = threading.Lock()
        self._sockets: list[_Socket] = []
        # Replaced sockets that still expect answers.
        self._retired: list[_Socket] = []
        self._due: list[tuple[float, int, _Question]] = []
        self._order = itertools.count()
        self._tick: asyncio.TimerHandle | None = None
        self._tcp = StreamClient(address, port, title, timeout=timeout, allow_sha1=allow_sha1)
        self._over_tcp: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Open the sockets, in the event loop. Raises OSError."""
        self._loop = asyncio.get_running_loop()
        while len(self._sockets) < _SOCKETS:
            self._sockets.append(self._open())
        self._tick = self._loop.call_later(_TICK_SECONDS, self._handle_due)

    async def lookup(self, name: str) -> Answer:
        """As `Client.lookup`. If the resolver does not listen, the question is sent again until the timeout."""
        try:
            if self._loop is None:
                self.start()
        except OSError as error:
            return Unavailable(f"{self._title}: {error.strerror or error}")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.ask(name, lambda answer: None if future.done() else future.set_result(answer))
        return await future

    def ask(self, name: str, done: Done) -> None:
        """As `Client.ask`."""
        loop = self._loop
        assert loop is not None
        now = loop.time()
        try:
            with self._lock:
                channel = self._sockets[secrets.randbelow(_SOCKETS)]
                if len(channel.questions) >= _MAX_OPEN_PER_SOCKET:
                    raise OSError(f"{_MAX_OPEN_PER_SOCKET} questions are open on one socket")
                message_id = secrets.randbelow(0x10000)
                while message_id in channel.questions:
                    message_id = secrets.randbelow(0x10000)
                query = encode_query(name, message_id)
                question = _Question(name, message_id, query, now + self._timeout, self._retransmit, channel, done)
                channel.questions[message_id] = question
                channel.asked += 1
                self._schedule(question, now)
            self._send(question)
        except WireError as error:
            loop.call_soon_threadsafe(done, Unavailable(f"{self._title} cannot be asked: {error}"))
        except OSError as error:
            loop.call_soon_threadsafe(done, Unavailable(f"{self._title}: {error.strerror or error}"))

    def _send(self, question: _Question) -> None:
        """Send a copy of the question. Not under the lock."""
        try:
            question.channel.udp.send(question.query)
        except ConnectionRefusedError:
            # An ICMP error for an earlier datagram of this socket, of any question. This datagram was not sent.
            question.refused = True
        except OSError as error:
            # Usually a full send buffer. The retransmission follows; if no answer arrives, this is the explanation.
            question.last_error = f"could not be asked: {error.strerror or error}"

    def _schedule(self, question: _Question, now: float) -> None:
        """Schedule the question's next retransmission or its deadline. Called under the lock."""
        due = min(now + question.pause, question.deadline)
        question.pause *= 2
        heapq.heappush(self._due, (due, next(self._order), question))

    def _handle_due(self) -> None:
        """Retransmit or end the questions that are due, and replace sockets that have carried many questions."""
        assert self._loop is not None
        self._tick = self._loop.call_later(_TICK_SECONDS, self._handle_due)
        now = self._loop.time()
        ended, again = [], []
        with self._lock:
            while self._due and self._due[0][0] <= now:
                question = heapq.heappop(self._due)[2]
                if question.answered:
                    continue
                if now < question.deadline:
                    self._schedule(question, now)
                    again.append(question)
                else:
                    ended.append(question)
        for question in again:
            self._send(question)
        for question in ended:
            self._end(question, Unavailable(self._failure(question)))
        self._replace_sockets()

    def _replace_sockets(self) -> None:
        for index, channel in enumerate(self._sockets):
            if channel.asked >= _QUESTIONS_PER_SOCKET:
                try:
                    fresh = self._open()
                except OSError:
                    # The old one stays in use.
                    return
                with self._lock:
                    self._sockets[index] = fresh
                self._retired.append(channel)
        for channel in [channel for channel in self._retired if not channel.questions]:
            self._retired.remove(channel)
            self._close(channel)

    def _open(self) -> _Socket:
        assert self._loop is not None
        udp = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_OCTETS)
            udp.connect(self._peer)
        except OSError:
            udp.close()
            raise
        channel = _Socket(udp)
        self._loop.add_reader(udp, self._receive, channel)
        return channel

    def _close(self, channel: _Socket) -> None:
        assert self._loop is not None
        self._loop.remove_reader(channel.udp)
        channel.udp.close()

    def _failure(self, question: _Question) -> str:
        if question.refused:
            return f"{self._title} is not listening"
        if question.last_error is not None:
            return f"{self._title} {question.last_error}"
        return f"no answer from {self._title} within {self._timeout:g} s"

    def _receive(self, channel: _Socket) -> None:
        for _ in range(_DATAGRAMS_AT_ONCE):
            try:
                octets = channel.udp.recv(_MAX_DATAGRAM_OCTETS)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                for question in list(channel.questions.values()):
                    question.refused = True
                continue
            except OSError:
                return
            self._take(channel, octets)

    def _take(self, channel: _Socket, octets: bytes) -> None:
        question = channel.questions.get(int.from_bytes(octets[:2], "big"))
        if question is None:
            return
        try:
            message = decode_response(octets, question.name, question.message_id)
        except Truncated:
            self._ask_over_tcp(question)
            return
        except WireError as error:
            # Not an answer to this question: the right one may still arrive.
            question.last_error = f"sent a malformed answer: {error}"
            return
        question.refused = False
        try:
            answer: Answer = interpret(message, question.name, allow_sha1=self._allow_sha1)
        except WireError as error:
            # The right answer, but it contradicts itself. A retransmission would get the same.
            answer = Unavailable(f"{self._title} sent a malformed answer: {error}")
        self._end(question, answer)

    def _end(self, question: _Question, answer: Answer) -> None:
        if self._forget(question):
            question.done(answer)

    def _forget(self, question: _Question) -> bool:
        """Remove the question from its socket. Returns False if that was done before: it is answered only once."""
        question.answered = True
        return question.channel.questions.pop(question.message_id, None) is not None

    def _ask_over_tcp(self, question: _Question) -> None:
        if self._forget(question):
            task = asyncio.ensure_future(self._finish_over_tcp(question))
            self._over_tcp.add(task)
            task.add_done_callback(self._over_tcp.discard)

    async def _finish_over_tcp(self, question: _Question) -> None:
        answer: Answer = Unavailable("the lookup was ended")
        try:
            answer = await self._tcp.lookup_until(question.name, question.deadline)
        finally:
            question.done(answer)

    async def close(self) -> None:
        """As `Client.close`."""
        if self._tick is not None:
            self._tick.cancel()
        for task in list(self._over_tcp):
            task.cancel()
        await asyncio.gather(*self._over_tcp, return_exceptions=True)
        for channel in (*self._sockets, *self._retired):
            for question in list(channel.questions.values()):
                self._end(question, Unavailable("the lookup was ended"))
            self._close(channel)
        self._retired, self._due = [], []
        await self._tcp.close()
