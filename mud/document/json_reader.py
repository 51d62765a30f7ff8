"""Read JSON from a stranger: limits before the parser runs, no duplicate members, valid Unicode only."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from mud.findings import MudError, found
from mud.limits import MAX_FILE_OCTETS, MAX_NESTING, MAX_NODES

# A string of JSON with its quotes, also one that does not end: JSON's parser finds no brackets in that, either.
# Possessive and never in vain, so that a file cannot choose how long matching takes.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_STRUCTURE = re.compile(r"[\[\]{},:]")


def read_json(octets: bytes) -> dict[str, Any]:
    """The JSON object (RFC 8259) in `octets`. Raises MudError."""
    if len(octets) > MAX_FILE_OCTETS:
        raise MudError([f"the file has {len(octets)} octets, at most {MAX_FILE_OCTETS} are expected"])
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MudError([f"octet {error.start} is not UTF-8"]) from error
    _check_size(text)
    try:
        data = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise MudError([f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}"]) from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, MudError):
            raise
        raise MudError([f"not JSON: {error}"]) from error
    if not isinstance(data, dict):
        raise MudError([f"{found(data)} found, an object is expected"])
    _check_strings(data)
    return data


def _check_size(text: str) -> None:
    """Refuse what would cost much to build: deep nesting and very many values."""
    depth = 0
    for nodes, mark in enumerate(_STRUCTURE.findall(_STRING.sub("", text)), start=1):
        if mark in "[{":
            depth += 1
            if depth > MAX_NESTING:
                raise MudError([f"nested more than {MAX_NESTING} deep"])
        elif mark in "]}":
            depth -= 1
        if nodes > MAX_NODES:
            raise MudError([f"more than {MAX_NODES} values"])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """RFC 7493 section 2.3: with a duplicate, programs disagree about the value that counts."""
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        # The first name that was there before. `add` gives None.
        # `add` returns None, so that a name counts from its second time on.
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise MudError([f"the member {found(twice)} is there twice in one object"])
    return made


def _no_constant(name: str) -> NoReturn:
    raise MudError([f"{name} is no JSON number"])


def _check_strings(value: Any) -> None:
    match value:
        case dict():
            for name, inner in value.items():
                _check_string(name)
                _check_strings(inner)
        case list():
            for inner in value:
                _check_strings(inner)
        case str():
            _check_string(value)


def _check_string(text: str) -> None:
    """An escape like \\ud800 alone represents no character (RFC 7493 section 2.1)."""
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise MudError([f"{found(text)} has half a surrogate pair"])
