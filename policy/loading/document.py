"""Reading YAML into plain data, strictly and in small steps.

PyYAML's events are read instead of its nodes: a node tree of 100,000 rules needs gigabytes, and is built in one go.
Whatever would make a file mean other than it looks is an error: duplicate keys, numbers such as 010 or 0x10, tags of
application types.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from policy.loading.problems import Path, Problem

# libyaml's parser, where PyYAML was built with it, is ten times as fast. Both give the same events.
EVENT_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_MAX_DEPTH = 64
# Between two calls of `rest`, so that a long document is read in slices.
_EVENTS_PER_REST = 256
_MAX_CACHED_SCALARS = 8192
_DECODED_OCTETS = 262_144

_TAG = "tag:yaml.org,2002:"
_PLAIN_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z")
# YAML 1.1 reads 1:30 as 90. Here it is text, as in a time of day.
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?\Z")
_BOOLEANS = {"yes": True, "no": False, "true": True, "false": False, "on": True, "off": False}
_RESOLVERS: dict[str | None, list[tuple[str, re.Pattern[str]]]] = yaml.SafeLoader.yaml_implicit_resolvers
_NO_KEY: Any = object()
_MERGE = "<<"


class DocumentError(ValueError):
    """The text is not the YAML that is expected. `problems`: why."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Mapping(dict[str, Any]):
    """A mapping of the file, with the line that it begins in."""

    __slots__ = ("line",)
    line: int


class _BadScalar(ValueError):
    pass


class _Frame:
    """A collection that is being read."""

    __slots__ = ("container", "key", "lines", "merges")

    def __init__(self, container: Any) -> None:
        self.container = container
        self.key: Any = _NO_KEY
        # Of the keys.
        self.lines: dict[str, int] = {}
        self.merges: list[Any] | None = None


def read_document(octets: bytes, rest: Callable[[], None]) -> Any:
    """The data of a YAML document. `rest` is called every few hundred events. Raises DocumentError."""
    _check_utf8(octets, rest)
    return _Reader(rest).read(octets)


def _check_utf8(octets: bytes, rest: Callable[[], None]) -> None:
    decode = codecs.getincrementaldecoder("utf-8")().decode
    for start in range(0, len(octets) or 1, _DECODED_OCTETS):
        chunk = octets[start : start + _DECODED_OCTETS]
        try:
            decode(chunk, final=start + _DECODED_OCTETS >= len(octets))
        except UnicodeDecodeError as error:
            # The decoder may have kept the first octets of a character from the chunk before.
            position = start + error.start - (len(error.object) - len(chunk))
            raise DocumentError(Problem((), f"octet {position} is not UTF-8")) from error
        rest()


def locate(octets: bytes, paths: Collection[Path], rest: Callable[[], None] = lambda: None) -> dict[Path, int]:
    """The lines of the given values, in a document that `read_document` has read."""
    wanted, found = set(paths), {}
    for count, (path, line) in enumerate(_positions(octets)):
        if count % _EVENTS_PER_REST == 0:
            rest()
        if path in wanted:
            found[path] = line
            wanted.discard(path)
            if not wanted:
                break
    return found


class _Reader:
    def __init__(self, rest: Callable[[], None]) -> None:
        self._rest = rest
        self._problems: list[Problem] = []
        self._anchors: dict[str, Any] = {}
        self._scalars: dict[str, Any] = {}
        self._stack: list[_Frame] = []
        self._root: Any = None

    def read(self, octets: bytes) -> Any:
        try:
            # From a stream, the parser takes a little at a time.
            self._read_events(EVENT_LOADER(io.BytesIO(octets)))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            place = (mark.line + 1, mark.column + 1) if mark else (None, None)
            raise DocumentError(*self._problems, Problem((), str(error.problem or error), *place)) from error
        except yaml.YAMLError as error:
            raise DocumentError(*self._problems, Problem((), f"not YAML: {error}")) from error
        if self._problems:
            raise DocumentError(*self._problems)
        return self._root

    def _read_events(self, loader: Any) -> None:
        documents = 0
        count = 0
        get_event, check_event, stack = loader.get_event, loader.check_event, self._stack
        while check_event():
            count += 1
            if count % _EVENTS_PER_REST == 0:
                self._rest()
            event = get_event()
            kind = type(event)
            if kind is ScalarEvent:
                self._add(self._scalar(event), event)
                if event.anchor:
                    self._anchors[event.anchor] = self._last
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                self._start(event, Mapping() if kind is MappingStartEvent else [])
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                frame = stack.pop()
                if frame.merges:
                    _merge(frame.container, frame.merges)
            elif kind is AliasEvent:
                self._alias(event)
            elif kind is DocumentEndEvent:
                documents += 1
                if documents == 1 and check_event(yaml.DocumentStartEvent):
                    mark = get_event().start_mark
                    raise DocumentError(
                        *self._problems, Problem((), "a second document begins; one is expected", mark.line + 1)
                    )

    def _start(self, event: Any, container: Any) -> None:
        if event.tag not in (None, "!", f"{_TAG}map" if isinstance(container, dict) else f"{_TAG}seq"):
            self._complain(event, f"could not determine a constructor for the tag {event.tag!r}")
        if len(self._stack) >= _MAX_DEPTH:
            raise DocumentError(*self._problems, self._problem(event, "nested too deeply"))
        if isinstance(container, Mapping):
            container.line = event.start_mark.line + 1
        if self._stack and isinstance(self._stack[-1].container, dict) and self._stack[-1].key is _NO_KEY:
            raise DocumentError(*self._problems, self._problem(event, "a plain key is expected"))
        self._add(container, event)
        if event.anchor:
            self._anchors[event.anchor] = container
        self._stack.append(_Frame(container))

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise DocumentError(*self._problems, self._problem(event, f"found undefined alias {event.anchor!r}"))
        value = self._anchors[event.anchor]
        if any(frame.container is value for frame in self._stack):
            raise DocumentError(*self._problems, self._problem(event, f"the alias {event.anchor!r} contains itself"))
        self._add(value, event)

    def _add(self, value: Any, event: Any) -> None:
        """Put a value where it belongs: in the collection that is being read, as a key or as a value."""
        self._last = value
        if not self._stack:
            self._root = value
            return
        frame = self._stack[-1]
        container = frame.container
        if type(container) is list:
            container.append(value)
        elif frame.key is _NO_KEY:
            self._take_key(frame, value, event)
        else:
            key, frame.key = frame.key, _NO_KEY
            if key == _MERGE:
                frame.merges = [*(frame.merges or ()), value]
            else:
                container[key] = value

    def _take_key(self, frame: _Frame, key: Any, event: Any) -> None:
        if not isinstance(key, str):
            self._complain(event, f"key {getattr(event, 'value', key)!r} found; text is expected (in quotes)")
            key = str(key)
        if key in frame.lines:
            self._complain(event, f"duplicate key {key!r} (first in line {frame.lines[key]})")
        elif key == _MERGE and not (type(event) is ScalarEvent and event.implicit[0]):
            self._complain(event, "key '<<' found; a merge key is expected without quotes")
        frame.lines[key] = event.start_mark.line + 1
        frame.key = key

    def _scalar(self, event: Any) -> Any:
        text, tag = event.value, event.tag
        try:
            if tag is None:
                if not event.implicit[0]:
                    return text
                scalars = self._scalars
                if text in scalars:
                    return scalars[text]
                value = _resolve(text)
                if len(scalars) < _MAX_CACHED_SCALARS and len(text) < 64:
                    scalars[text] = value
                return value
            return _tagged(tag, text)
        except _BadScalar as error:
            self._complain(event, str(error))
            return text

    def _problem(self, event: Any, message: str) -> Problem:
        mark = event.start_mark
        return Problem((), message, mark.line + 1, mark.column + 1)

    def _complain(self, event: Any, message: str) -> None:
        self._problems.append(self._problem(event, message))


def _resolve(text: str) -> Any:
    """The value of a plain scalar, by the rules of YAML 1.1 and the exceptions above."""
    for tag, pattern in _RESOLVERS.get(text[:1], ()):
        if pattern.match(text):
            return _constructed(tag.removeprefix(_TAG), text)
    return text


def _tagged(tag: str, text: str) -> Any:
    kind = tag.removeprefix(_TAG)
    if tag == "!" or kind == "str":
        return text
    if kind not in ("null", "bool", "int", "float"):
        raise _BadScalar(f"could not determine a constructor for the tag {tag!r}")
    return _constructed(kind, text)


def _constructed(kind: str, text: str) -> Any:
    if kind == "null":
        return None
    if kind == "bool" and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if _SEXAGESIMAL.match(text) or kind in ("timestamp", "value", "merge"):
        return text
    if kind == "int" and _PLAIN_NUMBER.match(text):
        return int(text)
    if kind == "float":
        try:
            return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan").lower())
        except ValueError:
            pass
    raise _BadScalar(f"{text!r}: a plain {'yes or no' if kind == 'bool' else 'number'} is expected")


def _merge(container: dict[str, Any], merges: list[Any]) -> None:
    """YAML's merge key: the keys of other mappings, where the mapping itself does not have them."""
    for value in merges:
        for other in value if isinstance(value, list) else [value]:
            if not isinstance(other, dict):
                # An unknown key, which validation reports.
                container[_MERGE] = value
                continue
            for key, inner in other.items():
                container.setdefault(key, inner)


def _positions(octets: bytes) -> Iterator[tuple[Path, int]]:
    """Every value of a document, with the line that it, or its key, begins in."""
    stack: list[list[Any]] = []
    loader = EVENT_LOADER(io.BytesIO(octets))

    def place(event: Any) -> tuple[Path, int] | None:
        line = event.start_mark.line + 1
        if not stack:
            return (), line
        frame = stack[-1]
        path, position, key, key_line = frame
        if position is not None:
            frame[1] += 1
            return (*path, position), line
        if key is _NO_KEY:
            frame[2], frame[3] = getattr(event, "value", ""), line
            return None
        frame[2] = _NO_KEY
        return (*path, key), key_line

    while loader.check_event():
        event = loader.get_event()
        kind = type(event)
        if kind in (MappingEndEvent, SequenceEndEvent):
            stack.pop()
        elif kind in (ScalarEvent, AliasEvent, MappingStartEvent, SequenceStartEvent):
            here = place(event)
            if here is not None:
                yield here
            if kind in (MappingStartEvent, SequenceStartEvent):
                stack.append([here[0] if here else (), 0 if kind is SequenceStartEvent else None, _NO_KEY, 0])
