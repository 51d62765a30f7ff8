"""The blocks of a Markdown page that a reader carries out, and the output that the page promises.

| block | meaning |
| --- | --- |
| ```` ```sh ```` | commands, run as root in the page's one shell; they must succeed |
| ```` ```text ````, directly behind such a block | the output of that block |
| a block with `title="/a/path"` | the content of that file |

In an output, `…` stands for any text within a line. A line with `…` alone stands for any number of lines. The comment
`<!-- exit code N -->` before a block of commands names another exit code than 0. All other blocks are only to be read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

_TITLE = re.compile(r'\btitle="(/[^"]+)"')
_EXIT = re.compile(r"<!-- exit code (\d+) -->")
SKIPPED_LINES = "…"


@dataclass(frozen=True)
class Commands:
    """Lines for the shell. line: where the block begins in the page. output: what they print; None: anything."""

    line: int
    text: str
    exit_code: int = 0
    output: str | None = None


@dataclass(frozen=True)
class TextFile:
    """A file that the reader creates."""

    line: int
    path: str
    text: str


Block = Commands | TextFile


class PageError(ValueError):
    """A page that cannot be carried out as it stands. The message names the page and the line."""


def blocks(path: Path) -> list[Block]:
    """What a page has to carry out, in its order. Raises PageError."""
    found: list[Block] = []
    exit_code: int | None = None
    follows = False
    for token in MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8")):
        if token.type == "html_block" and (comment := _EXIT.search(token.content)):
            exit_code = int(comment[1])
        elif token.type == "fence":
            line = token.map[0] + 1 if token.map else 0
            block = _block(token.info, token.content, line, exit_code or 0)
            if exit_code is not None and not isinstance(block, Commands):
                raise PageError(f"{path.name}:{line}: commands expected behind an exit code")
            if block is not None:
                found.append(block)
                exit_code = None
            elif token.info == "text" and follows:
                found[-1] = _with_output(found[-1], token.content)
            follows = isinstance(block, Commands)
        elif token.type == "inline":
            # Only text between the two blocks keeps them apart.
            follows = False
    return found


def _block(info: str, content: str, line: int, exit_code: int) -> Block | None:
    if info == "sh":
        return Commands(line, content, exit_code)
    title = _TITLE.search(info)
    return TextFile(line, title[1], content) if title else None


def _with_output(block: Block, output: str) -> Commands:
    if not isinstance(block, Commands):
        raise PageError(f"an output behind {block}")
    return Commands(block.line, block.text, block.exit_code, output)


def matches(promised: str, printed: str) -> bool:
    """Whether a command printed what the page promises. Space at the end of lines does not count."""
    pattern = ""
    for line in promised.rstrip().split("\n"):
        if line.strip() == SKIPPED_LINES:
            pattern += r"(?:.*\n)*?"
        else:
            parts = [re.escape(part) for part in line.rstrip().split(SKIPPED_LINES)]
            pattern += ".*?".join(parts) + r"[ \t]*\n"
    return re.fullmatch(pattern, printed.rstrip() + "\n") is not None
