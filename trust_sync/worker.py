"""The worker: what lives as long as the process does, and the order in which it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from prometheus_client import start_http_server

from dane_radius.anchors import AnchorSource
from dane_radius.answers import SecureAbsent
from dane_radius.config import Config as ModuleConfig
from dane_radius.config import ConfigError
from dane_radius.log import open_log
from dane_radius.names import identity_domain
from policy import Policy, PolicyError, PolicyStore
from trust_sync import __version__
from trust_sync.config import Config
from trust_sync.control import ControlServer
from trust_sync.discovery import Discoverer, Outcome
from trust_sync.feed import FeedError, RegistryFeed
from trust_sync.fetch import Fetcher, tls_context
from trust_sync.guard import Guard
from trust_sync.lookup import Lookup
from trust_sync.metrics import Metrics
from trust_sync.reasons import Reason
from trust_sync.reasons import State as Outcomes
from trust_sync.sessions import open_sessions
from trust_sync.standing import retry_after
from trust_sync.state import Evidence, FeedPosition, StateFile
from trust_sync.store import AnchorStore, StoreError

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


class Worker:
    """A configured worker. Raises ConfigError, PolicyError or StoreError when it cannot be made."""

    def __init__(self, config: Config, module: ModuleConfig) -> None:
        self.config, self.module = config, module
        try:
            self.log, self._log_file = open_log(config.log.for_module())
        except OSError as error:
            raise ConfigError(f"log.destination: {config.log.destination}: {error.strerror}") from error
        self.metrics = Metrics([registry.name for registry in config.registry])
        self.policies = PolicyStore(module.policy, self._policy_reported)
        self._policy = self.policies.current
        self.lookup = Lookup(module.resolver)
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
            self.guard = Guard(config, module.control_socket, self.state, sessions, self.lookup, self.metrics, self.log)
            self.feeds = [self._feed(registry.name) for registry in config.registry]
        except BaseException:
            self.store.close()
            raise
        self.started = utc_now()
        self._report_opening()

    def _feed(self, name: str) -> RegistryFeed:
        registry = next(r for r in self.config.registry if r.name == name)
        position = self.state.feeds.setdefault(name, FeedPosition())
        try:
            return RegistryFeed(registry, self.store, self.guard, position, self.metrics, self.log)
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
            self.close()
            self.log.info("stopped")

    async def _bind(self) -> ControlServer:
        metrics = self.config.metrics
        if metrics.port:
            try:
                start_http_server(metrics.port, metrics.address, registry=self.metrics.registry)
            except OSError as error:
                raise ConfigError(f"metrics: {metrics.address} port {metrics.port}: {error.strerror}") from error
        try:
            control = ControlServer(self.config.socket, self.config.socket_users, self.handle)
            await control.start()
        except OSError as error:
            raise ConfigError(f"socket: {self.config.socket}: {error.strerror or error}") from error
        return control

    def close(self) -> None:
        """Save what is remembered, and let the store go."""
        self._save()
        self.lookup.close()
        self.store.close()

    async def once(self, progress: Callable[[str], None] = lambda step: None) -> dict[str, Any]:
        """Synchronize everything once, for cron. The summary's `failures` is empty when all went well."""
        failures: list[str] = []
        before = set(self.store.records)
        for feed in self.feeds:
            progress(f"registry {feed.config.name}")
            feed.position.seq = None
            try:
                await feed.step(0)
            except (FeedError, StoreError) as error:
                failures.append(f"registry {feed.config.name}: {error}")
            await feed.close()
        for name in list(self.state.evidence):
            progress(name)
            if problem := await self._refresh(name):
                failures.append(f"{name}: {problem}")
        progress("live sessions")
        await self.guard.step()
        await self.guard.settle()
        if self.guard.sessions_error:
            failures.append(f"sessions: {self.guard.sessions_error}")
        failures += [f"session of {e.session.name}: {e.last_reply}" for e in self.state.pending.values()]
        after = set(self.store.records)
        return {
            "anchors": len(after),
            "added": len(after - before),
            "removed": len(before - after),
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
                await self._refresh_due()
                self._measure()
                self._save()
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

    def _save(self) -> None:
        try:
            self._state_file.save(self.state)
        except OSError as error:
            self.metrics.store_failures.inc()
            self.log.error("state not saved", file=self.config.state, error=error.strerror)

    # what was discovered

    def _discovered(self, outcome: Outcome, seconds: float) -> None:
        self.metrics.discoveries.labels(outcome.state, outcome.reason).inc()
        if seconds > 0:
            self.metrics.discovery_seconds.observe(seconds)
            log = self.log.info if outcome.state is Outcomes.FOUND else self.log.warning
            log("discovery", **{**outcome.to_json(), "milliseconds": round(seconds * 1000, 1)})
        if outcome.reason is Reason.STORE_FAILED:
            self.metrics.store_failures.inc()
        self._remember(outcome)

    def _remember(self, outcome: Outcome) -> None:
        if outcome.state is not Outcomes.FOUND or outcome.fingerprint is None:
            return
        limits = self.config.discovery
        if outcome.name not in self.state.evidence and len(self.state.evidence) >= limits.max_names:
            # The one that was due longest ago; its anchor stays, and is just not looked after any more.
            self.state.evidence.pop(min(self.state.evidence, key=lambda name: self.state.evidence[name].due))
        wait = min(limits.refresh_max, max(limits.refresh_min, outcome.ttl or 0.0))
        self.state.evidence[outcome.name] = Evidence(outcome.fingerprint, time.time() + wait)

    async def _refresh_due(self) -> None:
        now = time.time()
        for name in [name for name, evidence in self.state.evidence.items() if evidence.due <= now][:8]:
            await self._refresh(name)

    async def _refresh(self, name: str) -> str | None:
        """Look again at what was discovered by a name; says what went wrong, if anything did.

        A device's own certificate goes when its zone proves that it is gone, or shows another one. A CA stays: other
        devices may rely on it, and by itself it lets nobody in. A failure changes nothing.
        """
        evidence = self.state.evidence[name]
        answer = await self.lookup.tlsa(name)
        if isinstance(answer, SecureAbsent):
            del self.state.evidence[name]
            self._drop_leaf(evidence.fingerprint, name)
            return None
        outcome = await self.discoverer.discover(name, fresh=True)
        if outcome.state is Outcomes.FOUND:
            self._remember(outcome)
            if outcome.fingerprint != evidence.fingerprint:
                self._drop_leaf(evidence.fingerprint, name)
            return None
        evidence.failures += 1
        evidence.last_error = f"{outcome.reason}: {outcome.detail}"
        limits = self.config.discovery
        evidence.due = time.time() + retry_after(evidence.failures, limits.refresh_min, limits.refresh_max)
        return evidence.last_error

    def _drop_leaf(self, fingerprint: str, name: str) -> None:
        record = self.store.get(fingerprint)
        if record is None or record.source is not AnchorSource.LEAF:
            return
        try:
            self.store.remove(fingerprint, [name])
        except StoreError as error:
            self.metrics.store_failures.inc()
            self.log.error("anchor not removed", name=name, error=str(error))
        else:
            self.log.info("anchor removed", name=name, fingerprint=fingerprint)

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
        now = time.time()
        records = self.store.records.values()
        return {
            "version": __version__,
            "started": self.started.isoformat(timespec="seconds"),
            "anchors": [
                {
                    "fingerprint": record.fingerprint,
                    "subject": record.subject,
                    "domains": list(record.domains),
                    "source": str(record.source),
                    "age_seconds": round(max(0.0, now - record.fetched.timestamp())),
                    "not_after": record.not_after.isoformat(timespec="seconds"),
                }
                for record in list(records)[:1000]
            ],
            "anchor_count": len(records),
            "registries": {
                feed.config.name: {
                    "url": feed.config.url,
                    "seq": feed.position.seq,
                    "last_success_seconds": round(now - feed.position.last_success)
                    if feed.position.last_success
                    else None,
                    "failures": feed.position.failures,
                    "error": feed.position.last_error,
                }
                for feed in self.feeds
            },
            "discovered": {
                name: {
                    "domain": identity_domain(name),
                    "fingerprint": item.fingerprint,
                    "refresh_in_seconds": round(item.due - now),
                    "error": item.last_error,
                }
                for name, item in list(self.state.evidence.items())[:1000]
            },
            "sessions": {
                "watched_names": self.guard.watched,
                "error": self.guard.sessions_error,
                "pending": [
                    {
                        "name": end.session.name,
                        "nas": end.session.nas,
                        "station": end.session.station,
                        "cause": str(end.cause),
                        "since_seconds": round(now - end.noticed),
                        "attempts": end.attempts,
                        "reply": end.last_reply,
                        "retry_in_seconds": round(max(0.0, end.due - now)),
                    }
                    for end in self.state.pending.values()
                ],
            },
        }


def run(config: Config, module: ModuleConfig) -> None:
    """Run a worker until it is told to stop."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(config, module))


async def _run(config: Config, module: ModuleConfig) -> None:
    await Worker(config, module).run()
