"""Random APDUs and AT lines, of which more pass the first checks than of random bytes."""

from __future__ import annotations

import random

from iot_safe_sim.interface import encode_tlv

INSTRUCTIONS = [
    0x24,
    0x2A,
    0x2B,
    0x2C,
    0x2D,
    0x46,
    0x48,
    0x4A,
    0x70,
    0x84,
    0xA4,
    0xB0,
    0xB9,
    0xC0,
    0xCB,
    0xCD,
    0xD8,
    0xE2,
]
TAGS = [
    *(0x20, 0x21, 0x33, 0x34, 0x49, 0x4A, 0x4B, 0x4E, 0x50, 0x51, 0x60, 0x61, 0x70, 0x73, 0x74, 0x75, 0x76),
    *(0x83, 0x84, 0x85, 0x86, 0x91, 0x92, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0xA1, 0xB9),
    *(0xC1, 0xC2, 0xC3, 0xC4, 0xD1, 0xD2, 0xD3, 0xD4, 0xD5, 0xE0, 0xE1, 0xE2, 0xE3),
]
IDENTIFIERS = [bytes([number]) for number in (1, 2, 3, 4, 5, 6, 0x11, 0x12, 0x77)] + [b"", b"\x80\0\0\0", bytes(21)]
SELECTS = [bytes.fromhex("00A4040007A0000005590010"), bytes.fromhex("01A4040007A0000002480400")]
#: Commands of real sessions; a fuzz run changes a byte here and there.
SEEDS = [
    *SELECTS,
    *map(
        bytes.fromhex,
        (
            "0084000010",
            "00B900000384010400",
            "00CD00000385010400",
            "00CD00000385010100",
            "002A00010D840101A1010391020001920104",
            "002A00010D840101A1010191020002920104",
            "002A00010D840101A1010291020004920104",
            "002B8001229E20" + "11" * 32,
            "002B8001059B03616263",
            "0024000203850105",
            "002C00010D850101A1010391020001920104",
            "002D8001659E20" + "11" * 32 + "330040" + "22" * 64,
            "00460000068401048501 05",
            "004800000BD10101D203010203D3011000",
            "004A000008D1010191020001",
            "00CB000044",
            "00CB010000",
            "00CBC3000383010200",
            "00B000000383010200",
            "00C0000010",
            "0070000001",
            "80E280000AE008C306830133700161",
            "80E2800009E007C105840111B900",
            "80E2800005E103830133",
        ),
    ),
]


def element(source: random.Random, depth: int = 2) -> bytes:
    """One TLV element, some of them with others inside."""
    tag = source.choice(TAGS)
    kind = source.randrange(4)
    if kind == 0 and depth:
        value = b"".join(element(source, depth - 1) for _ in range(source.randrange(3)))
    elif kind == 1:
        value = source.randbytes(source.choice((0, 1, 2, 4, 32, 48, 64, 65)))
    else:
        value = source.choice(IDENTIFIERS)
    return encode_tlv(tag, value)


def command(source: random.Random) -> bytes:
    """An APDU: a real one with a byte changed, a random one with the structure of a command, or random bytes."""
    kind = source.randrange(10)
    if kind < 4:
        raw = bytearray(source.choice(SEEDS))
        if source.randrange(2):
            raw[source.randrange(len(raw))] = source.randrange(256)
        return bytes(raw)
    if kind < 9:
        data = b"".join(element(source) for _ in range(source.randrange(4)))[:255]
        header = bytes([source.choice((0, 0, 0, 1, 2, 0x80, 0x81)), source.choice(INSTRUCTIONS)])
        header += bytes([source.choice((0, 0, 1, 2, 0x80, 0xC1, 0xC3)), source.choice((0, 0, 1, 2, 9))])
        tail = source.choice((b"", b"\0", b"\x20"))
        return header + (bytes([len(data)]) + data if data else b"") + tail
    return source.randbytes(source.randrange(20))


def line(source: random.Random) -> bytes:
    """An AT command line that is valid or nearly valid, or random bytes."""
    raw = command(source)
    digits = raw.hex().upper()
    kind = source.randrange(12)
    forms = {
        0: f'AT+CGLA={source.randrange(5)},{len(digits)},"{digits}"',
        1: f'AT+CCHO="{source.choice(SELECTS)[5:].hex()}"',
        2: f"AT+CCHC={source.randrange(5)}",
        3: source.choice(("AT", "ATE0", "ATE1", "ATZ", "AT+CSIM=?", "AT+CMEE=1", "AT+CMEE=0", "ATI", "AT+CPIN?")),
        4: f'AT+CSIM={source.randrange(600)},"{digits}"',
        5: f'AT+CSIM={len(digits)},"{digits}',
    }
    text = forms.get(kind, f'AT+CSIM={len(digits)},"{digits}"')
    if kind == 6:
        return source.randbytes(source.randrange(60))
    return text.encode() + source.choice((b"\r\n", b"\r\n", b"\r\n", b"\r", b"\n", b""))
