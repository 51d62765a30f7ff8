"""Requests that an attacker between switch and server could forge: unsigned, wrongly signed, or without EAP."""

from __future__ import annotations

import contextlib
import hmac
import secrets
import socket
import struct
import subprocess
from typing import NamedTuple

import pytest

from tests.harness.freeradius import SECRET, FreeRadius
from tests.integration.network.resilience.network import FORGETFUL, STRICT

pytestmark = pytest.mark.daemons

ACCESS_REQUEST, ACCESS_ACCEPT, ACCESS_REJECT, ACCESS_CHALLENGE = 1, 2, 3, 11
USER_NAME, USER_PASSWORD, PROXY_STATE, EAP_MESSAGE, MESSAGE_AUTHENTICATOR = 1, 2, 33, 79, 80
EAP_IDENTITY = b"\x02\x01\x00\x0a\x01mouse"
RIGHT, WRONG = SECRET.encode(), b"another secret"


def access_request(*pairs: tuple[int, bytes], sign_with: bytes | None, identifier: int | None = None) -> bytes:
    """A hand-made Access-Request. sign_with: the secret that its Message-Authenticator is made with; None: it has none.

    RFC 3579 section 3.2: the Message-Authenticator is an HMAC-MD5 of the packet with 16 zero octets in its place.
    """
    body = b"".join(bytes((number, len(value) + 2)) + value for number, value in pairs)
    if sign_with is not None:
        body += bytes((MESSAGE_AUTHENTICATOR, 18)) + bytes(16)
    number = secrets.randbelow(256) if identifier is None else identifier
    packet = struct.pack("!BBH16s", ACCESS_REQUEST, number, 20 + len(body), secrets.token_bytes(16)) + body
    if sign_with is not None:
        packet = packet[:-16] + hmac.digest(sign_with, packet, "md5")
    return packet


class Answers(NamedTuple):
    """The codes of the server's answers to a packet and to a later, good one. None: silence."""

    to_packet: int | None
    to_probe: int | None


def answers(server: FreeRadius, packet: bytes, source: str) -> Answers:
    """Send a packet from `source`, then a good request: its answer proves that the server was there to be silent."""
    probe = access_request((EAP_MESSAGE, EAP_IDENTITY), sign_with=RIGHT, identifier=(packet[1] + 1) % 256)
    codes: dict[int, int] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line, contextlib.suppress(TimeoutError):
        line.bind((source, 0))
        line.connect(("127.0.0.1", server.auth_port))
        line.send(packet)
        line.send(probe)
        line.settimeout(5)
        while probe[1] not in codes:
            reply = line.recv(4096)
            codes[reply[1]] = reply[0]
        line.settimeout(0.3)
        while True:
            reply = line.recv(4096)
            codes[reply[1]] = reply[0]
    return Answers(codes.get(packet[1]), codes.get(probe[1]))


@pytest.mark.parametrize("source", [STRICT, FORGETFUL])
@pytest.mark.parametrize("secret", [None, WRONG])
def test_eap_without_a_right_message_authenticator_is_not_answered(
    main_server: FreeRadius, source: str, secret: bytes | None
) -> None:
    eap = ((USER_NAME, b"mouse"), (EAP_MESSAGE, EAP_IDENTITY))
    forged, signed = access_request(*eap, sign_with=secret), access_request(*eap, sign_with=RIGHT)
    assert answers(main_server, forged, source) == (None, ACCESS_CHALLENGE)
    assert answers(main_server, signed, source) == (ACCESS_CHALLENGE, ACCESS_CHALLENGE)


@pytest.mark.parametrize("proxy_state", [(), ((PROXY_STATE, b"x" * 40),)])
@pytest.mark.parametrize(
    ("source", "secret", "expected"),
    [
        (STRICT, None, None),
        (STRICT, WRONG, None),
        (STRICT, RIGHT, ACCESS_REJECT),
        (FORGETFUL, None, ACCESS_REJECT),
        (FORGETFUL, RIGHT, ACCESS_REJECT),
    ],
)
def test_a_password_admits_nobody(
    main_server: FreeRadius,
    proxy_state: tuple[tuple[int, bytes], ...],
    source: str,
    secret: bytes | None,
    expected: int | None,
) -> None:
    """Without EAP there is no admission, signed or not, with Proxy-State (CVE-2024-3596) or without.

    FreeRADIUS 3.2.5 and later drop an unsigned request with Proxy-State, even of a client that need not sign.
    """
    before = len(main_server.decisions())
    pairs = ((USER_NAME, b"mouse"), (USER_PASSWORD, bytes(16)), *proxy_state)
    request = access_request(*pairs, sign_with=secret)
    if proxy_state and secret is None and "limit_proxy_state = yes" in (main_server.raddb / "radiusd.conf").read_text():
        expected = None
    assert answers(main_server, request, source) == (expected, ACCESS_CHALLENGE)
    assert not any(d["verdict"] == "accept" for d in main_server.decisions()[before:] if not d.get("station"))


@pytest.mark.parametrize("proxy_state", ["", ', Proxy-State = "0x7878"'])
def test_radclient_with_a_password_is_refused(main_server: FreeRadius, proxy_state: str) -> None:
    request = f'User-Name = "mouse", User-Password = "cheese", Message-Authenticator = 0x00{proxy_state}'
    done = subprocess.run(
        ["radclient", "-x", "-r", "1", "-t", "2", f"127.0.0.1:{main_server.auth_port}", "auth", SECRET],
        input=request, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert "Received Access-Reject" in done.stdout
    assert "Access-Accept" not in done.stdout
