"""The peer's side of EAP-TLS against OpenSSL's server side, and against servers that break the rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench import radius
from tests.bench.eap_client import (
    EAP_TLS,
    FAILURE,
    IDENTITY,
    LENGTH_INCLUDED,
    MORE_FRAGMENTS,
    NAK,
    RESPONSE,
    START,
    SUCCESS,
    Conversation,
    Device,
    EapError,
    Peer,
    Verdict,
    nas_attributes,
)
from tests.harness.pki import authority
from tests.unit.bench.eap_server import SECRET, EapServer, Pki, attributes_of, challenge, eap_of, end, request

# Octets that hold every flight of the peer. A ClientHello with a post-quantum key share (OpenSSL 3.5) has 1.5 KB.
WHOLE = 4000


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


def converse(peer: Peer, server: EapServer) -> bytes:
    """Until the server ends it; returns the end."""
    packet: bytes | None = peer.identity_response(0)
    while packet is not None:
        answer = server.answer(packet)
        packet = peer.answer(answer)
    return answer


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
@pytest.mark.parametrize("fragment", [60, WHOLE])
def test_a_device_gets_in(pki: Pki, tls: str, fragment: int) -> None:
    peer = Peer(pki.client(tls), b"anonymous@example", fragment)
    server = EapServer(pki.server_context())
    assert converse(peer, server)[0] == SUCCESS
    assert peer.succeeded
    assert peer.tls_version == f"TLSv{tls}"
    assert (server.received_fragments > 0) == (fragment == 60)
    assert peer.committed == (tls == "1.3")


def test_tls_1_3_without_the_commitment_message_is_no_success(pki: Pki) -> None:
    peer = Peer(pki.client(), b"d1")
    with pytest.raises(EapError, match="commitment"):
        converse(peer, EapServer(pki.server_context(), commits=False))
    assert not peer.succeeded


def test_a_success_before_the_end_of_the_handshake_is_none(pki: Pki) -> None:
    peer = Peer(pki.client(), b"d1")
    peer.answer(request(1, EAP_TLS, bytes((START,))))
    with pytest.raises(EapError, match="before the end"):
        peer.answer(end(SUCCESS, 2))
    assert not peer.succeeded


def test_a_server_of_another_ca_is_refused(pki: Pki) -> None:
    peer = Peer(pki.client(server_ca=authority("Somebody else")), b"d1")
    assert converse(peer, EapServer(pki.server_context()))[0] == FAILURE
    assert peer.failure == "CERTIFICATE_VERIFY_FAILED"
    assert not peer.succeeded


def test_an_identity_request_is_answered(pki: Pki) -> None:
    answer = Peer(pki.client(), b"d1.example").answer(request(9, IDENTITY, b""))
    assert answer == bytes((RESPONSE, 9, 0, 15, IDENTITY)) + b"d1.example"


def test_another_method_is_refused_in_favour_of_eap_tls(pki: Pki) -> None:
    assert Peer(pki.client(), b"d1").answer(request(9, 25, b"\x20")) == bytes((RESPONSE, 9, 0, 6, NAK, EAP_TLS))


def test_a_fragment_is_acknowledged(pki: Pki) -> None:
    peer = Peer(pki.client(), b"d1", WHOLE)
    peer.answer(request(1, EAP_TLS, bytes((START,))))
    first = bytes((LENGTH_INCLUDED | MORE_FRAGMENTS,)) + (9).to_bytes(4, "big") + b"12345"
    assert peer.answer(request(2, EAP_TLS, first)) == bytes((RESPONSE, 2, 0, 6, EAP_TLS, 0))


@pytest.mark.parametrize(
    ("fragments", "why"),
    [
        ([(MORE_FRAGMENTS | LENGTH_INCLUDED, 9, b"12345"), (0, None, b"123")], "9 octets announced, 8 received"),
        ([(MORE_FRAGMENTS | LENGTH_INCLUDED, 9, b"12345"), (0, None, b"12345")], "more TLS data than announced"),
        ([(MORE_FRAGMENTS | LENGTH_INCLUDED, 9, b"12345"), (LENGTH_INCLUDED, 8, b"123")], "length changed"),
        ([(LENGTH_INCLUDED, None, b"")], "less than four octets"),
        ([(MORE_FRAGMENTS, None, bytes(40000)), (MORE_FRAGMENTS, None, bytes(25537))], "than a peer takes"),
    ],
)
def test_fragments_that_do_not_add_up_are_refused(
    pki: Pki, fragments: list[tuple[int, int | None, bytes]], why: str
) -> None:
    peer = Peer(pki.client(), b"d1", WHOLE)
    peer.answer(request(1, EAP_TLS, bytes((START,))))

    def send() -> None:
        for flags, length, data in fragments:
            announced = b"" if length is None else length.to_bytes(4, "big")
            peer.answer(request(2, EAP_TLS, bytes((flags,)) + announced + data))

    with pytest.raises(EapError, match=why):
        send()


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (b"\x01\x01\x00", "shorter than"),
        (bytes((1, 1, 0, 9, 13, 0)), "length 9"),
        (bytes((1, 1, 0, 4)), "of length 4"),
        (bytes((2, 1, 0, 5, 1)), "code 2"),
        (request(1, EAP_TLS, b""), "without flags"),
        (request(1, EAP_TLS, b"\x00abc"), "before EAP-TLS/Start"),
    ],
)
def test_packets_that_are_not_eap_are_refused(pki: Pki, packet: bytes, why: str) -> None:
    with pytest.raises(EapError, match=why):
        Peer(pki.client(), b"d1").answer(packet)


def test_a_second_start_is_refused(pki: Pki) -> None:
    peer = Peer(pki.client(), b"d1")
    peer.answer(request(1, EAP_TLS, bytes((START,))))
    with pytest.raises(EapError, match="second"):
        peer.answer(request(2, EAP_TLS, bytes((START,))))


# ----- with RADIUS around it


def conversation(pki: Pki) -> Conversation:
    device = Device("d1.example", "example", "02-01-00-00-00-01", pki.client())
    attributes = nas_attributes(device, "anonymous@example", ssid="iot")
    return Conversation(Peer(device.context, b"anonymous@example"), attributes, SECRET)


def run(
    one: Conversation, server: EapServer, tamper: Callable[[bytes, bytes], bytes] = lambda answer, _request: answer
) -> list[bytes]:
    """All of a conversation; returns its requests."""
    requests: list[bytes] = []
    while one.verdict is None:
        packet = one.request(len(requests) % 256)
        requests.append(packet)
        eap = server.answer(eap_of(packet))
        code = {SUCCESS: radius.ACCESS_ACCEPT, FAILURE: radius.ACCESS_REJECT}.get(eap[0], radius.ACCESS_CHALLENGE)
        one.receive(tamper(challenge(eap, packet, b"state-%d" % len(requests), code), packet))
    return requests


def test_a_conversation_ends_with_accept_and_returns_each_state(pki: Pki) -> None:
    one = conversation(pki)
    requests = run(one, EapServer(pki.server_context()))
    assert one.verdict is Verdict.ACCEPTED
    assert one.round_trips == len(requests)
    states = [dict(attributes_of(packet)).get(radius.STATE) for packet in requests]
    assert states == [None, *(b"state-%d" % n for n in range(1, len(requests)))]
    first = dict(attributes_of(requests[0]))
    assert first[radius.CALLING_STATION_ID] == b"02-01-00-00-00-01"
    assert first[radius.CALLED_STATION_ID].endswith(b":iot")


def test_a_device_of_an_unknown_ca_is_rejected(pki: Pki, tmp_path: Path) -> None:
    stranger = Pki(tmp_path, server_ca=pki.server_ca)
    one = conversation(stranger)
    run(one, EapServer(pki.server_context()))
    assert one.verdict is Verdict.REJECTED


def test_forged_responses_leave_the_conversation_as_it_was(pki: Pki) -> None:
    one = conversation(pki)

    def forge_first(answer: bytes, packet: bytes) -> bytes:
        forged = radius.response(radius.ACCESS_REJECT, packet, radius.eap_message(end(FAILURE, 1)), b"guessed")
        with pytest.raises(radius.IgnoredPacket):
            one.receive(forged)
        assert one.verdict is None
        return answer

    run(one, EapServer(pki.server_context()), forge_first)
    assert one.verdict is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("code", "eap", "why"),
    [
        (radius.ACCESS_ACCEPT, end(FAILURE, 1), "no EAP-Success"),
        (radius.ACCESS_ACCEPT, request(1, EAP_TLS, bytes((START,))), "no EAP-Success"),
        (radius.ACCESS_ACCEPT, end(SUCCESS, 1), "before the end of the handshake"),
        (radius.ACCESS_CHALLENGE, end(FAILURE, 1), "with the end of EAP"),
        (radius.ACCESS_CHALLENGE, b"", "shorter than"),
    ],
)
def test_radius_and_eap_that_disagree_are_neither_accept_nor_reject(pki: Pki, code: int, eap: bytes, why: str) -> None:
    one = conversation(pki)
    one.receive(challenge(eap, one.request(0), code=code))
    assert one.verdict is Verdict.BROKEN
    assert why in str(one.why)


def test_a_reject_that_tells_the_device_it_is_in_is_broken(pki: Pki) -> None:
    one = conversation(pki)

    def reject(answer: bytes, packet: bytes) -> bytes:
        return challenge(end(SUCCESS, 1), packet, code=radius.ACCESS_REJECT) if answer[0] == 2 else answer

    run(one, EapServer(pki.server_context()), reject)
    assert one.verdict is Verdict.BROKEN


def test_a_conversation_without_an_end_is_ended(pki: Pki) -> None:
    one = conversation(pki)
    for _ in range(200):
        one.receive(challenge(request(1, IDENTITY, b""), one.request(0)))
        if one.verdict:
            break
    assert one.verdict is Verdict.BROKEN
