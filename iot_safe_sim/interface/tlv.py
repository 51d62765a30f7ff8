"""TLV coding of IoT SAFE commands and objects: overrun and leftover bytes are errors.

Every tag is one byte. A length is BER (one byte below 80, or 81 xx, or 82 xx xx). The longer forms are accepted for
short values too, because one client family always sends three bytes. Signatures (tag 33) have a second form that is not
BER, with a 16-bit length that starts with 00.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from iot_safe_sim.interface.tags import Tag


class TlvError(ValueError):
    """The bytes are not the TLV data that was expected; the text says what was found."""


@dataclass(frozen=True, slots=True)
class Tlv:
    """One element: `tag` is one byte, `value` is its content."""

    tag: int
    value: bytes


def encode_tlv(tag: int, value: bytes) -> bytes:
    """Encode with the shortest BER length. Raises TlvError for a value over 65,535 bytes."""
    return bytes([tag]) + encode_length(len(value)) + value


def encode_length(length: int) -> bytes:
    """The shortest BER length. Raises TlvError over 65,535."""
    if length < 0x80:
        return bytes([length])
    if length < 0x100:
        return bytes([0x81, length])
    if length < 0x10000:
        return bytes([0x82]) + length.to_bytes(2, "big")
    raise TlvError(f"value of {length} bytes: at most 65535 can be encoded")


def read_tlv_header(data: bytes, offset: int) -> tuple[int, int, int]:
    """Read tag and length at `offset`. Returns tag, length, and the offset of the value.

    The value itself is not looked at, because it may span several commands. Raises TlvError when the header is cut
    short or its length has none of the accepted forms.
    """
    if offset + 2 > len(data):
        raise TlvError(f"element at byte {offset}: tag and length need 2 bytes, {len(data) - offset} left")
    tag, first = data[offset], data[offset + 1]
    if tag == Tag.SIGNATURE and first == 0:
        size, extra = 1, 2
    elif first < 0x80:
        return tag, first, offset + 2
    elif first in (0x81, 0x82):
        size, extra = first - 0x80, 2
    else:
        raise TlvError(f"tag {tag:02X}: length byte {first:02X} is not 00-7F, 81 or 82")
    start = offset + extra
    if start + size > len(data):
        raise TlvError(f"tag {tag:02X}: its length is cut short")
    return tag, int.from_bytes(data[start : start + size], "big"), start + size


def parse_tlv(data: bytes) -> list[Tlv]:
    """Split `data` into elements that fill it exactly. Raises TlvError on overrun and on leftover bytes."""
    elements = []
    offset = 0
    while offset < len(data):
        tag, length, start = read_tlv_header(data, offset)
        if start + length > len(data):
            raise TlvError(f"tag {tag:02X}: length {length}, but only {len(data) - start} bytes follow")
        elements.append(Tlv(tag, data[start : start + length]))
        offset = start + length
    return elements


class Fields:
    """The elements of one command by tag: each tag at most once, and none that is not allowed."""

    def __init__(self, elements: Iterable[Tlv], allowed: Iterable[int]) -> None:
        permitted = frozenset(allowed)
        self._values: dict[int, bytes] = {}
        for element in elements:
            if element.tag not in permitted:
                known = " ".join(f"{tag:02X}" for tag in sorted(permitted))
                raise TlvError(f"tag {element.tag:02X} is not expected here (expected: {known})")
            if element.tag in self._values:
                raise TlvError(f"tag {element.tag:02X} occurs twice")
            self._values[element.tag] = element.value

    @classmethod
    def parse(cls, data: bytes, allowed: Iterable[int]) -> Fields:
        """Parse `data`. Raises TlvError as `parse_tlv` does, and for a repeated or unexpected tag."""
        return cls(parse_tlv(data), allowed)

    def __contains__(self, tag: object) -> bool:
        return tag in self._values

    def __iter__(self) -> Iterator[int]:
        return iter(self._values)

    def get(self, tag: int) -> bytes | None:
        """The value of `tag`, or None when it was not sent."""
        return self._values.get(tag)

    def require(self, tag: int, length: int | None = None) -> bytes:
        """The value of `tag`. Raises TlvError when it is missing, or not of `length` bytes if that is given."""
        value = self._values.get(tag)
        if value is None:
            raise TlvError(f"tag {tag:02X} is missing")
        if length is not None and len(value) != length:
            raise TlvError(f"tag {tag:02X}: {len(value)} bytes, expected {length}")
        return value

    def number(self, tag: int, length: int) -> int:
        """The value of `tag` as a big-endian number of exactly `length` bytes. Raises TlvError."""
        return int.from_bytes(self.require(tag, length), "big")
