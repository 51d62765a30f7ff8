"""Mistakes in a policy file, each with its line, its key, what was found and what is expected."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

# A version of a file: inode, size in octets, and modification time in nanoseconds.
Stamp = tuple[int, int, int]
# Where a value stands in the file: keys of mappings and positions in lists.
Path = tuple[str | int, ...]

MAX_PROBLEMS = 100
# In place of pydantic's words for them.
_FORMS = {
    "model_type": "a mapping is expected",
    "dict_type": "a mapping is expected",
    "list_type": "a list is expected",
    "too_short": "at least one entry is expected",
}
_MAX_FOUND_CHARACTERS = 80


class _Brief(reprlib.Repr):
    """The text of a value, bounded while it is built: with aliases, a few lines of YAML can represent gigabytes."""

    def repr1(self, x: Any, level: int) -> str:
        # By default, the name of a type decides, and a mapping of a file is no plain dict.
        return self.repr_dict(x, level) if isinstance(x, dict) else super().repr1(x, level)


_BRIEF = _Brief()
_BRIEF.maxstring = _BRIEF.maxother = _MAX_FOUND_CHARACTERS
_BRIEF.maxlevel = 3


class Problem(NamedTuple):
    """One mistake. path: the value that is wrong; (): the whole file. line, column: from 1; None: not known.

    message: what was found and what is expected, without the place.
    """

    path: Path
    message: str
    line: int | None = None
    column: int | None = None

    @property
    def key(self) -> str:
        """The place in words: `rules[3].identity[0]`."""
        return key_of(self.path)

    def __str__(self) -> str:
        where = f"line {self.line}" if self.line else ""
        if self.column:
            where += f", column {self.column}"
        return ": ".join(part for part in (where, self.key, self.message) if part)


class PolicyError(ValueError):
    """An invalid policy file. `problems` has one line for each mistake, which names the line, the key and the value.

    `details` has the same mistakes as data. `list_files`: the device lists that the file names, by name, and
    `list_stamps` their versions: a change of one may be what makes the file valid.
    """

    def __init__(
        self,
        source: str,
        problems: Sequence[Problem | str],
        list_files: Mapping[str, str] | None = None,
        list_stamps: Mapping[str, Stamp | None] | None = None,
    ) -> None:
        self.source = source
        self.list_files, self.list_stamps = dict(list_files or {}), dict(list_stamps or {})
        self.details = [Problem((), each) if isinstance(each, str) else each for each in problems[:MAX_PROBLEMS]]
        if len(problems) > MAX_PROBLEMS:
            self.details.append(Problem((), f"and {len(problems) - MAX_PROBLEMS} more mistakes"))
        self.problems = [str(each) for each in self.details]
        super().__init__("\n".join(f"{source}: {problem}" for problem in self.problems))


def key_of(path: Path) -> str:
    """A path in words."""
    words = ""
    for part in path:
        words += f"[{part}]" if isinstance(part, int) else f".{part}" if words else part
    return words


def found(value: Any) -> str:
    """A value as it is shown to people, cut to a bounded length."""
    text = _BRIEF.repr(value)
    return text if len(text) <= _MAX_FOUND_CHARACTERS else text[:_MAX_FOUND_CHARACTERS] + "…"


def one_of(names: Iterable[str]) -> str:
    """The names that exist, for a message about one that does not."""
    known = sorted(names)
    if not known:
        return "none is defined"
    return ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")


def problems_of(error: ValidationError, model: type[BaseModel], data: Any, prefix: Path = ()) -> list[Problem]:
    """The mistakes that pydantic found in `data`, which stands at `prefix` in the file."""
    by_path: dict[tuple[Path, str], list[str]] = {}
    for item in error.errors(include_url=False):
        kind, message = item["type"], item["msg"].removeprefix("Value error, ")
        message = _FORMS.get(kind, message)
        path, value = _place(item["loc"], data, is_missing=kind == "missing")
        if kind == "missing":
            text = "nothing found, this key is expected"
        elif kind == "extra_forbidden":
            text = f"unknown key{_nearest(str(path[-1]), model, path[:-1])}"
        elif kind == "value_error" and isinstance(value, dict):
            text = message
        else:
            by_path.setdefault((path, f"{found(value)} found; "), []).append(message[:1].lower() + message[1:])
            continue
        by_path.setdefault((path, text), [])
    return [
        Problem((*prefix, *path), text + ", or ".join(dict.fromkeys(messages)))
        for (path, text), messages in by_path.items()
    ]


def _place(location: tuple[int | str, ...], data: Any, *, is_missing: bool) -> tuple[Path, Any]:
    """The path in the file, and the value there. pydantic's locations also name types, where several are possible.

    is_missing: the last part is a key that the file does not have.
    """
    path: list[str | int] = []
    value = data
    for position, part in enumerate(location):
        if _has(value, part):
            value = value[part]
        elif part == "[key]" and path:
            return tuple(path), path[-1]
        elif not (is_missing and position == len(location) - 1):
            continue
        path.append(part)
    return tuple(path), value


def _has(value: Any, part: int | str) -> bool:
    if isinstance(part, int):
        return isinstance(value, list) and part < len(value)
    return isinstance(value, dict) and part in value


def _nearest(key: str, model: type[BaseModel], path: Path) -> str:
    """A hint at the known key that looks most like an unknown one."""
    inner: type[BaseModel] | None = model
    for part in path:
        if inner is None:
            return ""
        if isinstance(part, str):
            inner = _model_at(inner, part) or inner
    known = [] if inner is None else [each.alias or name for name, each in inner.model_fields.items()]
    near = difflib.get_close_matches(key, known, 1, 0.65)
    return f"; {near[0]} is the nearest one that is known" if near else f"; known are {', '.join(known)}"


def _model_at(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    for name, each in model.model_fields.items():
        if key == (each.alias or name):
            return next(_models_in(each.annotation), None)
    return None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
