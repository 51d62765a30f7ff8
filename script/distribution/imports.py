"""Which packages of the project and which libraries some of its packages need: what their code imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

# FreeRADIUS gives this to the interpreter that it embeds.
_BUILT_IN = frozenset({"radiusd"})


def needed(source: Path, modules: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The project's top-level packages that `modules` are or import, also indirectly; and other names they import."""
    own: set[str] = set()
    others: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in own:
            continue
        own.add(name)
        for imported in _imported(source / name):
            if (source / imported / "__init__.py").is_file():
                waiting.append(imported)
            elif imported not in sys.stdlib_module_names and imported not in _BUILT_IN:
                others.add(imported)
    return frozenset(own), frozenset(others)


def _imported(package: Path) -> Iterator[str]:
    """The first part of each absolute import in a package."""
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]
