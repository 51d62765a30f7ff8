"""Check the English of documentation, docstrings and comments by the rules in script/prose-style.yaml.

markdown-it-py finds the paragraphs of Markdown, `ast` and `tokenize` those of Python. Code is never checked.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import click
import yaml
from markdown_it import MarkdownIt
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

ROOT = Path(__file__).resolve().parent.parent

# Stands for each character of code and of addresses.
CODE = "\N{OBJECT REPLACEMENT CHARACTER}"
_MASKED = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)|(?<=\])\([^)\s]+\)|https?://[^\s)>]+", re.DOTALL)
_SENTENCE = re.compile(r"\S.*?(?:[.!?][\"')*]*(?=\s)|\Z)", re.DOTALL)
_WORD = re.compile(rf"\S*[\w{CODE}]\S*")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

# The line and the column (both from 1) where a text begins, and the text.
Line = tuple[int, int, str]


class Phrase(BaseModel, extra="forbid"):
    """A banned expression and what to do about it. In `find`, a space stands for any white space."""

    find: Annotated[re.Pattern[str], BeforeValidator(lambda text: "(?i)" + str(text).replace(" ", r"\s+"))]
    use: str


class Style(BaseModel, extra="forbid"):
    """The style file. `documents` and `python` are glob patterns relative to the repository."""

    documents: list[str]
    python: list[str]
    max_sentence_words: int = Field(ge=10)
    max_orphan_words: int = Field(ge=1)
    terms: list[str]
    names: list[str]
    phrases: list[Phrase]


@dataclass(frozen=True)
class Block:
    """A heading, a paragraph or a table cell, line by line, with its code masked."""

    kind: str
    lines: list[Line]

    @classmethod
    def of(cls, kind: str, lines: list[Line]) -> Block:
        text = "\n".join(text for _, _, text in lines)
        masked = _MASKED.sub(lambda found: re.sub(r".", CODE, found[0]), text).split("\n")
        return cls(kind, [(line, column, text) for (line, column, _), text in zip(lines, masked, strict=True)])

    @property
    def text(self) -> str:
        return "\n".join(text for _, _, text in self.lines)

    def place(self, offset: int) -> tuple[int, int]:
        """The line and column of an offset into `text`."""
        before = self.text[:offset]
        line, column, _ = self.lines[before.count("\n")]
        return line, column + offset - before.rfind("\n") - 1


def markdown_blocks(source: str) -> Iterator[Block]:
    """The headings, paragraphs and table cells of a Markdown document."""
    lines = source.split("\n")
    kinds = {"heading_open": "heading", "td_open": "cell", "th_open": "cell"}
    before, reached = "", (0, 0)
    for token in MarkdownIt("commonmark").enable("table").parse(source):
        if token.type == "inline" and token.map:
            placed = []
            for number, text in enumerate(token.content.split("\n"), token.map[0]):
                # Cells share a line: each is looked for behind the one before.
                column = max(0, lines[number].find(text, reached[1] if reached[0] == number else 0))
                reached = (number, column + len(text))
                placed.append((number + 1, column + 1, text))
            yield Block.of(kinds.get(before, "paragraph"), placed)
        before = token.type


def python_blocks(source: str) -> Iterator[Block]:
    """The paragraphs of docstrings and of comments that have lines of their own."""
    lines = source.split("\n")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node) is not None:
            first, last = node.body[0].lineno, node.body[0].end_lineno or 0
            quoted = lines[first - 1 : last]
            quoted[0] = quoted[0].replace('"""', "   ", 1)
            quoted[-1] = quoted[-1].rstrip().removesuffix('"""')
            placed = [(first + number, *_strip(text)) for number, text in enumerate(quoted)]
            yield from _paragraphs(placed, node.body[0].col_offset + 1)
    comments: list[Line] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line, column = token.start
        if token.type != tokenize.COMMENT or lines[line - 1][:column].strip():
            continue
        if comments and comments[-1][0] != line - 1:
            yield from _paragraphs(comments, comments[0][1])
            comments = []
        comments.append((line, *_strip(lines[line - 1].replace("#", " ", 1))))
    yield from _paragraphs(comments, comments[0][1] if comments else 0)


def _strip(text: str) -> tuple[int, str]:
    return len(text) - len(text.lstrip()) + 1, text.strip()


def _paragraphs(lines: list[Line], margin: int) -> Iterator[Block]:
    """Runs of lines with text. Lists, examples (indented further) and click's `\\b` blocks may end as they like."""
    group: list[Line] = []
    for line in [*lines, (0, 0, "")]:
        if line[2]:
            group.append(line)
        elif group:
            # The quotes of a docstring indent its first line.
            indented = any(column > margin for number, column, _ in group if number != lines[0][0])
            example = indented or group[0][2].startswith(("- ", "* ", "\\b"))
            yield Block.of("example" if example else "paragraph", group)
            group = []


def problems(block: Block, style: Style, *, python: bool = False) -> Iterator[tuple[int, int, str]]:
    """Line, column and message of each problem. In Python, only banned phrases and orphans count."""
    text = block.text
    for phrase in style.phrases:
        for found in phrase.find.finditer(text):
            yield *block.place(found.start()), f"{' '.join(found[0].split())!r} found; {phrase.use}"
    last_words = len(_WORD.findall(block.lines[-1][2]))
    if block.kind == "paragraph" and len(block.lines) == 2 and last_words <= style.max_orphan_words:
        yield *block.lines[-1][:2], f"orphan of {last_words} word(s) found; shorten or rewrap the paragraph"
    if python:
        return
    for term in style.terms:
        for found in re.finditer(rf"(?<![\w/.@-]){re.escape(term)}(?![\w/@]|[.-]\w)", text, re.IGNORECASE):
            if found[0] != term:
                yield *block.place(found.start()), f"{found[0]!r} found; write {term!r}"
    if block.kind == "heading":
        known = {word for name in style.names + style.terms for word in name.split()}
        for found in list(re.finditer(r"[A-Za-z][\w-]*", text))[1:]:
            if found[0] not in known and re.match("[A-Z][a-z]", found[0]):
                yield *block.place(found.start()), f"capital of {found[0]!r} found; write headings in sentence case"
    for sentence in _SENTENCE.finditer(text):
        if (words := len(_WORD.findall(sentence[0]))) > style.max_sentence_words:
            limit = f"at most {style.max_sentence_words} expected"
            yield *block.place(sentence.start()), f"sentence of {words} words found, {limit}; divide it"


def check(path: Path, style: Style) -> list[str]:
    """The problems of one file, as `file:line:column: message`."""
    source, python = path.read_text(encoding="utf-8"), path.suffix == ".py"
    blocks = python_blocks(source) if python else markdown_blocks(source)
    found = sorted(problem for block in blocks for problem in problems(block, style, python=python))
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    return [f"{name}:{line}:{column}: {message}" for line, column, message in found]


def load_style(path: Path) -> Style:
    """The style in a file. Raises click.ClickException; its text names the key and what is expected."""
    try:
        return Style.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise click.ClickException(f"{path}: {error}") from error


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(files: tuple[Path, ...]) -> None:
    """Check the English of FILES, or of every file that the style names.

    \b
    Example:
      .venv/bin/python script/prose.py docs/operator.md policy/model.py

    Exit codes: 0 nothing found, 1 problems found or the style is invalid, 2 wrong usage.
    """
    style = load_style(ROOT / "script" / "prose-style.yaml")
    named = {path for pattern in style.documents + style.python for path in ROOT.glob(pattern)}
    chosen = [path.resolve() for path in files] or sorted(named)
    found = [problem for path in chosen for problem in check(path, style)]
    click.echo("\n".join([*found, f"{len(found)} problems in {len(chosen)} files"]), err=bool(found))
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
