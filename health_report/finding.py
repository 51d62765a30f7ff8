"""Findings: the result of one check each, with a stable id, a severity, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar


class Severity(StrEnum):
    """How serious a finding is. Only `ERROR` makes the command fail."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class CheckId(StrEnum):
    """The base of a product's enumeration of its checks. A value is `area.subject`; monitoring may rely on it."""

    @property
    def area(self) -> str:
        """The part of the id before the dot."""
        return self.value.partition(".")[0]

    @property
    def link(self) -> str:
        """The section of the product's guide that explains the subject."""
        raise NotImplementedError


C = TypeVar("C", bound=CheckId)


@dataclass(frozen=True, slots=True)
class Finding(Generic[C]):
    """The result of one check.

    found: what was found. expected: what a good installation has, or "". fix: one sentence that says what to do, or "".
    """

    check: C
    severity: Severity
    found: str
    expected: str = ""
    fix: str = ""

    @property
    def problem(self) -> bool:
        """Whether it is a warning or an error."""
        return self.severity in (Severity.WARNING, Severity.ERROR)

    def to_json(self) -> dict[str, Any]:
        """The finding as a JSON object."""
        return {
            "id": self.check.value,
            "area": self.check.area,
            "severity": self.severity.value,
            "found": self.found,
            "expected": self.expected,
            "fix": self.fix,
            "link": self.check.link,
        }


def has_failed(findings: Iterable[Finding[C]]) -> bool:
    """Whether at least one finding is an error, so that the command fails."""
    return any(finding.severity is Severity.ERROR for finding in findings)


def ok(check: C, found: str) -> Finding[C]:
    """The check found what it expects."""
    return Finding(check, Severity.OK, found)


def info(check: C, found: str, expected: str = "", fix: str = "") -> Finding[C]:
    """The check found what an operator may want to know."""
    return Finding(check, Severity.INFO, found, expected, fix)


def warning(check: C, found: str, expected: str, fix: str) -> Finding[C]:
    """The check found what may become an error, or makes one worse."""
    return Finding(check, Severity.WARNING, found, expected, fix)


def error(check: C, found: str, expected: str, fix: str) -> Finding[C]:
    """The check found what stops the service, makes it act wrongly, or exposes a secret."""
    return Finding(check, Severity.ERROR, found, expected, fix)
