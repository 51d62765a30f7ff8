"""An incremental reader for one JSON object from a peer that may be hostile. Pure.

Every size is checked before the text is parsed. The elements of chosen arrays are returned one at a time, so at most
one element is held in memory. An element that is JSON but has no meaning (a repeated key, an enormous number) becomes
`Unusable`; the elements after it are still read.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

# Text is parsed in pieces of at least this size, so octets that arrive singly cost no more than a block.
_PIECE_OCTETS = 16 * 1024
_MAX_MEMBERS = 64
# 2**63 has 19 digits.
_MAX_DIGITS = 20
_SPACE = re.compile(r"[ \t\n\r]*")


class StreamError(ValueError):
    """The text is not the expected object."""


class TooLarge(StreamError):
    """The text exceeds a bound. The message says what was found and what is expected."""


@dataclass(frozen=True)
class Unusable:
    """Stands for a value that is JSON but has no meaning. why: the reason."""

    why: str


@dataclass(frozen=True)
class Bounds:
    """octets: limit of the whole text. item_octets: limit of one element or member.

    items: the arrays whose elements are returned one at a time, and the most elements of each.
    """

    octets: int
    item_octets: int
    items: Mapping[str, int]


class _State(Enum):
    START = auto()
    FIRST_KEY = auto()
    KEY = auto()
    COLON = auto()
    VALUE = auto()
    FIRST_ITEM = auto()
    ITEM = auto()
    AFTER_ITEM = auto()
    AFTER_VALUE = auto()
    END = auto()


_PUNCTUATION: dict[_State, dict[str, _State]] = {
    _State.START: {"{": _State.FIRST_KEY},
    _State.COLON: {":": _State.VALUE},
    _State.AFTER_ITEM: {",": _State.ITEM, "]": _State.AFTER_VALUE},
    _State.AFTER_VALUE: {",": _State.KEY, "}": _State.END},
}


def _unique(pairs: list[tuple[str, Any]]) -> Any:
    """RFC 8259 section 4: readers differ on the meaning of an object with a repeated name."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else Unusable("a key occurs twice")


def _integer(digits: str) -> Any:
    return int(digits) if len(digits) <= _MAX_DIGITS else Unusable(f"a number of {len(digits)} digits")


def _constant(name: str) -> Any:
    return Unusable(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_constant=_constant)
_INCOMPLETE = object()


class ObjectReader:
    """Reads one object.

    members: the object without the arrays whose elements were returned. counts: the number of elements of each such
    array. received: the octets so far.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._utf8 = codecs.getincrementaldecoder("utf-8")("strict")
        self._raw = bytearray()
        self._text, self._at = "", 0
        self._enough = _PIECE_OCTETS
        self._state, self._key = _State.START, ""
        self.received = 0
        self.members: dict[str, Any] = {}
        self.counts: dict[str, int] = {}

    def feed(self, octets: bytes) -> Iterator[tuple[str, Any]]:
        """Take more octets. Returns (array, element) for each complete element.

        The iterator must be exhausted before the next call. Raises StreamError, TooLarge.
        """
        self.received += len(octets)
        if self.received > self._bounds.octets:
            raise TooLarge(f"{self.received} octets or more, at most {self._bounds.octets} expected")
        self._raw += octets
        if len(self._raw) >= self._enough:
            yield from self._parse(last=False)

    def finish(self) -> Iterator[tuple[str, Any]]:
        """End the text. Returns the remaining elements. Raises StreamError, TooLarge."""
        yield from self._parse(last=True)
        if self._state is not _State.END:
            raise StreamError("the text ends too early")

    def _parse(self, *, last: bool) -> Iterator[tuple[str, Any]]:
        try:
            self._text = self._text[self._at :] + self._utf8.decode(bytes(self._raw), last)
        except UnicodeDecodeError as error:
            raise StreamError(f"not UTF-8: {error.reason}") from error
        self._raw.clear()
        self._at = 0
        yield from self._elements(last)
        # An incomplete element is parsed again when there is twice as much of it.
        self._enough = max(_PIECE_OCTETS, len(self._text) - self._at)

    def _elements(self, last: bool) -> Iterator[tuple[str, Any]]:
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # matches anywhere
            if self._at >= len(self._text):
                return
            found = self._text[self._at]
            match self._state:
                case _State.FIRST_KEY if found == "}":
                    self._at, self._state = self._at + 1, _State.END
                case _State.FIRST_ITEM if found == "]":
                    self._at, self._state = self._at + 1, _State.AFTER_VALUE
                case _State.VALUE if found == "[" and self._key in self._bounds.items:
                    self._at, self._state = self._at + 1, _State.FIRST_ITEM
                    self.counts[self._key] = 0
                case _State.FIRST_KEY | _State.KEY | _State.VALUE | _State.FIRST_ITEM | _State.ITEM:
                    value = self._value(last)
                    if value is _INCOMPLETE:
                        return
                    if self._state in (_State.FIRST_ITEM, _State.ITEM):
                        self._count()
                        yield self._key, value
                        self._state = _State.AFTER_ITEM
                    else:
                        self._member(value)
                case _:
                    self._punctuate(found)

    def _punctuate(self, found: str) -> None:
        expected = _PUNCTUATION.get(self._state, {})
        if found not in expected:
            wanted = " or ".join(map(repr, expected)) or "the end"
            raise StreamError(f"not the expected JSON: {found!r} found, {wanted} expected")
        self._at, self._state = self._at + 1, expected[found]

    def _count(self) -> None:
        count = self.counts[self._key] = self.counts[self._key] + 1
        if count > self._bounds.items[self._key]:
            raise TooLarge(f"{count} {self._key} or more, at most {self._bounds.items[self._key]} expected")

    def _member(self, value: Any) -> None:
        """Take a key, or the value of one."""
        if self._state is _State.VALUE:
            self.members[self._key] = value
            self._state = _State.AFTER_VALUE
            return
        if not isinstance(value, str):
            raise StreamError("not the expected JSON: a key is expected")
        if value in self.members or value in self.counts:
            raise StreamError(f"{value[:40]!r} occurs twice")
        if len(self.members) >= _MAX_MEMBERS:
            raise TooLarge(f"{_MAX_MEMBERS + 1} members or more, at most {_MAX_MEMBERS} expected")
        self._key, self._state = value, _State.COLON

    def _value(self, last: bool) -> Any:
        limit = self._bounds.item_octets
        try:
            value, end = _DECODER.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            self._check_size(len(self._text), limit)
            if last:
                raise StreamError(f"not JSON: {error.msg}") from error
            return _INCOMPLETE
        except RecursionError as error:
            raise StreamError("nested too deeply") from error
        self._check_size(end, limit)
        if end == len(self._text) and not last:
            # The number may continue.
            return _INCOMPLETE
        self._at = end
        return value

    def _check_size(self, end: int, limit: int) -> None:
        size = end - self._at
        if size > limit // 4 and not self._text.isascii():
            size = len(self._text[self._at : end].encode("utf-8", "surrogatepass"))
        if size > limit:
            raise TooLarge(f"an element of {size} octets or more, at most {limit} expected")
