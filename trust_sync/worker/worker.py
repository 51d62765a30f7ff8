"""Everything that lives as long as the process, assembled from the configuration."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from dane_radius.local import ConfigError, LogFile, Logger, open_log
from dane_radius.server import Config as ModuleConfig
from policy import Policy, PolicyError, PolicyStore
from trust_sync.anchors import AnchorStore
from trust_sync.discovery import DiscoveryContext, DiscoveryService
from trust_sync.registries import FeedPosition, MemoryBudget, RegistryFeed
from trust_sync.sessions import SessionContext, SessionService, open_accounting
from trust_sync.shared import Config, DnsClient, RegistryConfig, Reporting
from trust_sync.worker.metrics import Metrics
from trust_sync.worker.state import StateFile


class Worker:
    """A configured worker. Close it when done.

    state_error: why the state file could not be written. None: it was.
    """

    def __init__(self, config: Config, module: ModuleConfig, log: Logger | None = None) -> None:
        """Raises ConfigError, PolicyError or StoreError. log: used instead of the configured one."""
        self.config, self.module = config, module
        self.log, self._log_file = _open_log(config, log)
        self.metrics = Metrics([registry.name for registry in config.registry])
        self._policies = PolicyStore(module.policy, self._report_policy)
        self._policy = self._policies.current
        self._dns = DnsClient(module.resolver)
        # Separate, so a revocation never waits for lookups that untrusted hints cause.
        self._session_dns = DnsClient(module.resolver)
        self._state_file = StateFile(config.state)
        self.state = self._state_file.load()
        self.store = AnchorStore(module.anchors)
        try:
            self.sessions = self._build_sessions()
            self.discovery = self._build_discovery()
            budget = MemoryBudget(config.feeds.memory, len(config.registry))
            self.feeds = [self._build_feed(registry, budget) for registry in config.registry]
        except BaseException:
            self.store.close()
            raise
        self.started = datetime.now(UTC)
        self.state_error: str | None = None
        self._report_opening()

    def _current_policy(self) -> Policy:
        return self._policies.current

    def _build_sessions(self) -> SessionService:
        context = SessionContext(self.config, self._current_policy, Reporting(self.metrics.sessions, self.log))
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

    def _report_opening(self) -> None:
        """Report what was damaged, and make full comparisons due where anchors were lost."""
        if self._state_file.problem:
            self.log.error("state file not used; synchronizing everything", problem=self._state_file.problem)
        for record in self.store.damaged:
            self.log.error("anchor dropped: its certificate is damaged or missing", fingerprint=record.fingerprint)
            for position in self.state.feeds.values():
                position.seq = None

    def _report_policy(self, outcome: Policy | PolicyError) -> None:
        if isinstance(outcome, PolicyError):
            self.log.error("policy not replaced: the file cannot be used", problems=outcome.problems)

    async def follow_policy(self) -> None:
        """Load the policy file if it has changed, and apply a new policy to live sessions."""
        self._policies.refresh()
        if self._policies.current is not self._policy:
            old, self._policy = self._policy, self._policies.current
            await self.sessions.policy_changed(old, self._policy)

    def measure(self) -> None:
        """Set the gauges that count what is held at the moment."""
        self.metrics.measure(self.store.held, self.state.discovery, datetime.now(UTC))

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
