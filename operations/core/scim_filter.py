"""Filters of SCIM (RFC 7644 section 3.4.2.2) as a tree. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from operations.core.reasons import ScimReason
from web_service.core import Refused

MAX_LENGTH = 1000
MAX_TERMS = 32
OPERATORS = frozenset({"eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"})
_TOKEN = re.compile(r'\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<paren>[()])|(?P<word>[^\s()"]+))')

Value: TypeAlias = str | bool | int | float | None


@dataclass(frozen=True)
class Compare:
    """attribute: in lower case, with the URN of its extension, if it has one."""

    attribute: str
    operator: str
    value: Value


@dataclass(frozen=True)
class Present:
    attribute: str


@dataclass(frozen=True)
class Not:
    term: Filter


@dataclass(frozen=True)
class Both:
    """All of the terms (`and`), or any of them (`or`)."""

    operator: str
    terms: tuple[Filter, ...]


Filter: TypeAlias = Compare | Present | Not | Both


def parse_filter(text: str) -> Filter:
    """The tree of a filter. Raises Refused."""
    if len(text) > MAX_LENGTH:
        raise _invalid(f"found {len(text)} characters, expected at most {MAX_LENGTH}")
    parser = _Parser(list(_tokens(text)))
    tree = parser.any_of()
    parser.end()
    return tree


def _invalid(detail: str) -> Refused:
    return Refused(ScimReason.INVALID_FILTER, f"filter: {detail}", field="filter")


def _tokens(text: str) -> Iterator[str]:
    position = 0
    stripped = text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None:
            raise _invalid(f"cannot read {stripped[position : position + 20]!r}")
        position = match.end()
        yield match["string"] or match["paren"] or match["word"]


class _Parser:
    """Recursive descent; `not` binds closest, then `and`, then `or`. The number of terms bounds the depth."""

    def __init__(self, tokens: list[str]) -> None:
        if len(tokens) > 6 * MAX_TERMS:
            raise _invalid(f"expected at most {MAX_TERMS} terms")
        self._tokens = tokens
        self._next = 0

    def _peek(self) -> str | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self) -> str:
        token = self._peek()
        if token is None:
            raise _invalid("it ends too early")
        self._next += 1
        return token

    def end(self) -> None:
        if self._peek() is not None:
            raise _invalid(f"found {self._peek()!r} after its end")

    def any_of(self) -> Filter:
        return self._chain("or", self._all_of)

    def _all_of(self) -> Filter:
        return self._chain("and", self._term)

    def _chain(self, operator: str, part: Callable[[], Filter]) -> Filter:
        terms = [part()]
        while (token := self._peek()) is not None and token.lower() == operator:
            self._take()
            terms.append(part())
        return terms[0] if len(terms) == 1 else Both(operator, tuple(terms))

    def _term(self) -> Filter:
        word = self._take()
        if word == "(":
            inner = self.any_of()
            if self._take() != ")":
                raise _invalid("a closing parenthesis is missing")
            return inner
        if word.lower() == "not":
            if self._peek() != "(":
                raise _invalid("expected a parenthesis after not")
            return Not(self._term())
        attribute = word.lower()
        operator = self._take().lower()
        if operator == "pr":
            return Present(attribute)
        if operator not in OPERATORS:
            raise _invalid(
                f"found the operator {operator[:20]!r}, expected pr or one of {', '.join(sorted(OPERATORS))}"
            )
        return Compare(attribute, operator, _value(self._take()))


def _value(token: str) -> Value:
    try:
        value = json.loads(token)
    except ValueError:
        raise _invalid(f"found the value {token[:40]!r}, expected a JSON string, number, true, false or null") from None
    if isinstance(value, dict | list):
        raise _invalid("expected a simple value")
    simple: Value = value
    return simple
