"""Probes that run at the same time, each with a deadline. A probe that fails becomes a `NotTried`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from dane_radius.doctor.facts import Fact, NotTried
from dane_radius.local import ConfigError

T = TypeVar("T")


class CannotTry(RuntimeError):
    """A probe cannot be made. The text says why."""


class Pending(Generic[T]):
    """A probe in a thread of its own. The thread never keeps the process from ending."""

    def __init__(self, probe: Callable[[], T], seconds: float) -> None:
        """Start the probe. `seconds`: how long `result` waits for it at most, from now on."""
        self._probe, self._ends, self._seconds = probe, time.monotonic() + seconds, seconds
        self._result: Fact[T] = NotTried("the probe has not ended")
        self._done = threading.Event()
        threading.Thread(target=self._run, name="probe", daemon=True).start()

    def _run(self) -> None:
        try:
            self._result = self._probe()
        except (CannotTry, ConfigError) as error:
            self._result = NotTried(str(error))
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            self._result = NotTried(f"{place}{error.strerror or error}")
        except Exception as error:
            self._result = NotTried(f"{type(error).__name__}: {error}")
        finally:
            self._done.set()

    def result(self) -> Fact[T]:
        """The fact, or why there is none. Never raises."""
        if not self._done.wait(max(0.0, self._ends - time.monotonic())):
            return NotTried(f"no result within {self._seconds:g} s")
        return self._result


def value(fact: Fact[T]) -> T:
    """The fact itself. Raises CannotTry with the reason if it is missing, for a probe that needs it."""
    if isinstance(fact, NotTried):
        raise CannotTry(fact.why)
    return fact
