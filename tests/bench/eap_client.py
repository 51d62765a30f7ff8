"""An EAP-TLS peer (RFC 5216, RFC 9190) behind a NAS, without sockets: octets in, octets out. OpenSSL does the TLS."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from enum import Enum

from tests.bench import radius

REQUEST, RESPONSE, SUCCESS, FAILURE = 1, 2, 3, 4
IDENTITY, NAK, EAP_TLS = 1, 3, 13
LENGTH_INCLUDED, MORE_FRAGMENTS, START = 0x80, 0x40, 0x20
# wpa_supplicant's default.
FRAGMENT_OCTETS = 1398
# What FreeRADIUS itself refuses to go beyond; a server that sends more is broken.
_MAX_MESSAGE_OCTETS = 65536
_COMMITMENT = b"\x00"
_MAX_ROUND_TRIPS = 100


class EapError(Exception):
    """The server's EAP or TLS is not what the peer may go on with. The text says why."""


class Peer:
    """One EAP conversation. `context`: a client context with the device's certificate and the server's CA.

    `answer` takes each EAP packet of the server. `succeeded` tells whether the peer holds itself admitted: an
    EAP-Success after a complete handshake and, with TLS 1.3, after the server's commitment message.
    """

    def __init__(self, context: ssl.SSLContext, identity: bytes, fragment: int = FRAGMENT_OCTETS) -> None:
        self.identity = identity
        self.succeeded = False
        self.committed = False
        self.handshake_done = False
        self.failure: str | None = None
        self._fragment = fragment
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._context = context
        self._tls: ssl.SSLObject | None = None
        self._received: list[bytes] = []
        self._announced: int | None = None
        self._unsent = b""
        self._total = 0

    @property
    def tls_version(self) -> str | None:
        """For example "TLSv1.3"; None before the handshake."""
        return self._tls.version() if self._tls else None

    def identity_response(self, identifier: int) -> bytes:
        """The EAP-Response/Identity that begins a conversation."""
        return _response(identifier, IDENTITY, self.identity)

    def answer(self, packet: bytes) -> bytes | None:
        """The response to a request; None after EAP-Success or EAP-Failure. Raises EapError."""
        if len(packet) < 4:
            raise EapError("shorter than an EAP header")
        code, identifier, length = packet[0], packet[1], packet[2] << 8 | packet[3]
        if not 4 <= length <= len(packet):
            raise EapError(f"EAP length {length} in {len(packet)} octets")
        if code == SUCCESS:
            self._succeed()
            return None
        if code == FAILURE:
            self.failure = self.failure or "EAP-Failure"
            return None
        if code != REQUEST or length < 5:
            raise EapError(f"EAP code {code} of length {length}")
        if packet[4] == IDENTITY:
            return self.identity_response(identifier)
        if packet[4] != EAP_TLS:
            return _response(identifier, NAK, bytes((EAP_TLS,)))
        return _response(identifier, EAP_TLS, self._answer_tls(packet[5:length]))

    def _succeed(self) -> None:
        if not self.handshake_done:
            raise EapError("EAP-Success before the end of the handshake")
        if self.tls_version == "TLSv1.3" and not self.committed:
            raise EapError("EAP-Success without the commitment message (RFC 9190 section 2.5)")
        self.succeeded = True

    def _answer_tls(self, body: bytes) -> bytes:
        if not body:
            raise EapError("an EAP-TLS request without flags")
        flags = body[0]
        if flags & START:
            if self._tls is not None:
                raise EapError("a second EAP-TLS/Start")
            self._tls = self._context.wrap_bio(self._incoming, self._outgoing)
            self._advance()
            return self._next_fragment()
        if body == b"\x00" and not self._received:
            # An acknowledgement of a fragment of ours; or, with nothing left to send, an empty message.
            return self._next_fragment()
        if self._unsent:
            raise EapError("TLS data while fragments are still to be sent")
        self._take_fragment(flags, body)
        if flags & MORE_FRAGMENTS:
            return b"\x00"
        message = b"".join(self._received)
        if self._announced is not None and self._announced != len(message):
            raise EapError(f"{self._announced} octets announced, {len(message)} received")
        self._received, self._announced = [], None
        self._incoming.write(message)
        self._advance()
        return self._next_fragment()

    def _take_fragment(self, flags: int, body: bytes) -> None:
        at = 1
        if flags & LENGTH_INCLUDED:
            if len(body) < 5:
                raise EapError("a TLS message length of less than four octets")
            announced = int.from_bytes(body[1:5], "big")
            if not self._received:
                self._announced = announced
            elif announced != self._announced:
                raise EapError("the TLS message length changed between fragments")
            at = 5
        self._received.append(body[at:])
        if sum(map(len, self._received)) > min(self._announced or _MAX_MESSAGE_OCTETS, _MAX_MESSAGE_OCTETS):
            raise EapError("more TLS data than announced, or than a peer takes")

    def _advance(self) -> None:
        """Let TLS go on with what has arrived, and collect what it wants sent."""
        if self._tls is None:
            raise EapError("TLS data before EAP-TLS/Start")
        try:
            if not self.handshake_done:
                self._tls.do_handshake()
                self.handshake_done = True
            # Session tickets, and the one octet by which the server says that it sends nothing more.
            if self._tls.read(16) == _COMMITMENT:
                self.committed = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            # The alert goes out; the server ends the conversation.
            self.failure = error.reason or str(error)
        self._unsent = self._outgoing.read()
        self._total = len(self._unsent)

    def _next_fragment(self) -> bytes:
        data = self._unsent
        if len(data) <= self._fragment:
            self._unsent = b""
            return b"\x00" + data
        first = len(data) == self._total
        self._unsent = data[self._fragment :]
        if first:
            length = self._total.to_bytes(4, "big")
            return bytes((LENGTH_INCLUDED | MORE_FRAGMENTS,)) + length + data[: self._fragment]
        return bytes((MORE_FRAGMENTS,)) + data[: self._fragment]


def _response(identifier: int, kind: int, data: bytes) -> bytes:
    length = 5 + len(data)
    return bytes((RESPONSE, identifier, length >> 8, length & 255, kind)) + data


class Verdict(Enum):
    """How an authentication ended."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    TIMEOUT = "timeout"
    # The server broke a protocol; never seen unless something is wrong with it, or with the peer.
    BROKEN = "broken"


@dataclass(frozen=True)
class Device:
    """A device as it shows itself to a network. `zone`: whose name it has; `station`: its Calling-Station-Id."""

    name: str
    zone: str
    station: str
    context: ssl.SSLContext = field(repr=False)


def nas_attributes(device: Device, identity: str, *, ssid: str, nas: str = "ap-1") -> bytes:
    """The attributes which a NAS puts into every request of a conversation."""
    number = radius.attribute
    return b"".join(
        (
            number(radius.USER_NAME, identity.encode()),
            number(radius.NAS_IDENTIFIER, nas.encode()),
            number(radius.CALLED_STATION_ID, f"02-00-00-00-00-01:{ssid}".encode()),
            number(radius.CALLING_STATION_ID, device.station.encode()),
            number(radius.FRAMED_MTU, (1400).to_bytes(4, "big")),
            # Wireless - IEEE 802.11; Framed.
            number(radius.NAS_PORT_TYPE, (19).to_bytes(4, "big")),
            number(radius.SERVICE_TYPE, (2).to_bytes(4, "big")),
        )
    )


class Conversation:
    """A peer and its NAS: RADIUS requests out, RADIUS responses in, until `verdict` is there."""

    def __init__(self, peer: Peer, attributes: bytes, secret: bytes) -> None:
        self.verdict: Verdict | None = None
        self.why: str | None = None
        self.round_trips = 0
        self._peer = peer
        self._attributes = attributes
        self._secret = secret
        self._state = b""
        self._eap = peer.identity_response(0)
        self._request = b""

    def request(self, identifier: int) -> bytes:
        """The next request, to be sent (and sent again) as it is."""
        attributes = self._attributes + self._state + radius.eap_message(self._eap)
        self._request = radius.access_request(identifier, os.urandom(16), attributes, self._secret)
        return self._request

    def receive(self, packet: bytes) -> None:
        """Take the answer to the last request. Raises radius.IgnoredPacket for what a NAS discards."""
        response = radius.read_response(packet, self._request, self._secret)
        self.round_trips += 1
        if self.round_trips > _MAX_ROUND_TRIPS:
            self._end(Verdict.BROKEN, "the conversation does not end")
            return
        try:
            answer = self._peer.answer(response.eap)
        except EapError as error:
            self._end(Verdict.BROKEN, str(error))
            return
        if response.code == radius.ACCESS_ACCEPT:
            good = self._peer.succeeded
            self._end(Verdict.ACCEPTED if good else Verdict.BROKEN, None if good else "Access-Accept, no EAP-Success")
        elif response.code == radius.ACCESS_REJECT:
            good = not self._peer.succeeded
            self._end(Verdict.REJECTED if good else Verdict.BROKEN, self._peer.failure)
        elif answer is None:
            self._end(Verdict.BROKEN, "Access-Challenge with the end of EAP")
        else:
            self._eap = answer
            self._state = radius.attribute(radius.STATE, response.state) if response.state is not None else b""

    def _end(self, verdict: Verdict, why: str | None) -> None:
        self.verdict, self.why = verdict, why
