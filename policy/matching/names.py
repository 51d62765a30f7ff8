"""Device names: patterns for them, and the identity domain that a name belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from policy.matching.globs import compile_glob


def identity_domain(name: str) -> str:
    """The identity domain of a normalized device name: the rightmost underscore label and all labels after it.

    For a name without one, its parent; for a name of two labels, itself. `dane_radius.core.identity_domain` says why.
    """
    labels = name.split(".")
    if len(labels) <= 2:
        return name
    for index in range(len(labels) - 2, 0, -1):
        if labels[index].startswith("_"):
            return ".".join(labels[index:])
    return ".".join(labels[1:])


@dataclass(frozen=True, slots=True)
class IdentityPattern:
    """A pattern for device names: `*` within a label, `**` as the leftmost label for one or more labels."""

    text: str
    suffix: str
    labels: tuple[re.Pattern[str] | None, ...]
    deep: bool

    @classmethod
    @lru_cache(maxsize=4096)
    def compile(cls, text: str) -> IdentityPattern:
        """The pattern with this text, which is validated, and in lower case."""
        labels = text.split(".")
        fixed = len(labels)
        while fixed > 0 and "*" not in labels[fixed - 1]:
            fixed -= 1
        deep = labels[0] == "**"
        variable = labels[1:fixed] if deep else labels[:fixed]
        return cls(text, ".".join(labels[fixed:]), tuple(_glob(label) for label in variable), deep)

    def matches(self, name: str) -> bool:
        if not self.suffix:
            return False
        if not self.labels and not self.deep:
            return name == self.suffix
        if not name.endswith("." + self.suffix):
            return False
        rest = name[: -len(self.suffix) - 1].split(".")
        if self.deep:
            if len(rest) <= len(self.labels):
                return False
            rest = rest[len(rest) - len(self.labels) :]
        elif len(rest) != len(self.labels):
            return False
        return all(p is None or p.match(label) for p, label in zip(self.labels, rest, strict=True))


def _glob(label: str) -> re.Pattern[str] | None:
    return None if label == "*" else compile_glob(label)
