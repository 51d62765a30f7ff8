"""GET DATA: the applet, the object list, and single objects."""

from __future__ import annotations

from iot_safe_sim.interface import Fields, parse_tlv
from iot_safe_sim.middleware import IoTSafeClient
from tests.unit.iot_safe_sim.support import Terminal


def test_application_information(terminal: Terminal) -> None:
    answer = bytes.fromhex(terminal.send("80CB000044"))
    assert len(answer) == 0x44 + 2
    order = [element.tag for element in parse_tlv(answer[:-2])]
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
    assert terminal.send("80CB010100") == "6985"
    entries = parse_tlv(collected)
    kinds = [entry.tag for entry in entries]
    order = [0xC1, 0xC2, 0xC4, 0xC3]
    assert kinds == sorted(kinds, key=order.index)
    files = [Fields.parse(entry.value, {0x73, 0x83, 0x60, 0x4A, 0x20, 0x21}) for entry in entries if entry.tag == 0xC3]
    assert {fields.require(0x83) for fields in files} >= {bytes([0x40, number]) for number in range(20)}
    for entry in entries:
        order = [element.tag for element in parse_tlv(entry.value)]
        if entry.tag == 0xC3:
            assert order[-4:] == [0x60, 0x4A, 0x20, 0x21]


def test_one_object_by_identifier_and_by_label(terminal: Terminal) -> None:
    by_id = terminal.send("00 CB C100 03 840101 00")
    by_label = terminal.send(f"00 CB C100 0B 7409{b'DeviceKey'.hex()} 00")
    assert by_id == by_label
    assert by_id.startswith("C1")
    assert terminal.send("00 CB C100 03 840177 00") == "6A82"
    assert terminal.send("00 CB C200 03 850104 00").startswith("C2")
    assert terminal.send("00 CB C200 03 850105 00").startswith("C2")


def test_empty_containers_are_deactivated(terminal: Terminal) -> None:
    assert terminal.send("00 B0 0000 03 830102 00") == "6985"
    assert terminal.send("00 CB C300 03 830102 00") == "C310 830102 600101 4A0100 210102 20020800 9000"
    assert terminal.send("00 2A 0001 0D 840101 A10103 91020001 920104") == "6985"
    assert terminal.send("00 CD 0000 03 850101 00") == "6985"
    assert terminal.send("00 46 0000 06 840104 850105 00") == "6985"
