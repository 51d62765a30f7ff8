"""The DER parser: valid elements, and every form of invalid length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.core import der


def tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


@given(st.sampled_from([0x02, 0x04, 0x30, 0xA3]), st.binary(max_size=70_000))
def test_an_element_is_parsed_as_it_was_encoded(tag: int, content: bytes) -> None:
    data = tlv(tag, content)
    element = der.only(data, tag, "element")
    assert element.value(data) == content
    assert element.whole(data) == data
    assert (element.start, element.end) == (0, len(data))


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_children_fill_their_parent(parts: list[bytes]) -> None:
    data = tlv(der.SEQUENCE, b"".join(tlv(der.OCTET_STRING, part) for part in parts))
    parent = der.only(data, der.SEQUENCE, "list")
    assert [child.value(data) for child in der.children(data, parent)] == parts


@given(st.binary(max_size=64))
def test_any_octets_are_parsed_or_refused(data: bytes) -> None:
    try:
        parent = der.only(data, der.SEQUENCE, "anything")
        spans = [(child.start, child.end) for child in der.children(data, parent)]
    except der.DerError:
        return
    edges = [parent.content, *(end for _, end in spans)]
    assert [start for start, _ in spans] == edges[:-1]
    assert edges[-1] == parent.end == len(data)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "header cut off"),
        (b"\x30", "header cut off"),
        (b"\x30\x80\x00\x00", "indefinite length"),
        (b"\x30\x81", "length cut off"),
        (b"\x30\x82\x01", "length cut off"),
        (b"\x30\x81\x01\x00", "shortest form"),
        (b"\x30\x81\x7f" + b"\0" * 0x7F, "shortest form"),
        (b"\x30\x82\x00\x80" + b"\0" * 0x80, "shortest form"),
        (b"\x30\x85\x00\x00\x00\x00\x01\x00", "5 length octets"),
        (b"\x30\xff" + b"\x01" * 127, "127 length octets"),
        (b"\x30\x84\xff\xff\xff\xff", "do not fit"),
        (b"\x30\x02\x05", "do not fit"),
        (b"\x3f\x81\x01\x00", "high tag numbers"),
        (b"\x31\x00", "tag 0x31 found, 0x30 expected"),
        (b"\x30\x00\x00", "1 octets left over"),
    ],
)
def test_invalid_elements_are_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(der.DerError, match=complaint):
        der.only(data, der.SEQUENCE, "element")


def test_a_child_must_not_extend_beyond_its_parent() -> None:
    # The child claims one octet more than its 2-octet parent contains. That octet exists in the data.
    data = b"\x30\x02\x04\x01\xaa"
    parent = der.read(data, 0, len(data))
    with pytest.raises(der.DerError, match="do not fit before octet 4"):
        list(der.children(data, parent))


def test_context_tags() -> None:
    assert der.context(3) == 0xA3
    assert der.context(2, constructed=False) == 0x82
