"""Patterns with `*`, for labels of names, SSIDs and NAS-Identifiers."""

from __future__ import annotations

import re


def compile_glob(text: str) -> re.Pattern[str]:
    """A whole-string pattern in which `*` stands for any characters, and everything else for itself."""
    first, *rest = (re.escape(part) for part in text.split("*"))
    if not rest:
        return re.compile(first + r"\Z", re.DOTALL)
    # An atomic group fixes each part between two stars at its first match. The device chooses the text, so backtracking
    # would let it choose how long the matching takes.
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1] if part)
    return re.compile(f"{first}{middle}.*{rest[-1]}\\Z", re.DOTALL)


def matches_glob(pattern: str, text: str) -> bool:
    """Whether a text matches a pattern, without keeping anything of the pattern."""
    first, *middle, last = pattern.split("*")
    if not text.startswith(first):
        return False
    position, end = len(first), len(text) - len(last)
    for part in middle:
        # The first place where a part stands leaves the most room for those after it.
        position = text.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return position <= end and text.endswith(last)
