"""The standing of devices in the running module: what the decision may rely on, and how the journal is followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dane_radius.core.reasons import ReasonCode, Refused
from dane_radius.local.log import Logger
from dane_radius.local.standing_table import StandingTable
from policy import DeviceStanding


class DeviceStandings:
    """Answers what is known of a device. Without a journal in the configuration, that is nothing."""

    def __init__(self, table: StandingTable | None, clock: Callable[[], float]) -> None:
        """`clock`: seconds since 1970."""
        self.table, self._clock = table, clock

    def of(self, name: str) -> DeviceStanding | None:
        """What counts for a device now. No I/O.

        Raises Refused (`standing_unavailable`) as long as no journal was ever read: a device that is to be refused
        could not be told from the others.
        """
        table = self.table
        if table is None:
            return None
        if not table.available:
            raise Refused(ReasonCode.STANDING_UNAVAILABLE, f"the standing of {name} is not known: {table.error}")
        return table.of(name, self._clock())

    def status(self) -> dict[str, Any] | None:
        """The state of the journal, for `dane-radius status`. None: none is configured."""
        table = self.table
        if table is None:
            return None
        standings = table.standings
        return {
            "available": table.available,
            "error": table.error,
            "source": table.source,
            "sequence": table.sequence,
            "devices": {str(standing): count for standing, count in standings.counts.items() if count},
            "approved": standings.approved,
            "makers": standings.makers,
        }


class StandingWatch:
    """Follows the journal. An error is logged once, and again when it changes."""

    def __init__(self, table: StandingTable, log: Logger) -> None:
        self._table, self._log = table, log
        self._error: str | None = None

    def __call__(self) -> None:
        self._table.refresh()
        self.report()

    def report(self) -> None:
        """Log an error that is new, and its end."""
        error, before = self._table.error, self._error
        self._error = error
        if error is not None and error != before:
            self._log.error(
                "standing journal",
                error=error,
                effect="the last known standing counts" if self._table.available else "every device is refused",
            )
        elif error is None and before is not None:
            self._log.info("standing journal read", entries=len(self._table), sequence=self._table.sequence)
