"""Probes that run at the same time, each with a deadline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

import health_report
from health_report import CannotTry
from iot_registry.publication.dns_client import DnsError
from iot_registry.signer.base import SignerError
from web_service.core import ConfigurationError

T = TypeVar("T")


class Pending(health_report.Pending[T]):
    """A probe in a thread of its own. The text of the registry's own exceptions says all by itself."""

    explained = (CannotTry, ConfigurationError, DnsError, SignerError)

    def __init__(self, probe: Callable[[], T], seconds: float) -> None:
        super().__init__(lambda: _translated(probe), seconds)


def _translated(probe: Callable[[], T]) -> T:
    try:
        return probe()
    except DBAPIError as error:
        # SQLAlchemy's text holds the statement, too.
        raise CannotTry(" ".join(str(error.orig).split())) from None


def problem_of(path: Path, use: Callable[[], object]) -> str | None:
    """What makes a file unusable, by the ConfigurationError of `use`. Raises OSError if this user may not read it."""
    if path.exists():
        with path.open("rb"):
            pass
    try:
        use()
    except ConfigurationError as error:
        return str(error)
    return None
