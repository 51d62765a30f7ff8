"""What a NAS sends, and what it discards (RFC 2865 section 3, RFC 3579 section 3.2)."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from tests.bench import radius

SECRET = b"testing123"
AUTHENTICATOR = bytes(range(16))
REQUEST = radius.access_request(7, AUTHENTICATOR, radius.attribute(radius.USER_NAME, b"d1"), SECRET)
ANSWER = radius.attribute(radius.STATE, b"state") + radius.eap_message(b"E" * 600)


def _resigned(packet: bytes, request: bytes = REQUEST, secret: bytes = SECRET) -> bytes:
    """The packet with the Response Authenticator that its octets ask for."""
    digest = hashlib.md5(packet[:4] + request[4:20] + packet[20:] + secret, usedforsecurity=False).digest()
    return packet[:4] + digest + packet[20:]


def test_a_requests_message_authenticator_covers_the_whole_packet() -> None:
    assert REQUEST[:4] == bytes((1, 7, 0, 20 + 18 + 4))
    assert REQUEST[4:20] == AUTHENTICATOR
    assert REQUEST[20:22] == bytes((80, 18))
    zeroed = REQUEST[:22] + bytes(16) + REQUEST[38:]
    assert REQUEST[22:38] == hmac.new(SECRET, zeroed, "md5").digest()


def test_eap_is_cut_into_attributes_and_put_together_again() -> None:
    assert [len(piece) for piece in radius.eap_message(b"x" * 600).split(b"\x4f") if piece] == [254, 254, 95]
    found = radius.read_response(radius.response(radius.ACCESS_CHALLENGE, REQUEST, ANSWER, SECRET), REQUEST, SECRET)
    assert found == radius.Response(radius.ACCESS_CHALLENGE, b"E" * 600, b"state")


def test_an_attribute_holds_253_octets() -> None:
    assert len(radius.attribute(radius.STATE, bytes(253))) == 255
    with pytest.raises(ValueError, match="254 octets"):
        radius.attribute(radius.STATE, bytes(254))


def test_octets_behind_the_packets_length_do_not_count() -> None:
    packet = radius.response(radius.ACCESS_ACCEPT, REQUEST, ANSWER, SECRET)
    assert radius.read_response(packet + b"padding", REQUEST, SECRET).code == radius.ACCESS_ACCEPT


@pytest.mark.parametrize("code", [radius.ACCESS_ACCEPT, radius.ACCESS_REJECT, radius.ACCESS_CHALLENGE])
def test_a_wrong_response_authenticator_is_ignored(code: int) -> None:
    packet = bytearray(radius.response(code, REQUEST, ANSWER, SECRET))
    packet[4] ^= 1
    with pytest.raises(radius.IgnoredPacket, match="Response Authenticator"):
        radius.read_response(bytes(packet), REQUEST, SECRET)


def test_an_answer_with_another_secret_is_ignored() -> None:
    packet = radius.response(radius.ACCESS_ACCEPT, REQUEST, ANSWER, b"other")
    with pytest.raises(radius.IgnoredPacket, match="Response Authenticator"):
        radius.read_response(packet, REQUEST, SECRET)


def test_the_answer_to_another_request_is_ignored() -> None:
    other = radius.access_request(7, bytes(16), b"", SECRET)
    packet = radius.response(radius.ACCESS_ACCEPT, other, ANSWER, SECRET)
    with pytest.raises(radius.IgnoredPacket, match="Response Authenticator"):
        radius.read_response(packet, REQUEST, SECRET)


def test_another_identifier_is_ignored() -> None:
    packet = bytearray(radius.response(radius.ACCESS_ACCEPT, REQUEST, ANSWER, SECRET))
    packet[1] = 8
    with pytest.raises(radius.IgnoredPacket, match="identifier 8, not 7"):
        radius.read_response(_resigned(bytes(packet)), REQUEST, SECRET)


def test_a_wrong_message_authenticator_is_ignored() -> None:
    packet = bytearray(radius.response(radius.ACCESS_ACCEPT, REQUEST, ANSWER, SECRET))
    packet[25] ^= 1
    with pytest.raises(radius.IgnoredPacket, match="Message-Authenticator is wrong"):
        radius.read_response(_resigned(bytes(packet)), REQUEST, SECRET)


def test_a_missing_message_authenticator_is_ignored() -> None:
    length = 20 + len(ANSWER)
    packet = _resigned(bytes((2, 7, length >> 8, length & 255)) + bytes(16) + ANSWER)
    with pytest.raises(radius.IgnoredPacket, match="no Message-Authenticator"):
        radius.read_response(packet, REQUEST, SECRET)


def test_a_second_message_authenticator_is_ignored() -> None:
    packet = radius.response(radius.ACCESS_ACCEPT, REQUEST, bytes((80, 18)) + bytes(16), SECRET)
    with pytest.raises(radius.IgnoredPacket, match="not one Message-Authenticator"):
        radius.read_response(packet, REQUEST, SECRET)


@pytest.mark.parametrize("attribute", [bytes((24, 0)), bytes((24, 1)), bytes((24, 9, 1)), bytes((24,))])
def test_attributes_that_do_not_add_up_are_ignored(attribute: bytes) -> None:
    packet = radius.response(radius.ACCESS_ACCEPT, REQUEST, attribute, SECRET)
    with pytest.raises(radius.IgnoredPacket, match="attribute of length"):
        radius.read_response(packet, REQUEST, SECRET)


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (b"", "shorter than"),
        (bytes((2, 7, 0, 20)) + bytes(15), "shorter than"),
        (bytes((2, 7, 0, 19)) + bytes(16), "length 19"),
        (bytes((2, 7, 0, 21)) + bytes(16), "length 21"),
        (bytes((5, 7, 0, 20)) + bytes(16), "code 5"),
    ],
)
def test_what_is_no_response_is_ignored(packet: bytes, why: str) -> None:
    with pytest.raises(radius.IgnoredPacket, match=why):
        radius.read_response(packet, REQUEST, SECRET)
