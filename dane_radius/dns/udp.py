"""DNS over UDP to a resolver on loopback: thousands of questions at once over few sockets.

A question is told from others by its socket's port and its id, both random. A socket is connected, so the kernel drops
what comes from elsewhere, and is replaced after some thousand questions, so that its port does not stay the same.

A question is sent by whoever asks it, from any thread: that spares the event loop one wake-up for each. Answers,
retransmissions and everything else are the event loop's.
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
from dane_radius.dns.stream import StreamClient
from dane_radius.dns.wire import Truncated, WireError, decode_response, encode_query, interpret

Done = Callable[[Answer], None]

_SOCKETS = 4
_QUESTIONS_PER_SOCKET = 10_000
# Of the 65,536 ids of a socket: a free one is found at once, and a guess hits rarely.
_MAX_OPEN_PER_SOCKET = 4096
# Answers that come in one burst must fit: the kernel counts about 0.8 KiB for each. The system's limit may be lower.
_RECEIVE_BUFFER_OCTETS = 1 << 20
_MAX_DATAGRAM_OCTETS = 65535
# Datagrams taken from one socket before the event loop sees to the others.
_DATAGRAMS_AT_ONCE = 64
# How often the loop looks for what is overdue. Seconds.
_TICK_SECONDS = 0.05


@dataclass(eq=False, slots=True)
class _Question:
    """One lookup: what was asked, and who is told. Times are the event loop's."""

    name: str
    message_id: int
    query: bytes
    deadline: float
    pause: float
    channel: _Socket
    done: Done
    last_error: WireError | None = None
    refused: bool = False
    answered: bool = False


@dataclass(eq=False, slots=True)
class _Socket:
    udp: socket.socket
    questions: dict[int, _Question] = field(default_factory=dict)
    asked: int = 0


class UdpClient:
    """Asks one resolver on this host over UDP, and over TCP what does not fit. For one event loop, which must run."""

    def __init__(
        self, address: str, port: int, title: str, *, timeout: float, retransmit: float, allow_sha1: bool = False
    ) -> None:
        """`title` names the resolver in what goes wrong. The others are those of `LoopbackResolver`."""
        self._peer = (address, port)
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._title, self._timeout, self._retransmit, self._allow_sha1 = title, timeout, retransmit, allow_sha1
        self._loop: asyncio.AbstractEventLoop | None = None
        # Guards the choice of a socket and an id, and what is due.
        self._lock = threading.Lock()
        self._sockets: list[_Socket] = []
        # Replaced ones, for as long as they await answers.
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
        self._tick = self._loop.call_later(_TICK_SECONDS, self._see_to_overdue)

    async def lookup(self, name: str) -> Answer:
        """As `Client.lookup`. A resolver that does not listen is asked again until the time is over: it may restart."""
        try:
            if self._loop is None:
                self.start()
        except OSError as error:
            return Unavailable(f"{self._title}: {error.strerror or error}")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.ask(name, lambda answer: None if future.done() else future.set_result(answer))
        return await future

    def ask(self, name: str, done: Done) -> None:
        """Ask, from any thread, after `start`. `done` is called once, from the event loop. Never raises."""
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
                self._note_due(question, now)
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
            # An ICMP error for an earlier datagram of any question of this socket; this one was not sent.
            question.refused = True
        except OSError as error:
            # A full send buffer, mostly. The copy that follows makes up for it; if it does not, this is why.
            question.last_error = WireError(f"not sent: {error.strerror or error}")

    def _note_due(self, question: _Question, now: float) -> None:
        """When the next copy of the question is due, or its end. Under the lock."""
        due = min(now + question.pause, question.deadline)
        question.pause *= 2
        heapq.heappush(self._due, (due, next(self._order), question))

    def _see_to_overdue(self) -> None:
        """Send again what has no answer yet, or give it up; replace sockets that have been used for long."""
        assert self._loop is not None
        self._tick = self._loop.call_later(_TICK_SECONDS, self._see_to_overdue)
        now = self._loop.time()
        ended, again = [], []
        with self._lock:
            while self._due and self._due[0][0] <= now:
                question = heapq.heappop(self._due)[2]
                if question.answered:
                    continue
                if now < question.deadline:
                    self._note_due(question, now)
                    again.append(question)
                else:
                    ended.append(question)
        for question in again:
            self._send(question)
        for question in ended:
            self._end(question, Unavailable(self._why_not(question)))
        self._replace_sockets()

    def _replace_sockets(self) -> None:
        for index, channel in enumerate(self._sockets):
            if channel.asked >= _QUESTIONS_PER_SOCKET:
                try:
                    fresh = self._open()
                except OSError:
                    # The old one still serves.
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

    def _why_not(self, question: _Question) -> str:
        if question.refused:
            return f"{self._title} is not listening"
        if question.last_error is not None:
            return f"{self._title} sent a malformed answer: {question.last_error}"
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
            # No answer to this question: a good one may still come.
            question.last_error = error
            return
        question.refused = False
        try:
            answer: Answer = interpret(message, question.name, allow_sha1=self._allow_sha1)
        except WireError as error:
            # Our answer. If it contradicts itself, a second copy would do the same.
            answer = Unavailable(f"{self._title} sent a malformed answer: {error}")
        self._end(question, answer)

    def _end(self, question: _Question, answer: Answer) -> None:
        if self._forget(question):
            question.done(answer)

    def _forget(self, question: _Question) -> bool:
        """Take the question off its socket. Whether it was still there: it is answered once."""
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
