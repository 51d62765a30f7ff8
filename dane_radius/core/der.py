"""A strict parser for the subset of DER (ITU-T X.690) in session files and in the outline of certificates.

It returns offsets instead of copies, because DANE digests the exact bytes in the certificate: a re-encoded
SubjectPublicKeyInfo may differ from the one that was signed (RFC 6698 section 2.1.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30


def context(number: int, *, constructed: bool = True) -> int:
    """The identifier octet of context tag `number` (0 to 30)."""
    return (0xA0 if constructed else 0x80) | number


class DerError(ValueError):
    """The bytes are not DER, or not of the expected structure."""


class Tlv(NamedTuple):
    """One element: its identifier octet, and the offsets of its start, its content and its end."""

    tag: int
    start: int
    content: int
    end: int

    def value(self, data: bytes) -> bytes:
        """The content octets."""
        return data[self.content : self.end]

    def whole(self, data: bytes) -> bytes:
        """The exact octets of the element in `data`, with tag and length."""
        return data[self.start : self.end]


def read(data: bytes, offset: int, end: int) -> Tlv:
    """The element at `offset`, which must not extend beyond `end`. Raises DerError."""
    if offset + 2 > end:
        raise DerError(f"element at octet {offset}: header cut off (limit {end})")
    tag = data[offset]
    if tag & 0x1F == 0x1F:
        raise DerError(f"element at octet {offset}: high tag numbers are not expected here")
    length = data[offset + 1]
    content = offset + 2
    if length >= 0x80:
        count = length & 0x7F
        if count == 0:
            raise DerError(f"element at octet {offset}: indefinite length is not DER")
        if count > 4:
            raise DerError(f"element at octet {offset}: {count} length octets, at most 4 expected")
        if content + count > end:
            raise DerError(f"element at octet {offset}: length cut off (limit {end})")
        length = int.from_bytes(data[content : content + count], "big")
        if length < 0x80 or length >> (8 * (count - 1)) == 0:
            raise DerError(f"element at octet {offset}: length is not in its shortest form")
        content += count
    if content + length > end:
        raise DerError(f"element at octet {offset}: {length} content octets do not fit before octet {end}")
    return Tlv(tag, offset, content, content + length)


def expect(data: bytes, offset: int, end: int, tag: int, what: str) -> Tlv:
    """As `read`, but the element must have `tag`. Raises DerError, which names `what`."""
    element = read(data, offset, end)
    if element.tag != tag:
        raise DerError(f"{what} at octet {offset}: tag 0x{element.tag:02x} found, 0x{tag:02x} expected")
    return element


def children(data: bytes, parent: Tlv) -> Iterator[Tlv]:
    """The elements inside a constructed one, which they must fill exactly. Raises DerError."""
    offset = parent.content
    while offset < parent.end:
        element = read(data, offset, parent.end)
        yield element
        offset = element.end


def find(data: bytes, parent: Tlv, tag: int) -> list[Tlv]:
    """The elements with `tag` inside a constructed one, which its elements must fill exactly. Raises DerError."""
    found = []
    offset, end = parent.content, parent.end
    while offset < end:
        # A fast path for short elements, which most are: it creates no object for them.
        if offset + 2 <= end and data[offset] != tag and data[offset + 1] < 0x80 and data[offset] & 0x1F != 0x1F:
            offset += 2 + data[offset + 1]
            if offset > end:
                raise DerError(f"element before octet {offset} does not fit before octet {end}")
            continue
        element = read(data, offset, end)
        if element.tag == tag:
            found.append(element)
        offset = element.end
    return found


def only(data: bytes, tag: int, what: str) -> Tlv:
    """`data` must be exactly one element with `tag`. Raises DerError."""
    element = expect(data, 0, len(data), tag, what)
    if element.end != len(data):
        raise DerError(f"{what}: {len(data) - element.end} octets left over behind it")
    return element
