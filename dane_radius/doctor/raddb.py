"""FreeRADIUS's configuration files, as far as the checks need them: blocks, settings and includes. Pure.

The parser accepts any text. It ignores what it does not know, such as the conditions of a site.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_OPEN = re.compile(r"([^\s{]+)(?:\s+(.*?))?\s*\{\Z")
_SETTING = re.compile(r"([\w.:-]+)\s*:?=\s*(.*)\Z")
_INCLUDE = re.compile(r"\$-?INCLUDE\s+(\S+)\Z")
_VARIABLE = re.compile(r"\$\{([\w-]+)\}")
# Nested variables: no stock file nests deeper.
_EXPANSIONS = 8


@dataclass
class Block:
    """A block `kind name { ... }`, or a whole file, whose kind and name are "".

    settings: the last value of each setting. lines: its other statements, such as the modules that a site calls.
    """

    kind: str = ""
    name: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def find(self, kind: str, name: str | None = None) -> Block | None:
        """The first block of this kind (and name) directly inside, or None."""
        return next((b for b in self.blocks if b.kind == kind and name in (None, b.name)), None)

    def walk(self) -> Iterator[Block]:
        """The block and all blocks inside it."""
        yield self
        for block in self.blocks:
            yield from block.walk()

    def calls(self, name: str) -> bool:
        """Whether a statement or a block of this name is anywhere inside."""
        return any(name in block.lines or any(b.kind == name for b in block.blocks) for block in self.walk())

    def number(self, key: str) -> int | None:
        """A setting that is a whole number, or None."""
        text = self.settings.get(key, "")
        return int(text) if text.isascii() and text.isdigit() else None


def parse(text: str) -> Block:
    """The content of one file. Blocks that the file does not close end with it."""
    root = Block()
    stack = [root]
    for raw in text.splitlines():
        line = _without_comment(raw).strip()
        while line.startswith("}"):
            if len(stack) > 1:
                stack.pop()
            line = line[1:].strip()
        if not line:
            continue
        here = stack[-1]
        if opened := _OPEN.match(line):
            block = Block(opened[1], _unquoted(opened[2] or ""))
            here.blocks.append(block)
            stack.append(block)
        elif included := _INCLUDE.match(line):
            here.includes.append(included[1])
        elif setting := _SETTING.match(line):
            here.settings[setting[1]] = _unquoted(setting[2])
        else:
            here.lines.append(line)
    return root


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace each `${name}` by its value. Unknown ones stay."""
    for _ in range(_EXPANSIONS):
        after = _VARIABLE.sub(lambda match: variables.get(match[1], match[0]), text)
        if after == text:
            break
        text = after
    return text


def _without_comment(line: str) -> str:
    quote = ""
    for index, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'`":
            quote = character
        elif character == "#" and (index == 0 or line[index - 1].isspace()):
            return line[:index]
    return line


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'" else text
