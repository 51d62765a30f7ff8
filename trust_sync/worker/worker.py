"""Everything that lives as long as the process, assembled from the configuration."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

from dane_radius.local import ConfigError, LogFile, Logger, StandingTable, open_log
from dane_radius.server import Config as ModuleConfig
from policy import DeviceStanding, Policy, PolicyError, PolicyStore
from trust_sync.anchors import AnchorStore
from trust_sync.discovery import DiscoveryContext, DiscoveryService
from trust_sync.feeds import FeedPosition, FollowedFeed, MemoryBudget
from trust_sync.registries import RegistryFeed
from trust_sync.reports import PositionFile, ReportClient, Reporter
from trust_sync.sessions import SessionContext, SessionService, open_accounting
from trust_sync.shared import OPERATIONS, Config, DnsClient, RegistryConfig, Reporting
from trust_sync.standing import ModuleSocket, StandingFeed, StandingJournal
from trust_sync.worker.metrics import Metrics
from trust_sync.worker.session_lister import SessionLister
from trust_sync.worker.state import StateFile


class Worker:
    """A configured worker. Close it when done.

    state_error: why the state file could not be written. None: it was.
    """

    def __init__(self, config: Config, module: ModuleConfig, log: Logger | None = None) -> None:
        """Raises ConfigError, PolicyError, StoreError or JournalError. log: used instead of the configured one."""
        self.config, self.module = config, module
        self.log, self._log_file = _open_log(config, log)
        sources = [registry.name for registry in config.registry]
        self.metrics = Metrics([*sources, OPERATIONS] if config.operations is not None else sources)
        self._policies = PolicyStore(module.policy, self._report_policy)
        self._policy = self._policies.current
        self._dns = DnsClient(module.resolver)
        # Separate, so a revocation never waits for lookups that untrusted hints cause.
        self._session_dns = DnsClient(module.resolver)
        self._state_file = StateFile(config.state)
        self.state = self._state_file.load()
        self.store = AnchorStore(module.anchors)
        self._journal: StandingJournal | None = None
        # What another process writes, if this one does not.
        self._standings = StandingTable(module.standing) if module.standing and config.operations is None else None
        try:
            if module.standing is not None and config.operations is not None:
                self._journal = StandingJournal(module.standing)
            self.sessions = self._build_sessions()
            self.discovery = self._build_discovery()
            budget = MemoryBudget(config.feeds.memory, len(config.registry))
            self.feeds = [self._build_feed(registry, budget) for registry in config.registry]
            self.standing = self._build_standing()
            self.reporter = self._build_reporter()
        except BaseException:
            self.store.close()
            raise
        self.started = datetime.now(UTC)
        self.state_error: str | None = None
        self._report_opening()

    @property
    def all_feeds(self) -> list[FollowedFeed]:
        """The feeds of registries, and that of the operations service."""
        return [*self.feeds, self.standing] if self.standing is not None else [*self.feeds]

    def _current_policy(self) -> Policy:
        return self._policies.current

    def _standing_of(self, name: str) -> DeviceStanding | None:
        """What is known of a device's standing."""
        known = self._journal.standings if self._journal is not None else self._standings
        return known.of(name, time.time()) if known is not None else None

    def _build_sessions(self) -> SessionService:
        reporting = Reporting(self.metrics.sessions, self.log)
        context = SessionContext(self.config, self._current_policy, reporting, standing_of=self._standing_of)
        url = self.config.sessions.database
        database = open_accounting(url) if url else None
        return SessionService(context, database, self._session_dns, self.state.sessions, self.module.control_socket)

    def _build_discovery(self) -> DiscoveryService:
        return DiscoveryService(
            DiscoveryContext(self.config.discovery, self._current_policy, self.store.held, self._dns),
            self.store,
            self.state.discovery,
            lambda: self.sessions.watched_names,
            Reporting(self.metrics.discovery, self.log),
            self.metrics.anchors,
        )

    def _build_feed(self, registry: RegistryConfig, budget: MemoryBudget) -> RegistryFeed:
        position = self.state.feeds.setdefault(registry.name, FeedPosition())
        reporting = Reporting(self.metrics.registries, self.log)
        try:
            return RegistryFeed(
                registry, self.store, self.sessions, position, reporting, self.metrics.anchors, budget=budget
            )
        except OSError as error:
            why = error.strerror or error
            raise ConfigError(f"registry {registry.name}: ca_file: {registry.ca_file}: {why}") from error

    def _build_standing(self) -> StandingFeed | None:
        config, journal = self.config.operations, self._journal
        if config is None or journal is None:
            return None
        position = self.state.feeds.setdefault(OPERATIONS, FeedPosition())
        reporting = Reporting(self.metrics.standing, self.log)
        module = ModuleSocket(self.module.control_socket, self.log)
        try:
            return StandingFeed(config, journal, module, self.sessions, position, reporting, self.save_state)
        except OSError as error:
            raise ConfigError(f"operations: ca_file: {config.ca_file}: {error.strerror or error}") from error

    def _build_reporter(self) -> Reporter | None:
        config, log = self.config.operations, self.module.log
        if config is None or not config.report:
            return None
        path = log.destination if log.format == "json" and log.destination.startswith("/") else None
        if path is None or path.startswith("/dev/"):
            self.log.warning("decisions not reported: log.destination of the module is no file with JSON")
            path = None
        positions = PositionFile(Path(self.config.state).with_name("decisions.json"))
        lister = SessionLister(self.sessions)
        poll = self.config.sessions.poll
        reporting = Reporting(self.metrics.reports, self.log)
        return Reporter(config, ReportClient(config), path, positions, lister.list, poll, reporting)

    def _report_opening(self) -> None:
        """Report what was damaged, and make full comparisons due where anchors were lost."""
        if self._state_file.problem:
            self.log.error("state file not used; synchronizing everything", problem=self._state_file.problem)
        for record in self.store.damaged:
            self.log.error("anchor dropped: its certificate is damaged or missing", fingerprint=record.fingerprint)
            for feed in self.feeds:
                feed.position.seq = None

    def _report_policy(self, outcome: Policy | PolicyError) -> None:
        if isinstance(outcome, PolicyError):
            self.log.error("policy not replaced: the file cannot be used", problems=outcome.problems)

    async def follow_policy(self) -> None:
        """Load the policy file if it has changed, and apply a new policy to live sessions."""
        self._policies.refresh()
        if self._standings is not None:
            await asyncio.to_thread(self._standings.refresh)
        if self._policies.current is not self._policy:
            old, self._policy = self._policy, self._policies.current
            await self.sessions.policy_changed(old, self._policy)

    def measure(self) -> None:
        """Set the gauges that count what is held at the moment."""
        self.metrics.measure(self.store.held, self.state.discovery, datetime.now(UTC))
        if self._journal is not None:
            self.metrics.standing.measure(self._journal)

    def reopen_log(self) -> None:
        """Open the log file again if it was moved, as log rotation does."""
        if self._log_file is not None:
            self._log_file.reopen_if_moved()

    async def save_state(self) -> None:
        """Write the state file in a thread, as it may be megabytes. Two writes never overlap, even if cancelled."""
        writing = asyncio.ensure_future(asyncio.to_thread(self._state_file.save, self.state.to_json()))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.gather(writing, return_exceptions=True)
            raise
        except OSError as error:
            self.metrics.anchors.write_failures.inc()
            if self.state_error is None:
                self.log.error("state not saved; retrying", file=self.config.state, error=error.strerror)
            self.state_error = f"{self.config.state}: {error.strerror}"
        else:
            if self.state_error is not None:
                self.log.info("state saved again", file=self.config.state)
            self.state_error = None

    async def close(self) -> None:
        """Save the state, and release the store."""
        await self.save_state()
        self.sessions.close()
        if self._journal is not None:
            self._journal.close()
        await self._dns.close()
        await self._session_dns.close()
        self.store.close()


def _open_log(config: Config, log: Logger | None) -> tuple[Logger, LogFile | None]:
    if log is not None:
        return log, None
    try:
        return open_log(config.log.to_log_config())
    except OSError as error:
        raise ConfigError(f"log.destination: {config.log.destination}: {error.strerror}") from error
