"""Malformed commands get the right status word and change nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from iot_safe_sim.card import Applet
from iot_safe_sim.interface import StatusWord
from iot_safe_sim.middleware import IoTSafeClient
from tests.unit.iot_safe_sim.support import Terminal, key_pair

H = hashlib.sha256(b"x").hexdigest()
POINT = key_pair()[1].hex()
SIGN_INIT = "00 2A 0001 0D 840101 A10103 91020001 920104"

GOOD = [
    "00A4040007A0000005590010",
    "00 84 0000 20",
    "00 B9 0000 03 840104 00",
    "00 CD 0000 03 850101 00",
    "00 24 0002 03 850105",
    f"00 D8 8002 47 3445 4943 8641 {POINT}",
    SIGN_INIT,
    f"00 2B 8001 22 9E20 {H} 00",
    "00 2C 0001 0D 850101 A10103 91020001 920104",
    f"00 4A 0000 48 D120{H}D520{H}91020001 00",
    "00 48 0000 0B D10101 D203010203 D30110",
    "00 CB C300 03 830102 00",
    "00 B0 0000 03 830102 00",
    "80 E2 8000 08 E006C304830102 00".replace("08 E006C304830102", "07 E005C303830102"),
]


@pytest.fixture
def ready(terminal: Terminal, provisioned: IoTSafeClient) -> Terminal:
    provisioned.write_file(b"\x02", b"certificate")
    return terminal


#: What has to be open for a command to be looked at.
BEFORE = {
    0xD8: "00 24 0002 03 850105",
    0x2B: SIGN_INIT,
}


@pytest.mark.parametrize("good", GOOD)
def test_every_length_off_by_one_is_refused(ready: Terminal, frozen: Callable[[], bytes], good: str) -> None:
    raw = bytes.fromhex(good)
    if raw[1] in BEFORE:
        assert ready.send(BEFORE[raw[1]]) == "9000"
    before = frozen()
    # Cut anywhere in the data. A command without Le is whole, and the last of five bytes is Le.
    end = len(raw) - (1 if raw[-1] == 0 and len(raw) == 6 + raw[4] else 0)
    for size in [0, 1, 2, 3, *range(6, end)]:
        assert ready.status(raw[:size].hex()) == "6700", size
    for change in (-1, 1):
        wrong = bytearray(raw)
        wrong[4] = wrong[4] + change & 0xFF
        if len(raw) > 5 and wrong[4]:
            assert ready.status(wrong.hex()) in ("6700", "6A80", "6A82"), change
    assert frozen() == before


@pytest.mark.parametrize("raw", ["", "00", "0084", "008400"])
def test_less_than_a_header(ready: Terminal, raw: str) -> None:
    assert ready.status(raw) == "6700"


def test_extended_length_is_refused(ready: Terminal) -> None:
    assert ready.status("00 B0 0000 00 0003 830102 0000") == "6700"
    assert ready.status("00 84 0000 00 0100") == "6700"


def test_every_class_but_two_is_refused(ready: Terminal, frozen: Callable[[], bytes]) -> None:
    before = frozen()
    for cla in range(256):
        status = ready.status(f"{cla:02X}B9000003840104")
        if cla & 0x7C:
            assert status == "6E00", hex(cla)
        else:
            assert status != "6E00", hex(cla)
    assert before != frozen()


def test_every_instruction_is_known_or_refused(ready: Terminal) -> None:
    known = {0x24, 0x2A, 0x2B, 0x2C, 0x2D, 0x46, 0x48, 0x4A, 0x70, 0x84, 0xA4, 0xB0, 0xB9, 0xC0, 0xCB, 0xCD, 0xD8, 0xE2}
    for ins in range(256):
        status = ready.status(f"00{ins:02X}7F7F")
        assert (status == "6D00") == (ins not in known), hex(ins)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        # Unknown identifiers.
        ("00 B9 0000 03 840177 00", "6A82"),
        ("00 CD 0000 03 850177 00", "6A82"),
        ("00 24 0002 03 850177", "6A82"),
        ("00 2A 0001 0D 840177 A10103 91020001 920104", "6A82"),
        ("00 2C 0001 0D 850177 A10103 91020001 920104", "6A82"),
        ("00 46 0000 06 840177 850105 00", "6A82"),
        ("00 46 0000 06 840104 850177 00", "6985"),
        ("00 CB C300 03 830177 00", "6A82"),
        ("00 B0 0000 03 830177 00", "6A82"),
        ("00 48 0100 0B 860177 D203010203 D30110", "6A82"),
        # Invalid identifiers and labels.
        ("00 B0 0000 02 8300 00", "6A80"),
        (f"00 B0 0000 17 8315 {'01' * 21} 00", "6A80"),
        ("00 B0 0000 03 840101 00", "6A80"),
        ("00 B0 0000 06 830102 830102 00", "6A80"),
        ("00 B0 0000 01 83", "6A80"),
        # Identifier and label of different objects.
        ("00 B0 0000 08 830102 7303 414243 00", "6A82"),
        # P1 P2.
        ("00 84 0100 10", "6A86"),
        ("00 B9 0001 03 840104 00", "6A86"),
        ("00 CD 0100 03 850101 00", "6A86"),
        ("00 2A 0201 0D 840101 A10103 91020001 920104", "6A86"),
        ("00 2A 0008 0D 840101 A10103 91020001 920104", "6A86"),
        ("00 CB C500 03 830102 00", "6A86"),
        ("00 CB 0001 00", "6A86"),
        ("00 48 0300 03 D10101 00", "6A86"),
        ("00 A4 0004 02 3F00", "6A86"),
        ("00 70 0100 01", "6A86"),
        ("00 70 8000 00", "6A86"),
        ("00 70 8004", "6A86"),
        ("00 C0 0100 10", "6A86"),
        # Data or Le where the command has none, and the reverse.
        ("00 84 0000", "6700"),
        ("00 84 0000 02 0000 10", "6700"),
        ("00 CB 0000 03 830102 00", "6700"),
        ("00 2A 0101 03 840101", "6700"),
        ("00 70 0000 01 00 01", "6700"),
        ("00 C0 0000 01 00", "6700"),
        # Parameters.
        ("00 2A 0001 0D 840101 A10104 91020001 920104", "6A80"),
        ("00 2A 0001 0D 840101 A10103 91020003 920104", "6A80"),
        ("00 2A 0001 0D 840101 A10103 91020001 920101", "6A80"),
        ("00 2A 0001 0C 840101 A10103 910101 920104", "6A80"),
        ("00 2A 0001 0A 840101 A10103 91020001", "6A80"),
        (f"00 4A 0000 26 D120{H}91020008", "6A80"),
        (f"00 4A 0000 22 D120{H}", "6A80"),
        ("00 48 0000 0B D10101 D203010203 D30100", "6A80"),
        ("00 48 0000 0C D10101 D203010203 D3020100", "6A80"),
        ("00 48 0000 08 D203010203 D30110", "6A80"),
        # Sessions out of order.
        (f"00 2B 8001 22 9E20 {H} 00", "6985"),
        (f"00 2D 8001 22 9E20 {H}", "6985"),
        (f"00 D8 8002 47 3445 4943 8641 {POINT}", "6985"),
        ("00 2A 0101 00", "6985"),
        ("00 2C 0101 00", "6985"),
        ("00 24 0102 00", "6985"),
    ],
)
def test_refused_with_the_right_status_and_unchanged(
    ready: Terminal, frozen: Callable[[], bytes], command: str, status: str
) -> None:
    before = frozen()
    assert ready.status(command) == status, ready.applet.last_detail
    assert frozen() == before


@pytest.mark.parametrize(
    ("update", "status"),
    [
        (f"00 2B 0001 22 9E20 {H}", "6A80"),
        (f"00 2B 8101 22 9E20 {H}", "6A86"),
        (f"00 2B 8001 21 9E1F {H[:-2]}", "6A80"),
        (f"00 2B 8001 23 9E21 {H}00", "6A80"),
        (f"00 2B 8001 22 9B20 {H}", "6A80"),
        (f"00 2B 8001 22 9E1F {H}", "6A80"),
        (f"00 2B 8001 22 9E21 {H}", "6A80"),
        (f"00 2B 8001 23 9E20 {H} 00", "6A80"),
        (f"00 2B 8001 24 9E20 {H} 00", "6700"),
        (f"00 2B 8002 22 9E20 {H}", "6985"),
        ("00 2B 8001", "6A80"),
    ],
)
def test_a_refused_update_leaves_the_session_usable(
    ready: Terminal, frozen: Callable[[], bytes], update: str, status: str
) -> None:
    assert ready.send(SIGN_INIT) == "9000"
    before = frozen()
    assert ready.status(update) == status, ready.applet.last_detail
    assert frozen() == before
    assert ready.status(f"00 2B 8001 22 9E20 {H}") == "6143"


@pytest.mark.parametrize(
    "updates",
    [
        ["00 2B 8001 05 9B05 616263"],
        ["00 2B 8001 06 9B03 61626364"],
        ["00 2B 0001 05 9B04 616263", "00 2B 8001 02 6465"],
        ["00 2B 0001 05 9B05 616263", "00 2B 8001 01 64"],
        ["00 2B 8001 01 9B"],
        ["00 2B 8001 05 9A03 616263"],
    ],
)
def test_full_text_that_ends_early_or_late_is_refused(ready: Terminal, updates: list[str]) -> None:
    assert ready.send("00 2A 0001 0D 840101 A10101 91020001 920104") == "9000"
    for update in updates[:-1]:
        assert ready.send(update) == "9000"
    assert ready.status(updates[-1]) == "6A80"


@pytest.mark.parametrize(
    "point", ["04" + "00" * 64, "02" + "11" * 64, POINT[:-2] + ("00" if POINT[-2:] != "00" else "01")]
)
def test_points_off_the_curve_are_not_stored(ready: Terminal, frozen: Callable[[], bytes], point: str) -> None:
    """An invalid-curve point would leak the private key bit by bit through DH."""
    assert ready.send("00 24 0002 03 850105") == "9000"
    before = frozen()
    assert ready.send(f"00 D8 8002 47 3445 4943 8641 {point}") == "6A80"
    assert frozen() == before
    assert ready.send("00 46 0000 06 840104 850105 00") == "6985"


def test_endless_public_key_is_refused(ready: Terminal) -> None:
    assert ready.send("00 24 0002 03 850105") == "9000"
    assert ready.send(f"00 D8 0002 FF {'34' * 255}") == "9000"
    assert ready.status(f"00 D8 0002 FF {'34' * 255}") == "6A80"


def test_endless_store_data_is_refused_and_forgotten(ready: Terminal, frozen: Callable[[], bytes]) -> None:
    before = frozen()
    block, status = 0, "9000"
    while status == "9000":
        status = ready.status(f"80 E2 00 {block:02X} FF {'E0' * 255}")
        block += 1
        assert block < 60
    assert status == "6A84"
    assert ready.status(f"80 E2 80 {block:02X} 01 E0") == "6A86"
    assert frozen() == before


def test_every_status_word_is_one_of_the_interface(ready: Terminal) -> None:
    known = {f"{word:04X}" for word in StatusWord}
    seen = {ready.status(f"00{ins:02X}{p1:02X}00") for ins in range(256) for p1 in (0, 1, 0x80, 0xC3)}
    assert {word for word in seen if word[:2] != "61"} <= known


def test_nothing_works_before_select(applet: Applet) -> None:
    terminal = Terminal(applet)
    for ins in ("84 0000 10", "CB 0000 00", "B0 0000 03 830102 00", "E2 8000 07 E005C303830102"):
        assert terminal.status(f"00{ins}") == "6985"


def test_a_full_disk_refuses_and_changes_nothing(applet: Applet) -> None:
    def full(store: object) -> None:
        raise OSError(28, "No space left on device")

    broken = Applet(applet.store, applet.keys, full)
    terminal = Terminal(broken)
    assert terminal.send("00A4040007A0000005590010") == "9000"
    assert terminal.status("80 E2 8000 0A E008 C106 840101 B900 00".replace("0A E008 C106", "09 E007 C105")) == "6A84"
    assert not broken.store.private_keys[b"\x01"].filled
    assert broken.keys.handles() == set()
