"""Assembling the service and running it until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable

import structlog
from aiohttp import web

from operations.local import metrics
from operations.local.config import Settings
from operations.local.policy_file import PolicyFile
from operations.service import node_reports, questions, restores, standings
from operations.store import change_feed
from operations.web.application import application
from operations.web.context import Context
from operations.web.server_tls import ServerTls
from web_service.https import listener_of
from web_service.local import parse_endpoint, utc_now
from web_service.store import Database, Position, Writer
from web_service.web import ChangeWatch

log = structlog.get_logger("operations")

# Intervals: of ending standings whose time is over, of remembering how far the feed is, of reading changed files, and
# of forgetting what is old.
EXPIRY_SECONDS = 1.0
POSITION_SECONDS = 1.0
FILES_SECONDS = 5.0
FORGET_SECONDS = 600.0
HANDLER_SHUTDOWN_SECONDS = 3


@contextlib.asynccontextmanager
async def running(settings: Settings, database: Database) -> AsyncIterator[tuple[Context, int]]:
    """Run the service. The context manager gives its context and the port of its listener."""
    policy = await asyncio.to_thread(PolicyFile, settings.operations.policy)
    tls = ServerTls(settings)
    await asyncio.to_thread(tls.refresh, utc_now())

    def read_position() -> Position:
        with database.read() as session:
            return change_feed.position(session)

    watch, writer = ChangeWatch(read_position), Writer(database)
    context = Context(
        settings=settings,
        database=database,
        writer=writer,
        watch=watch,
        body_seconds=settings.connections.body_seconds,
        policy=policy,
    )
    chores = (
        (EXPIRY_SECONDS, _expiry(context)),
        (POSITION_SECONDS, lambda: restores.remember_position(database, settings.state_dir, utc_now())),
        (FILES_SECONDS, policy.refresh),
        (FILES_SECONDS, lambda: tls.refresh(utc_now())),
        (FORGET_SECONDS, _forgetting(context)),
    )
    runner = web.AppRunner(application(context), access_log=None, shutdown_timeout=HANDLER_SHUTDOWN_SECONDS)
    await runner.setup()
    listener = listener_of(metrics.FACE, settings.connections, runner, lambda: tls.context)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, writer.stop)
        stack.push_async_callback(runner.cleanup)
        await stack.enter_async_context(watch)
        stack.callback(context.stopping.set)
        stack.push_async_callback(listener.close)
        for seconds, chore in chores:
            task = asyncio.create_task(_repeat(seconds, chore))
            stack.callback(task.cancel)
        port = await listener.open(parse_endpoint(settings.operations.listen))
        yield context, port


def _expiry(context: Context) -> Callable[[], object]:
    def expire() -> None:
        if context.read_blocking(lambda s: standings.has_expired(s, utc_now())):
            context.writer.submit(lambda s: standings.expire(s, utc_now())).result()
            context.watch.check_now()

    return expire


def _forgetting(context: Context) -> Callable[[], object]:
    def forget() -> None:
        retention = context.settings.feed.retention_days
        context.writer.submit(lambda s: change_feed.forget(s, utc_now(), retention)).result()
        context.writer.submit(lambda s: questions.forget(s, utc_now())).result()
        context.writer.submit(lambda s: node_reports.forget(s, context.settings.inventory, utc_now())).result()

    return forget


async def _repeat(seconds: float, chore: Callable[[], object]) -> None:
    failing = False
    while True:
        try:
            await asyncio.to_thread(chore)
            failing = False
        except Exception as error:
            # One line when it begins: an outage of the database would fill the log.
            if not failing:
                log.error("chore.failed", error=str(error)[:400])
            failing = True
        await asyncio.sleep(seconds)


async def serve(settings: Settings, database: Database) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(settings, database) as (_context, port):
        log.info("operations.serving", listen=settings.operations.listen, port=port)
        await stop.wait()
        log.info("operations.stopping")
