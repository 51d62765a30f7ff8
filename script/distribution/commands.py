"""Writes the manual pages and the completion scripts of the programs of a source tree. Runs in a process of its own."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import click

from script.distribution import completion, man


def load(place: str) -> click.Command:
    """The command of an entry point such as `dane_radius.cli:main`."""
    module, _, attribute = place.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    return command


def write(prefix: Path, program: str, command: click.Command, version: str, epoch: int, *, debian: bool) -> None:
    """Write a program's files below a prefix such as /usr."""
    files = {f"share/man/man1/{name}": page for name, page in man.pages(program, command, version, epoch).items()}
    files |= completion.scripts(program, command, debian=debian)
    for path, text in files.items():
        (prefix / path).parent.mkdir(parents=True, exist_ok=True)
        (prefix / path).write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> None:
    """SOURCE PREFIX VERSION EPOCH debian|other PROGRAM=MODULE:ATTRIBUTE..."""
    source, prefix, version, epoch, kind, *programs = arguments
    sys.path.insert(0, source)
    for line in programs:
        program, _, place = line.partition("=")
        write(Path(prefix), program, load(place), version, int(epoch), debian=kind == "debian")


if __name__ == "__main__":
    main(sys.argv[1:])
