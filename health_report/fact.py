"""Facts that may be missing, with the reason. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NotTried:
    """The reason why a fact is missing."""

    why: str


Fact: TypeAlias = T | NotTried


class CannotTry(RuntimeError):
    """A probe cannot be made. The text says why."""


def value(fact: Fact[T]) -> T:
    """The fact itself. Raises CannotTry with the reason if it is missing, for a probe that needs it."""
    if isinstance(fact, NotTried):
        raise CannotTry(fact.why)
    return fact
