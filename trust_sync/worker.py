"""The worker: what lives as long as the process does, and the order in which it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from datetime import UTC, datetime
from typing import Any

from prometheus_client import start_http_server

from dane_radius.core import AnchorSource
from dane_radius.local import ConfigError, ControlServer, LogFile, Logger, open_log
from dane_radius.server import Config as ModuleConfig
from policy import Policy, PolicyError, PolicyStore
from trust_sync import __version__
from trust_sync.config import Config
from trust_sync.discovery import Discoverer, Outcome
from trust_sync.feed import RegistryFeed
from trust_sync.fetch import Fetcher, tls_context
from trust_sync.guard import Guard
from trust_sync.lookup import Lookup
from trust_sync.messages import FeedError
from trust_sync.metrics import Metrics
from trust_sync.pace import Budget
from trust_sync.reasons import Reason
from trust_sync.reasons import State as Outcomes
from trust_sync.report import describe
from trust_sync.sessions import open_sessions
from trust_sync.state import FeedPosition, StateFile
from trust_sync.store import AnchorStore, StoreError
from trust_sync.upkeep import Upkeep

_HOUSEKEEPING_SECONDS = 1.0
_MAX_WAIT_SECONDS = 30.0


def utc_now() -> datetime:
    """The wall clock, for comparison with certificate dates."""
    return datetime.now(UTC)


def make_fetcher(config: Config, lookup: Lookup) -> Fetcher:
    """The guarded HTTPS client that the configuration describes. Raises ConfigError."""
    discovery = config.discovery
    try:
        context = tls_context(discovery.ca_file)
    except OSError as error:
        raise ConfigError(f"discovery.ca_file: {discovery.ca_file}: {error.strerror or error}") from error
    return Fetcher(
        lookup.addresses, context, discovery.timeout, discovery.max_octets, discovery.allowed, discovery.port
    )


class Progress:
    """What `Worker.once` tells of its way: how many sources there are, which one it is at, and how far within it."""

    def expect(self, sources: int) -> None:
        """There are this many sources."""

    def source(self, what: str) -> None:
        """The next source's turn has come."""

    def anchors(self, done: int, total: int) -> None:
        """So many of the source's anchors were compared."""

    def done(self) -> None:
        """The last source is done."""


class Worker:
    """A configured worker. Raises ConfigError, PolicyError or StoreError when it cannot be made."""

    def __init__(self, config: Config, module: ModuleConfig, log: Logger | None = None) -> None:
        """`log`: instead of the configured one."""
        self.config, self.module = config, module
        self._log_file: LogFile | None = None
        try:
            if log is None:
                log, self._log_file = open_log(config.log.for_module())
            self.log = log
        except OSError as error:
            raise ConfigError(f"log.destination: {config.log.destination}: {error.strerror}") from error
        self.metrics = Metrics([registry.name for registry in config.registry])
        self.policies = PolicyStore(module.policy, self._policy_reported)
        self._policy = self.policies.current
        self.lookup = Lookup(module.resolver)
        # Threads of its own: whatever strangers make discovery wait for, a revocation is looked up at once.
        self._guard_lookup = Lookup(module.resolver)
        fetcher = make_fetcher(config, self.lookup)
        self._state_file = StateFile(config.state)
        self.state = self._state_file.load()
        self.store = AnchorStore(module.anchors)
        try:
            self.discoverer = Discoverer(
                config.discovery, lambda: self.policies.current, self.store, self.lookup, fetcher, utc_now
            )
            self.discoverer.on_outcome = self._discovered
            sessions = open_sessions(config.sessions.database) if config.sessions.database else None
            self.guard = Guard(
                config,
                module.control_socket,
                self.state,
                sessions,
                self._guard_lookup,
                lambda: self.policies.current,
                self.metrics,
                self.log,
            )
            self.upkeep = Upkeep(
                config.discovery,
                lambda: self.policies.current,
                self.store,
                self.lookup,
                self.discoverer,
                self.state,
                lambda: self.guard.names,
                self.metrics,
                self.log,
            )
            self._budget = Budget(config.feeds.memory, len(config.registry))
            self.feeds = [self._feed(registry.name) for registry in config.registry]
        except BaseException:
            self.store.close()
            raise
        self.started = utc_now()
        self.state_error: str | None = None
        self._report_opening()

    def _feed(self, name: str) -> RegistryFeed:
        registry = next(r for r in self.config.registry if r.name == name)
        position = self.state.feeds.setdefault(name, FeedPosition())
        try:
            return RegistryFeed(registry, self.store, self.guard, position, self.metrics, self.log, budget=self._budget)
        except OSError as error:
            raise ConfigError(f"registry {name}: ca_file: {registry.ca_file}: {error.strerror or error}") from error

    def _report_opening(self) -> None:
        if self._state_file.problem:
            self.log.error("state not used; everything is synchronized anew", problem=self._state_file.problem)
        for record in self.store.damaged:
            self.log.error("anchor dropped: its certificate is damaged or gone", fingerprint=record.fingerprint)
            for position in self.state.feeds.values():
                position.seq = None

    # running

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises ConfigError when a port or socket cannot be had."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        control = await self._bind()
        tasks = [asyncio.create_task(self.guard.run(), name="guard"), asyncio.create_task(self._housekeep())]
        tasks.append(asyncio.create_task(self.upkeep.run(), name="upkeep"))
        tasks += [asyncio.create_task(feed.run(), name=f"feed {feed.config.name}") for feed in self.feeds]
        self.log.info("started", version=__version__, anchors=len(self.store), registries=len(self.feeds))
        try:
            waiting = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {waiting}:
                # None of them ends by itself: what ended one is a defect, and a restart is better than half a worker.
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await control.stop()
            await self.close()
            self.log.info("stopped")

    async def _bind(self) -> ControlServer:
        metrics = self.config.metrics
        if metrics.port:
            try:
                start_http_server(metrics.port, metrics.address, registry=self.metrics.registry)
            except OSError as error:
                raise ConfigError(f"metrics: {metrics.address} port {metrics.port}: {error.strerror}") from error
        try:
            control = ControlServer(self.config.socket, self.handle, self.config.socket_users)
            await control.start()
        except OSError as error:
            raise ConfigError(f"socket: {self.config.socket}: {error.strerror or error}") from error
        return control

    async def close(self) -> None:
        """Save what is remembered, and let the store go."""
        await self._save()
        self.guard.close()
        await self.lookup.close()
        await self._guard_lookup.close()
        self.store.close()

    async def once(self, progress: Progress | None = None) -> dict[str, Any]:
        """Synchronize everything once, for cron. The summary's `failures` is empty when all went well."""
        progress = progress or Progress()
        failures: list[str] = []
        before = set(self.store.records)
        self.upkeep.adopt_policy()
        names = list(self.state.evidence)
        progress.expect(len(self.feeds) + len(names) + 1)
        for feed in self.feeds:
            progress.source(f"registry {feed.config.name}")
            feed.report_progress(progress.anchors)
            feed.position.seq = None
            try:
                await feed.step(0)
                feed.position.failures = 0
            except (FeedError, StoreError) as error:
                failures.append(f"registry {feed.config.name}: {error}")
            await feed.close()
        for name in names:
            progress.source(name)
            if problem := await self.upkeep.refresh(name):
                failures.append(f"{name}: {problem}")
        progress.source("live sessions")
        await self.guard.step()
        await self.guard.settle()
        self.upkeep.retire()
        await self._save()
        progress.done()
        if self.state_error:
            failures.append(f"state: {self.state_error}")
        if self.guard.sessions_error:
            failures.append(f"sessions: {self.guard.sessions_error}")
        failures += [f"session of {e.session.name}: {e.last_reply}" for e in self.state.pending.values()]
        after = set(self.store.records)
        return {
            "anchors": len(after),
            "added": len(after - before),
            "removed": len(before - after),
            "registries": len(self.feeds),
            "names": len(self.state.evidence),
            "watched": self.guard.watched,
            "failures": failures,
        }

    async def _housekeep(self) -> None:
        while True:
            try:
                self.policies.refresh()
                if self.policies.current is not self._policy:
                    old, self._policy = self._policy, self.policies.current
                    await self.guard.policy_changed(old, self._policy)
                self._measure()
                await self._save()
                if self._log_file is not None:
                    self._log_file.reopen_if_moved()
            except Exception:
                self.log.exception("housekeeping failed")
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)

    def _policy_reported(self, outcome: Policy | PolicyError) -> None:
        if isinstance(outcome, PolicyError):
            self.log.error("policy not replaced: the file cannot be used", problems=outcome.problems)

    def _measure(self) -> None:
        now = utc_now()
        counts = dict.fromkeys(AnchorSource, 0)
        expired = 0
        for record in self.store.records.values():
            counts[record.source] += 1
            expired += record.not_after < now
        for source, count in counts.items():
            self.metrics.anchors.labels(source).set(count)
        self.metrics.anchors_expired.set(expired)
        self.metrics.names_tended.set(len(self.state.evidence))
        self.metrics.anchors_unbacked.set(len({key.partition(" ")[0] for key in self.state.unbacked}))

    async def _save(self) -> None:
        """Encoded and written in a thread: it may be megabytes. Never cut short, so that no two writes overlap."""
        writing = asyncio.ensure_future(asyncio.to_thread(self._state_file.save, self.state.to_json()))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.gather(writing, return_exceptions=True)
            raise
        except OSError as error:
            self.metrics.store_failures.inc()
            if self.state_error is None:
                self.log.error("state not saved; it is tried again", file=self.config.state, error=error.strerror)
            self.state_error = f"{self.config.state}: {error.strerror}"
        else:
            if self.state_error is not None:
                self.log.info("state saved again", file=self.config.state)
            self.state_error = None

    # what was discovered

    def _discovered(self, outcome: Outcome, seconds: float) -> None:
        self.metrics.discoveries.labels(outcome.state, outcome.reason).inc()
        if seconds > 0:
            self.metrics.discovery_seconds.observe(seconds)
            log = self.log.info if outcome.state is Outcomes.FOUND else self.log.warning
            log("discovery", **{**outcome.to_json(), "milliseconds": round(seconds * 1000, 1)})
        if outcome.reason is Reason.STORE_FAILED:
            self.metrics.store_failures.inc()
        self.upkeep.remember(outcome)

    # the socket

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request of the socket. Raises ValueError for what cannot be served."""
        match request:
            case {"op": "discover", "name": str(name)}:
                wait = request.get("wait", 0.3)
                if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait <= _MAX_WAIT_SECONDS:
                    raise ValueError(f"wait {wait!r}: seconds from 0 to {_MAX_WAIT_SECONDS:g} are expected")
                outcome = await self.discoverer.hint(name, float(wait))
                return outcome.to_json()
            case {"op": "status"}:
                return self.status()
        raise ValueError(f"op {request.get('op')!r} is not known; discover (with a name) or status is expected")

    def status(self) -> dict[str, Any]:
        """What is in force, for `trust-sync status`."""
        return describe(self.started, self.store, self.state, self.feeds, self.guard, self.config, self.state_error)


def run(config: Config, module: ModuleConfig) -> None:
    """Run a worker until it is told to stop."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(config, module))


async def _run(config: Config, module: ModuleConfig) -> None:
    await Worker(config, module).run()
