"""Live sessions of devices as accounting shows them, and whether accounting can be read."""

from __future__ import annotations

from collections.abc import Sequence

from dane_radius.local import ConfigError
from trust_sync.sessions.accounting import Accounting
from trust_sync.sessions.accounting_database import AccountingUnavailable
from trust_sync.sessions.context import SessionContext
from trust_sync.sessions.devices import DeviceFilter
from trust_sync.sessions.disconnector import Disconnector
from trust_sync.sessions.nas_directory import NasDirectory
from trust_sync.sessions.session import Session


class LiveSessions:
    """Reads which devices have live sessions, and the NAS table. error: the last problem, None if it is solved."""

    def __init__(self, context: SessionContext, accounting: Accounting, disconnector: Disconnector) -> None:
        self._config, self._accounting, self._disconnector = context.config, accounting, disconnector
        self._devices = DeviceFilter(context.policy)
        self._metrics, self._log = context.reporting.metrics, context.reporting.log
        self.error: str | None = None

    @property
    def configured(self) -> bool:
        """Whether there is an accounting database."""
        return self._accounting.configured

    async def poll(self) -> list[str] | None:
        """List the devices with live sessions, and update the NAS directory. None: accounting cannot be read."""
        try:
            users = await self._accounting.names()
            rows = await self._accounting.nas_secrets() if self._config.sessions.nas_table else []
        except AccountingUnavailable as error:
            self.report_unavailable(error)
            return None
        self._update_nas_directory(rows)
        return await self._devices.select_all(users)

    async def devices_with_sessions(self, names: Sequence[str]) -> list[str]:
        """Select the devices with live sessions. The list is empty if accounting cannot be read.

        The next poll that succeeds then shows their sessions as new.
        """
        try:
            return await self.select(names)
        except AccountingUnavailable as error:
            self.report_unavailable(error)
            return []

    async def select(self, names: Sequence[str]) -> list[str]:
        """As `devices_with_sessions`, but raises AccountingUnavailable."""
        return await self._devices.select(await self._accounting.live(names))

    async def of(self, names: Sequence[str]) -> list[Session]:
        """List the live sessions of some names. Raises AccountingUnavailable."""
        return await self._accounting.of(names)

    async def all(self) -> list[Session]:
        """List the live sessions of devices. Raises AccountingUnavailable."""
        sessions = await self._accounting.all()
        devices = set(await self._devices.select({session.name for session in sessions}))
        return [session for session in sessions if session.name in devices]

    def report_unavailable(self, error: AccountingUnavailable) -> None:
        """Count a failed query, and log the first of a series."""
        self._metrics.accounting_unavailable.inc()
        if self.error is None:
            self._log.error("live sessions cannot be read; retrying", error=str(error))
        self.error = str(error)

    def _update_nas_directory(self, rows: Sequence[tuple[str, str]]) -> None:
        try:
            self._disconnector.directory = NasDirectory.from_config(self._config.nas, rows)
        except ConfigError as error:
            # A secret file cannot be read at the moment. The secrets that were read before stay in use.
            if self.error is None:
                self._log.error("NAS secrets not reloaded; using the previous ones", error=str(error))
            self.error = str(error)
        else:
            self.error = None
