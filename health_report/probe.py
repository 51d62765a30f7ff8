"""Probes that run at the same time, each with a deadline. A probe that fails becomes a `NotTried`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

from health_report.fact import CannotTry, Fact, NotTried

T = TypeVar("T")


class Pending(Generic[T]):
    """A probe in a thread of its own. The thread never keeps the process from ending."""

    # Exceptions whose text alone says why. A product adds its own.
    explained: ClassVar[tuple[type[Exception], ...]] = (CannotTry,)

    def __init__(self, probe: Callable[[], T], seconds: float) -> None:
        """Start the probe. `seconds`: how long `result` waits for it at most, from now on."""
        self._probe, self._ends, self._seconds = probe, time.monotonic() + seconds, seconds
        self._result: Fact[T] = NotTried("the probe has not ended")
        self._done = threading.Event()
        threading.Thread(target=self._run, name="probe", daemon=True).start()

    def _run(self) -> None:
        try:
            self._result = self._probe()
        except self.explained as error:
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
