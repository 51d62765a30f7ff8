"""What real clients rely on beyond the specification, one test for each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import pytest

from iot_safe_sim.card import Applet, SignatureFormat
from iot_safe_sim.interface import GSMA_AID, THALES_AID, THALES_AID_2025
from iot_safe_sim.keystore import SoftwareKeyStore
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport
from tests.unit.iot_safe_sim.support import Terminal

H = hashlib.sha256(b"x").hexdigest()


def test_past_the_end_a_file_is_zeros_and_9000(terminal: Terminal, client: IoTSafeClient) -> None:
    client.write_file(b"\x02", b"\xaa" * 300)
    assert terminal.send("00 B0 012C 03 830102 10") == "00" * 16 + "9000"
    assert terminal.send("00 B0 0128 03 830102 10") == "AA" * 4 + "00" * 12 + "9000"
    assert terminal.send("00 B0 06F9 03 830102 00") == "00" * 255 + "9000"
    # An offset outside the container is an error.
    assert terminal.send("00 B0 0800 03 830102 00") == "6A86"
    assert terminal.send("00 B0 FFFF 03 830102 00") == "6A86"


@pytest.mark.parametrize("size", [1, 38, 254, 255, 256, 378, 510, 1309, 3000])
def test_a_client_that_counts_bytes_reads_exactly_the_content(
    terminal: Terminal, client: IoTSafeClient, size: int
) -> None:
    """The newer Thales client reports as size the sum of the parts that it read."""
    content = bytes(number % 250 + 1 for number in range(size))
    client.write_file(b"\x02", content)
    assert bytes.fromhex(terminal.send("00 CB C300 03 830102 00"))[-4:-2] == size.to_bytes(2, "big")
    read = b""
    while len(read) < size:
        place = f"{len(read) >> 8:02X}{len(read) & 255:02X}"
        part = terminal.send(f"00 B0 {place} 03 830102 00")
        if part == "61FF":
            part = terminal.send("00C00000FF")
        assert part.endswith("9000")
        read += bytes.fromhex(part[:-4])
    assert read == content


def test_an_empty_file_has_the_size_of_its_container(terminal: Terminal, client: IoTSafeClient) -> None:
    """The Thales client repeats the command until the size is not 0. The state (4A) says that the file is empty."""
    assert terminal.send("00 CB C300 03 830102 00") == "C310 830102 600101 4A0100 210102 20020800 9000"
    assert terminal.send("00 B0 0000 03 830102 00") == "6985"
    info = client.file_info(b"\x02")
    assert (info.size, info.filled) == (0, False)
    assert client.read_file(b"\x02") == b""


@pytest.mark.parametrize(
    "command", ["00 B0 0000 03 830102 00", "00 84 0000 00", "00 CB 0000 00", "00 CB 0100 00", "00 B0 0000 03 830102"]
)
def test_a_response_never_has_more_than_255_bytes(terminal: Terminal, client: IoTSafeClient, command: str) -> None:
    client.write_file(b"\x02", b"\xaa" * 600)
    answer = terminal.send(command)
    assert len(answer) // 2 - 2 <= 255
    while answer[-4:-2] == "61":
        answer = terminal.send(f"00C00000{answer[-2:]}")
        assert len(answer) // 2 - 2 <= 255


def test_a_non_zero_le_is_honoured(terminal: Terminal, client: IoTSafeClient) -> None:
    client.write_file(b"\x02", bytes(range(200)))
    assert terminal.send("00 B0 0000 03 830102 32") == bytes(range(0x32)).hex() + "9000"
    assert terminal.send("00 B0 0032 03 830102 01") == "32 9000"


def test_data_that_start_with_61_are_announced(terminal: Terminal, client: IoTSafeClient) -> None:
    """wolfSSL would read `61 xx` in the data as a status word."""
    client.write_file(b"\x02", b"\x61\x05" + b"a" * 20)
    assert terminal.send("00 B0 0000 03 830102 0A") == "610A"
    assert terminal.send("00 C0 0000 0A") == "6105" + "61" * 8 + "9000"


def test_random_that_starts_with_61_is_announced(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iot_safe_sim.card.commands.random_bytes.os.urandom", lambda count: b"\x61" * count)
    assert terminal.send("81A4040007A0000005590010") == "9000"
    assert terminal.send("81 84 0000 34") == "6134"
    assert terminal.send("01 C0 0000 34") == "61" * 0x34 + "9000"


def test_get_response_works_with_every_class_and_in_pieces(terminal: Terminal, client: IoTSafeClient) -> None:
    client.write_file(b"\x02", bytes(range(100)))
    for cla in ("00", "80"):
        assert terminal.send("00 B0 0000 03 830102") == "6164"
        assert terminal.send(f"{cla} C0 0000 02") == "0001 6162"
        assert terminal.send(f"{cla} C0 0000 01") == "02 6161"
        assert terminal.send(f"{cla}C0000000").endswith("9000")
        assert terminal.send(f"{cla} C0 0000 00") == "6985"


def test_another_command_drops_a_waiting_response(terminal: Terminal, client: IoTSafeClient) -> None:
    client.write_file(b"\x02", b"abc")
    assert terminal.send("00 B0 0000 03 830102") == "6103"
    assert terminal.send("00 CB C300 03 830177") == "6A82"
    assert terminal.send("00 C0 0000 10") == "6985"


def test_key_generation_never_answers_with_a_bare_9000(terminal: Terminal) -> None:
    assert terminal.send("00 B9 0000 03 840104") == "614D"
    assert len(terminal.send("00 B9 0000 03 840104 00")) > 4


@dataclass
class ScriptedSignatures(SoftwareKeyStore):
    """A key store with prepared signatures, for a case that occurs once in 128 signatures."""

    answers: list[bytes] = field(default_factory=list)

    def sign(self, handle: str, digest: bytes) -> bytes:
        return self.answers.pop(0)


@pytest.mark.parametrize("zero_at", [0, 32])
def test_signatures_with_a_leading_zero_are_made_again(applet: Applet, zero_at: int) -> None:
    """The Thales client writes r and s into DER unchanged, and strict parsers refuse a superfluous leading zero."""
    short = bytearray(b"\x11" * 64)
    short[zero_at] = 0
    keys = ScriptedSignatures.__new__(ScriptedSignatures)
    SoftwareKeyStore.__init__(keys, applet.keys._directory)  # type: ignore[attr-defined]
    keys.answers = [bytes(short), bytes(short), b"\x22" * 64]
    applet.content.keys = keys
    IoTSafeClient(MemoryTransport(applet)).create_key(b"\x01")
    terminal = Terminal(applet)
    assert terminal.send("00 2A 0001 0D 840101 A10103 91020001 920104") == "9000"
    assert terminal.send(f"00 2B 8001 22 9E20 {H} 00") == "330040" + "22" * 64 + "9000"


@pytest.mark.parametrize("ins", ["B9 0000 03 840104", "B0 0000 03 830102", "CB C300 03 830102"])
def test_a_command_with_data_is_never_answered_6cxx(terminal: Terminal, client: IoTSafeClient, ins: str) -> None:
    client.write_file(b"\x02", b"abc")
    for le in ("01", "02", "FF"):
        assert terminal.status(f"00 {ins} {le}")[:2] in ("90", "61")


def test_select_of_something_else_leaves_the_applet_selected(terminal: Terminal) -> None:
    """wolfSSL ignores the status word of SELECT, and continues."""
    assert terminal.send("00 A4 0400 07 A0000000871002") == "6A82"
    assert terminal.send("00 CB 0000 44").endswith("9000")


@pytest.mark.parametrize(
    ("setting", "aid", "prefix"),
    [
        (SignatureFormat.BY_AID, GSMA_AID, "330040"),
        (SignatureFormat.BY_AID, THALES_AID, "3340"),
        (SignatureFormat.BY_AID, THALES_AID_2025, "3340"),
        (SignatureFormat.WIDE, THALES_AID, "330040"),
        (SignatureFormat.SHORT, GSMA_AID, "3340"),
    ],
)
def test_signature_length_follows_the_aid_unless_overridden(
    applet: Applet, setting: SignatureFormat, aid: bytes, prefix: str
) -> None:
    chosen = Applet(applet.store, applet.keys, lambda store: None, signature_format=setting)
    IoTSafeClient(MemoryTransport(chosen)).create_key(b"\x01")
    terminal = Terminal(chosen)
    assert terminal.send(f"00A40400{len(aid):02X}{aid.hex()}") == "9000"
    assert terminal.send("00 2A 0001 0D 840101 A10103 91020001 920104") == "9000"
    answer = terminal.send(f"00 2B 8001 22 9E20 {H} 00")
    assert answer.startswith(prefix)
    assert len(answer) == len(prefix) + 128 + 4


def test_select_resets_the_sessions_of_its_channel_only(terminal: Terminal, provisioned: IoTSafeClient) -> None:
    assert terminal.send("01A4040007A0000005590010") == "9000"
    for cla in ("00", "01"):
        assert terminal.send(f"{cla} 2A 0001 0D 840101 A10103 91020001 920104") == "9000"
    assert terminal.send("00A4040007A0000005590010") == "9000"
    assert terminal.send(f"00 2B 8001 22 9E20 {H}") == "6985"
    assert terminal.send(f"01 2B 8001 22 9E20 {H}") == "6143"


def test_a_channel_of_a_crashed_client_is_reused(terminal: Terminal) -> None:
    """The fourth client still gets a channel: the one that was unused longest."""
    assert [terminal.send("0070000001")[:2] for _ in range(3)] == ["01", "02", "03"]
    assert terminal.send("02A4040007A0000005590010") == "9000"
    assert terminal.send("01A4040007A0000005590010") == "9000"
    assert terminal.send("0070000001") == "03 9000"
    assert terminal.send("0070000001") == "02 9000"
    assert terminal.send("0284000010") == "6985"
