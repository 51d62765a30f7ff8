"""COMPUTE PRF and COMPUTE HKDF: published vectors, and pre-shared secrets."""

from __future__ import annotations

from iot_safe_sim.interface import encode_tlv
from iot_safe_sim.middleware import IoTSafeClient
from tests.unit.iot_safe_sim.support import Terminal


def test_prf_known_answer(client: IoTSafeClient) -> None:
    """A published P_SHA256 vector for TLS 1.2 (secret, label "test label", seed)."""
    secret = bytes.fromhex("9bbe436ba940f017b17652849a71db35")
    seed = bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c")
    expected = (
        "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0f"
        "a022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66"
    )
    assert client.prf(secret, b"test label" + seed, 100).hex() == expected


def test_prf_with_a_shared_secret(terminal: Terminal, client: IoTSafeClient) -> None:
    """RFC 4279 section 2 and RFC 5489 section 2: premaster secret from the PSK, alone and with an ECDH result."""
    psk, other = bytes(range(16)), bytes(range(32))
    client.store_data(encode_tlv(0xE0, encode_tlv(0xC4, b"\x86\x01\x01" + encode_tlv(0xD1, psk))))
    tail = encode_tlv(0xD2, b"label" + b"seed") + b"\xd3\x01\x30"
    for p1, extra, first in (("01", b"", bytes(16)), ("02", encode_tlv(0xD4, other), other)):
        premaster = len(first).to_bytes(2, "big") + first + b"\x00\x10" + psk
        expected = client.prf(premaster, b"labelseed", 0x30)
        data = b"\x86\x01\x01" + extra + tail
        assert terminal.send(f"00 48 {p1}00 {len(data):02X} {data.hex()} 00") == expected.hex().upper() + "9000"


def test_hkdf_known_answers(client: IoTSafeClient) -> None:
    """RFC 5869, appendix A.1, A.2 and A.3."""
    ikm, salt = b"\x0b" * 22, bytes(range(13))
    expected = "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    assert client.hkdf_extract(salt, ikm).hex() == expected
    long_ikm, long_salt = bytes(range(0x50)), bytes(range(0x60, 0xB0))
    expected = "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244"
    assert client.hkdf_extract(long_salt, long_ikm).hex() == expected
    expected = "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04"
    assert client.hkdf_extract(b"", ikm).hex() == expected
    assert len(client.hkdf_extract(b"", ikm, "sha384")) == 48
