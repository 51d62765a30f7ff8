"""JSON from a hostile peer: the same elements however the octets come, bounds that hold, and nothing else raised."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_sync.feeds.json_stream import Bounds, ObjectReader, StreamError, TooLarge, Unusable

BOUNDS = Bounds(1_000_000, 1000, {"changes": 100, "names": 5})
TEXT = b'{"next": 7, "changes": [{"seq": 1}, 2, "three", [4], null] , "names":[], "more": {"a": [{"b": "\xc3\xbc"}]}}'
ELEMENTS = [("changes", {"seq": 1}), ("changes", 2), ("changes", "three"), ("changes", [4]), ("changes", None)]


def read(text: bytes, *, size: int = 1 << 20, bounds: Bounds = BOUNDS) -> tuple[list[tuple[str, Any]], ObjectReader]:
    """All elements of a text that arrives in pieces of `size` octets."""
    reader = ObjectReader(bounds)
    found: list[tuple[str, Any]] = []
    for start in range(0, len(text), size):
        found += reader.feed(text[start : start + size])
    return [*found, *reader.finish()], reader


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_the_elements_are_the_same_however_the_octets_come(size: int) -> None:
    found, reader = read(TEXT, size=size)
    assert found == ELEMENTS
    assert reader.members == {"next": 7, "more": {"a": [{"b": "\u00fc"}]}}
    assert reader.counts == {"changes": 5, "names": 0}


@pytest.mark.parametrize("size", [997, 16 * 1024, 40_000])
def test_a_long_text_is_handed_out_before_it_ends(size: int) -> None:
    items = [{"seq": n, "type": "x" * (n % 50)} for n in range(90)]
    text = json.dumps({"changes": items, "pad": ["y" * 90] * 8, "next": 90}).encode()
    bounds = Bounds(1_000_000, 1000, {"changes": 100})
    assert [item for _, item in read(text, size=size, bounds=bounds)[0]] == items
    # Complete elements are returned although the text has not ended.
    reader = ObjectReader(Bounds(1_000_000, 1000, {"changes": 5000}))
    assert len(list(reader.feed(b'{"changes": [' + b'{"seq": 1}, ' * 2000))) == 2000


@given(st.text(max_size=30), st.integers(1, 20))
def test_whatever_else_comes_is_refused_as_such(text: str, size: int) -> None:
    octets = text.encode("utf-8", "surrogatepass")
    try:
        json.loads(octets)
    except ValueError:
        with pytest.raises(StreamError):
            read(octets, size=size)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.lists(_json, max_size=8), st.dictionaries(st.sampled_from("abcd"), _json), st.integers(1, 30), st.booleans())
def test_any_object_is_read_as_json_reads_it(
    items: list[Any], members: dict[str, Any], size: int, ascii_only: bool
) -> None:
    text = json.dumps({**members, "changes": items}, ensure_ascii=ascii_only).encode()
    found, reader = read(text, size=size)
    assert [item for _, item in found] == items
    assert reader.members == members


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[]", b"null", b"{}x", b"{} {}", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{,}', b'{1:2}',
        b'{"a":1 "b":2}',
        b'{"changes":[1,]}', b'{"changes":[,1]}', b'{"changes":[1 2]}', b'{"changes":[1', b'{"changes":[}', b"\xff{}",
        b'{"a":1,"a":2}', b'{"changes":[1],"changes":[2]}', b'{"changes":[],"changes":1}', b'{"a":' + b"[" * 100_000,
        b'{"a": "\xc3', b'{"a": tru}', b'{"a": 01}', b"\xef\xbb\xbf{}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 1000])
def test_what_is_not_one_object_is_refused(text: bytes, size: int) -> None:
    with pytest.raises(StreamError):
        read(text, size=size, bounds=Bounds(1_000_000, 1_000_000, BOUNDS.items))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b" " * 1_000_001, "at most 1000000 expected"),
        (b'{"changes":[' + b"1," * 101, "101 changes or more, at most 100 expected"),
        (b'{"names":["a","b","c","d","e","f"]}', "6 names or more, at most 5 expected"),
        (b'{"changes":["' + b"x" * 1000 + b'"]}', "an element of 1002 octets or more, at most 1000 expected"),
        (b'{"changes":["' + b"x" * 50_000, "at most 1000 expected"),
        (b'{"other":"' + b"x" * 1000 + b'"}', "at most 1000 expected"),
        (b'{"other' + b"x" * 1000 + b'":1}', "at most 1000 expected"),
        ('{"changes":["' + "\u00fc" * 600 + '"]}', "at most 1000 expected"),
        (json.dumps({f"k{n}": 1 for n in range(65)}), "65 members or more, at most 64 expected"),
    ],
)
def test_each_bound_names_what_was_found_and_what_is_expected(text: bytes | str, message: str) -> None:
    with pytest.raises(TooLarge, match=message):
        read(text if isinstance(text, bytes) else text.encode(), size=10_000)


@pytest.mark.parametrize(
    "item",
    [b'{"seq":1,"seq":2}', b'{"a":{"b":1,"b":1}}', b"NaN", b"-Infinity", b"9" * 21, b'{"seq":-' + b"9" * 500 + b"}"],
)
def test_an_element_without_a_meaning_does_not_hide_its_neighbours(item: bytes) -> None:
    found, _ = read(b'{"changes":[1,' + item + b",2]}")
    assert [item for _, item in (found[0], found[2])] == [1, 2]
    assert "Unusable" in repr(found[1][1])
    assert isinstance(found[1][1], Unusable | dict)


def test_octets_that_come_one_by_one_are_not_parsed_again_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work for an endless element grows linearly with its octets."""
    looked_at = 0
    text = b'{"changes":[[' + b"[],"
    reader = ObjectReader(Bounds(10_000_000, 200_000, {"changes": 10}))
    value = ObjectReader._value

    def count(self: ObjectReader, last: bool) -> Any:
        nonlocal looked_at
        looked_at += len(self._text) - self._at
        return value(self, last)

    monkeypatch.setattr(ObjectReader, "_value", count)
    assert list(reader.feed(text)) == []
    for _ in range(60_000):
        assert list(reader.feed(b"[],")) == []
        assert looked_at < 1_000_000
