"""The text of a YAML file around its nodes: the entries of a mapping with their comments, and edits of the text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from typing import NamedTuple

import yaml

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_COMMENT = re.compile(r"(?:^|\s)#\s?(.*)$")


class Edit(NamedTuple):
    """Replaces what is between two indexes of the text."""

    start: int
    end: int
    text: str


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """The text after all edits, which may touch each other, but not overlap."""
    parts, position = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        assert edit.start >= position, f"edits overlap at {edit.start}"
        parts += [text[position : edit.start], edit.text]
        position = edit.end
    return "".join((*parts, text[position:]))


def newline_of(text: str) -> str:
    """The line ending that the text uses."""
    return "\r\n" if "\r\n" in text else "\n"


def plain_key(name: str) -> str:
    """A name as a YAML scalar: with quotes if it would be a number, a boolean or the like without."""
    if _PLAIN.match(name) and isinstance(yaml.safe_load(name), str):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Entry(NamedTuple):
    """An entry of a mapping. `value`: its text. `comments`: those above it. `beside`: the one in its line."""

    key: str
    value: str
    comments: tuple[str, ...] = ()
    beside: str | None = None

    @property
    def has_comment(self) -> bool:
        return bool(self.comments) or self.beside is not None

    def lines(self, key: str, indent: str) -> list[str]:
        """The entry as lines of a block mapping, under another name."""
        first, *rest = self.value.splitlines() or [""]
        beside = f"  # {self.beside}" if self.beside is not None else ""
        head = f"{indent}{key}: {first}".rstrip()
        lines = [f"{indent}# {comment}".rstrip() for comment in self.comments]
        if not rest:
            return [*lines, head + beside]
        return [*lines, head, *(f"{indent}{line}".rstrip() for line in rest[:-1]), f"{indent}{rest[-1]}{beside}"]


def entries_of(text: str, node: yaml.Node, start: int | None = None) -> list[Entry]:
    """The entries of a mapping, with the comments above and beside each. Those after the last one belong to it.

    start: the index after the mapping's own key, from which on comments belong to the first entry.
    """
    if not isinstance(node, yaml.MappingNode) or not node.value:
        return []
    found = []
    position = node.start_mark.index if start is None else start
    end = end_of(node)
    starts = [key.start_mark.index for key, _ in node.value[1:]]
    for (key, value), following in zip(node.value, [*starts, None], strict=True):
        stop = end_of(value) if not is_empty(value) else key.end_mark.index + 1
        above = comments_in(text[position : key.start_mark.index])
        # Between the key and a value in the lines below.
        above += comments_in(text[key.end_mark.index + 1 : value.start_mark.index])
        line_end = end_of_line(text, stop)
        if following is None and node.flow_style:
            # Up to the closing brace.
            above += comments_in(text[stop:end])
            beside = []
            position = end
        else:
            position = line_end if following is None else min(line_end, following)
            beside = comments_in(text[stop:position])
        found.append(Entry(key.value, _value_text(text, value), tuple(above), "; ".join(beside) or None))
    return found


def _value_text(text: str, value: yaml.Node) -> str:
    """The text of a value: in the line of its key, or in lines below it that are indented by two spaces."""
    if isinstance(value, yaml.CollectionNode) and not value.flow_style:
        start = value.start_mark.index
        column = start - (text.rfind("\n", 0, start) + 1)
        body = " " * column + text[start : end_of(value)].replace("\r\n", "\n")
        return "\n" + textwrap.indent(textwrap.dedent(body), "  ")
    body = text[value.start_mark.index : value.end_mark.index].replace("\r\n", "\n")
    first, *rest = body.split("\n")
    if isinstance(value, yaml.ScalarNode) and value.style in ("|", ">"):
        return "\n".join([first, *textwrap.indent(textwrap.dedent("\n".join(rest)), "  ").rstrip("\n").split("\n")])
    return "\n".join([first, *("  " + line.strip() for line in rest)])


def comments_in(text: str) -> list[str]:
    """The comments in a text that has no quoted text."""
    return [match[1].rstrip() for line in text.splitlines() if (match := _COMMENT.search(line)) is not None]


def end_of(node: yaml.Node) -> int:
    """The index after the last character of a node. A block's own mark is after the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        if not isinstance(last, tuple):
            return end_of(last)
        key, value = last
        return int(key.end_mark.index) + 1 if is_empty(value) else end_of(value)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return int(node.end_mark.index) - 1
    return int(node.end_mark.index)


def is_empty(node: yaml.Node) -> bool:
    """Whether a value is left out, as in `key:`."""
    return isinstance(node, yaml.ScalarNode) and node.start_mark.index == node.end_mark.index


def start_of_line(text: str, index: int) -> int:
    """The index of the first character of the line that has `index`."""
    return text.rfind("\n", 0, index) + 1


def end_of_line(text: str, index: int) -> int:
    """The index after the last character of the line that has `index`, without its line ending."""
    end = text.find("\n", index)
    if end < 0:
        return len(text)
    return end - 1 if end > 0 and text[end - 1] == "\r" and end - 1 >= index else end
