"""What the commands compute: signature modes and hashes, derivations, discovery."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from iot_safe_sim import sha2, tlv
from iot_safe_sim.applet import Applet
from iot_safe_sim.client import IoTSafeClient
from tests.unit.iot_safe_sim.support import Terminal, assert_signature, key_pair, raw_signature

HASHES = [("0001", "sha256"), ("0002", "sha384"), ("0004", "sha512")]
TEXT = bytes(index * 7 & 0xFF for index in range(1000))


def init(ins: str, mode: str, number: str, key: str = "840101") -> str:
    return f"00 {ins} 0001 0D {key} A101{mode} 9102{number} 920104"


def command(ins: str, p1: str, data: bytes, le: str = "") -> str:
    return f"00 {ins} {p1} 01 {len(data):02X} {data.hex()} {le}"


def signature(answer: str) -> bytes:
    assert answer.startswith("330040"), answer
    assert answer.endswith("9000"), answer
    return bytes.fromhex(answer[6:-4])


@pytest.fixture
def point(provisioned: IoTSafeClient) -> bytes:
    return provisioned.public_key(b"\x01")


@pytest.mark.parametrize(("number", "name"), HASHES)
class TestSignatureModes:
    def test_external_hash(self, terminal: Terminal, point: bytes, number: str, name: str) -> None:
        digest = hashlib.new(name, TEXT).digest()
        terminal.expect(init("2A", "03", number), "9000")
        answer = terminal.send(command("2B", "80", tlv.encode(0x9E, digest), "00"))
        assert_signature(point, digest, signature(answer))

    def test_last_block(self, terminal: Terminal, point: bytes, number: str, name: str) -> None:
        size = sha2.block_size(name)
        hashed = len(TEXT) // size * size
        state = sha2.initial_value(name)
        for start in range(0, hashed, size):
            state = sha2.compress(name, state, TEXT[start : start + size])
        data = tlv.encode(0x9A, TEXT[hashed:]) + tlv.encode(0x9C, state) + tlv.encode(0x9D, hashed.to_bytes(4, "big"))
        terminal.expect(init("2A", "02", number), "9000")
        answer = terminal.send(command("2B", "80", data, "00"))
        assert_signature(point, hashlib.new(name, TEXT).digest(), signature(answer))

    @pytest.mark.parametrize(
        ("form", "length"),
        [
            *(("short", length) for length in (0, 1, 100, 127)),
            *(("81", length) for length in (0, 1, 100, 127, 128, 252)),
            *(("82", length) for length in (0, 1, 100, 127, 128, 251)),
        ],
    )
    def test_full_text_in_one_command(
        self, terminal: Terminal, point: bytes, number: str, name: str, form: str, length: int
    ) -> None:
        prefix = {"short": bytes([length]), "81": bytes([0x81, length]), "82": bytes([0x82, 0, length])}[form]
        terminal.expect(init("2A", "01", number), "9000")
        answer = terminal.send(command("2B", "80", b"\x9b" + prefix + TEXT[:length], "00"))
        assert_signature(point, hashlib.new(name, TEXT[:length]).digest(), signature(answer))

    @pytest.mark.parametrize("piece", [1, 7, 100, 255])
    def test_full_text_over_many_commands_with_one_header(
        self, terminal: Terminal, point: bytes, number: str, name: str, piece: int
    ) -> None:
        text = TEXT if piece > 7 else TEXT[:30]
        data = tlv.encode(0x9B, text)
        pieces = [data[start : start + piece] for start in range(0, len(data), piece)]
        if piece == 1:
            pieces = [data[:3], *(bytes([byte]) for byte in data[3:])]
        terminal.expect(init("2A", "01", number), "9000")
        for part in pieces[:-1]:
            terminal.expect(command("2B", "00", part), "9000")
        answer = terminal.send(command("2B", "80", pieces[-1], "00"))
        assert_signature(point, hashlib.new(name, text).digest(), signature(answer))

    def test_full_text_with_a_header_in_each_command(
        self, terminal: Terminal, point: bytes, number: str, name: str
    ) -> None:
        terminal.expect(init("2A", "01", number), "9000")
        for start in range(0, 800, 200):
            terminal.expect(command("2B", "00", tlv.encode(0x9B, TEXT[start : start + 200])), "9000")
        answer = terminal.send(command("2B", "80", tlv.encode(0x9B, TEXT[800:]), "00"))
        assert_signature(point, hashlib.new(name, TEXT).digest(), signature(answer))

    def test_verification_in_each_mode(self, terminal: Terminal, client: IoTSafeClient, number: str, name: str) -> None:
        peer, peer_point = key_pair()
        client.put_public_key(b"\x05", peer_point)
        digest = hashlib.new(name, TEXT[:100]).digest()
        right = tlv.encode(0x33, raw_signature(peer, digest))
        wrong = tlv.encode(0x33, raw_signature(peer, hashlib.new(name, b"other").digest()))
        bodies = {
            "01": tlv.encode(0x9B, TEXT[:100]),
            "02": tlv.encode(0x9A, TEXT[:100]) + tlv.encode(0x9C, sha2.initial_value(name)) + b"\x9d\x04" + bytes(4),
            "03": tlv.encode(0x9E, digest),
        }
        for mode, body in bodies.items():
            for reference, status in ((right, "9000"), (wrong, "6D01")):
                terminal.expect(init("2C", mode, number, "850105"), "9000")
                terminal.expect(command("2D", "80", body + reference), status)
                terminal.expect(command("2D", "80", body + reference), "6985")


def test_own_public_half_can_verify(terminal: Terminal, provisioned: IoTSafeClient) -> None:
    digest = hashlib.sha256(b"x").digest()
    signed = provisioned.sign_digest(b"\x01", digest)
    assert provisioned.verify_digest(b"\x01", digest, signed)
    assert not provisioned.verify_digest(b"\x01", hashlib.sha256(b"y").digest(), signed)


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
    client.store_data(tlv.encode(0xE0, tlv.encode(0xC4, b"\x86\x01\x01" + tlv.encode(0xD1, psk))))
    tail = tlv.encode(0xD2, b"label" + b"seed") + b"\xd3\x01\x30"
    for p1, extra, first in (("01", b"", bytes(16)), ("02", tlv.encode(0xD4, other), other)):
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


def test_application_information(terminal: Terminal) -> None:
    answer = bytes.fromhex(terminal.send("80CB000044"))
    assert len(answer) == 0x44 + 2
    order = [element.tag for element in tlv.parse(answer[:-2])]
    assert order == [0x10, 0x11, 0xB1, 0xB2, 0xB3, 0xB4, 0x90, 0x91, 0x92, 0x93, 0x94, 0xB7]


def test_object_list_is_paged_and_ordered_for_a_forward_reader(terminal: Terminal, client: IoTSafeClient) -> None:
    for number in range(20):
        client.write_file(bytes([0x40, number]), b"x" * number)
    collected, parameter = b"", "00"
    while True:
        answer = bytes.fromhex(terminal.send(f"80CB01{parameter}00"))
        assert len(answer) <= 257
        collected += answer[:-2]
        parameter = "01"
        if answer[-2:] == b"\x90\x00":
            break
        assert answer[-2:] == b"\x63\x00"
    terminal.expect("80CB010100", "6985")
    entries = tlv.parse(collected)
    kinds = [entry.tag for entry in entries]
    order = [0xC1, 0xC2, 0xC4, 0xC3]
    assert kinds == sorted(kinds, key=order.index)
    files = [
        tlv.Fields.parse(entry.value, {0x73, 0x83, 0x60, 0x4A, 0x20, 0x21}) for entry in entries if entry.tag == 0xC3
    ]
    assert {fields.require(0x83) for fields in files} >= {bytes([0x40, number]) for number in range(20)}
    for entry in entries:
        order = [element.tag for element in tlv.parse(entry.value)]
        if entry.tag == 0xC3:
            assert order[-4:] == [0x60, 0x4A, 0x20, 0x21]


def test_one_object_by_identifier_and_by_label(terminal: Terminal) -> None:
    by_id = terminal.send("00 CB C100 03 840101 00")
    by_label = terminal.send(f"00 CB C100 0B 7409{b'DeviceKey'.hex()} 00")
    assert by_id == by_label
    assert by_id.startswith("C1")
    terminal.expect("00 CB C100 03 840177 00", "6A82")
    assert terminal.send("00 CB C200 03 850104 00").startswith("C2")
    assert terminal.send("00 CB C200 03 850105 00").startswith("C2")


def test_identifiers_of_up_to_20_bytes_and_labels_work_in_every_command(
    terminal: Terminal, client: IoTSafeClient
) -> None:
    """A real card numbers its keys `30 30 31`; wolfSSL's two-byte variant sends `30 34`."""
    for identifier in (b"001", b"04", bytes(range(1, 21))):
        public = client.create_key(identifier)
        assert client.public_key(identifier) == public
        digest = hashlib.sha256(identifier).digest()
        assert client.verify_digest(identifier, digest, client.sign_digest(identifier, digest))
    label = b"DeviceKey".hex()
    client.create_key(b"\x01")
    terminal.expect(f"00 2A 0001 15 7409{label} A10103 91020001 920104", "9000")
    assert terminal.send(f"00 CD 0000 0B 7509{label} 00").startswith("3445")


def test_access_conditions(terminal: Terminal, client: IoTSafeClient, applet: Applet) -> None:
    client.create_key(b"\x01")
    # The identity key signs; nothing else.
    terminal.expect("00 B9 0000 03 840101 00", "6985")
    client.put_public_key(b"\x05", key_pair()[1])
    terminal.expect("00 46 0000 06 840101 850105 00", "6985")
    # The ephemeral key agrees; it does not sign.
    client.generate_key_pair(b"\x04")
    terminal.expect("00 2A 0001 0D 840104 A10103 91020001 920104", "6985")
    # A key pair's public half is not for a client to overwrite.
    terminal.expect("00 24 0002 03 850101", "6A82")
    # A file without read access.
    client.write_file(b"\x02", b"secret")
    client.store_data(bytes.fromhex("E008C306830102600100"))
    terminal.expect("00 B0 0000 03 830102 00", "6985")
    client.store_data(bytes.fromhex("E008C306830102600101"))
    assert terminal.send("00 B0 0000 03 830102 06") == b"secret".hex().upper() + "9000"
    # A public key container without update access.
    client.store_data(bytes.fromhex("E008C206850105600101"))
    terminal.expect("00 24 0002 03 850105", "6985")


def test_empty_containers_are_deactivated(terminal: Terminal) -> None:
    terminal.expect("00 B0 0000 03 830102 00", "6985")
    terminal.expect("00 CB C300 03 830102 00", "C310 830102 600101 4A0100 210102 20020800 9000")
    terminal.expect("00 2A 0001 0D 840101 A10103 91020001 920104", "6985")
    terminal.expect("00 CD 0000 03 850101 00", "6985")
    terminal.expect("00 46 0000 06 840104 850105 00", "6985")


def test_volatile_keys_are_gone_after_a_reset(applet: Applet, client: IoTSafeClient) -> None:
    client.create_key(b"\x01")
    client.generate_key_pair(b"\x04")
    client.put_public_key(b"\x05", key_pair()[1])
    applet.reset()
    assert applet.store.private_keys[b"\x01"].filled
    assert not applet.store.private_keys[b"\x04"].filled
    assert not applet.store.public_keys[b"\x05"].filled
    assert applet.keys.handles() == {applet.store.private_keys[b"\x01"].handle}


def test_stray_keys_are_collected_at_start(applet: Applet) -> None:
    handle, _ = applet.keys.generate(persistent=True)
    kept, point = applet.keys.generate(persistent=True)
    key = replace(applet.store.private_keys[b"\x01"], handle=kept, public=point)
    Applet(applet.store.with_object(key), applet.keys, lambda store: None)
    assert applet.keys.handles() == {kept}
    assert handle != kept


def test_a_compressed_public_key_is_taken_and_given_back_uncompressed(
    terminal: Terminal, provisioned: IoTSafeClient
) -> None:
    _peer, point = key_pair()
    compressed = bytes([2 + (point[-1] & 1)]) + point[1:33]
    terminal.expect("00 24 0000 03 850105", "9000")
    terminal.expect(f"00 D8 8000 27 3425 4923 8621 {compressed.hex()}", "9000")
    assert terminal.send("00 CD 0000 03 850105 00") == f"3445494386 41{point.hex()}9000".replace(" ", "").upper()
    # An X that is on no point of the curve, and the other half of the encoding space.
    for wrong in (b"\x02" + b"\xff" * 32, b"\x04" + point[1:33], b"\x05" + point[1:33]):
        terminal.expect("00 24 0000 03 850105", "9000")
        terminal.expect(f"00 D8 8000 27 3425 4923 8621 {wrong.hex()}", "6A80")
    assert terminal.send("00 CD 0000 03 850105 00").startswith("3445")


@pytest.mark.parametrize(
    ("command", "tags"),
    [("00 CB C300", "83 73"), ("00 CB C100", "84 74"), ("00 CD 0000", "85 75"), ("00 B9 0000", "84 74")],
)
def test_an_empty_label_names_nothing(terminal: Terminal, provisioned: IoTSafeClient, command: str, tags: str) -> None:
    identifier, label = tags.split()
    key = "04" if command.startswith("00 B9") else "01"
    key = "02" if identifier == "83" else key
    assert terminal.send(f"{command} 03 {identifier}01{key} 00").endswith("9000")
    # Beside an identifier it changes nothing; alone it is not a name, not even of an object without a label.
    assert terminal.send(f"{command} 05 {label}00 {identifier}01{key} 00").endswith("9000")
    terminal.expect(f"{command} 02 {label}00 00", "6A80")
