"""The worker as a service: listeners, tasks, housekeeping, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from dane_radius.local import ConfigError, ControlServer, MetricsServer
from dane_radius.server import Config as ModuleConfig
from trust_sync import __version__
from trust_sync.shared import Config
from trust_sync.worker.control import RequestHandler
from trust_sync.worker.worker import Worker

_HOUSEKEEPING_SECONDS = 1.0


def run(config: Config, module: ModuleConfig) -> None:
    """Run a worker until SIGTERM or SIGINT. Raises ConfigError, PolicyError or StoreError if it cannot start."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(config, module))


async def _run(config: Config, module: ModuleConfig) -> None:
    await serve(Worker(config, module))


async def serve(worker: Worker) -> None:
    """Run until SIGTERM or SIGINT, and close the worker. Raises ConfigError if a port or socket cannot be opened."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = _listen_for_scrapes(worker)
    try:
        control = await _listen_for_requests(worker)
        tasks = _start_tasks(worker, metrics)
        worker.log.info("started", version=__version__, anchors=len(worker.store.held), registries=len(worker.feeds))
        try:
            await _wait_for_end(stop, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await control.stop()
            await worker.close()
            worker.log.info("stopped")
    finally:
        if metrics is not None:
            metrics.stop()


def _listen_for_scrapes(worker: Worker) -> MetricsServer | None:
    config = worker.config.metrics
    if not config.port:
        return None
    try:
        server = MetricsServer(config.address, config.port, worker.metrics.registry)
    except OSError as error:
        raise ConfigError(f"metrics: {config.address} port {config.port}: {error.strerror}") from error
    server.start()
    return server


async def _listen_for_requests(worker: Worker) -> ControlServer:
    config = worker.config
    try:
        server = ControlServer(config.socket, RequestHandler(worker).handle, config.socket_users)
        await server.start()
    except OSError as error:
        raise ConfigError(f"socket: {config.socket}: {error.strerror or error}") from error
    return server


def _start_tasks(worker: Worker, metrics: MetricsServer | None) -> list[asyncio.Task[None]]:
    return [
        asyncio.create_task(worker.sessions.run(), name="sessions"),
        asyncio.create_task(_keep_house(worker, metrics), name="housekeeping"),
        asyncio.create_task(worker.discovery.refresher.run(), name="refresh"),
        *(asyncio.create_task(feed.run(), name=f"feed {feed.name}") for feed in worker.all_feeds),
        *([asyncio.create_task(worker.reporter.run(), name="reports")] if worker.reporter is not None else []),
    ]


async def _wait_for_end(stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Wait for a signal. A task that ends by itself has a defect: its exception ends the process, for a restart."""
    waiting = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {waiting}:
        task.result()


async def _keep_house(worker: Worker, metrics: MetricsServer | None) -> None:
    """Follow the policy file, set gauges, save the state, and close overdue connections, once a second."""
    while True:
        try:
            if metrics is not None:
                metrics.close_overdue()
            await worker.follow_policy()
            worker.measure()
            await worker.save_state()
            worker.reopen_log()
        except Exception:
            worker.log.exception("housekeeping failed")
        await asyncio.sleep(_HOUSEKEEPING_SECONDS)
