"""Assembling the registry and running it until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import structlog
from aiohttp import web

from iot_registry.https.server_tls import ServerTls
from iot_registry.local import metrics, tsig_keys
from iot_registry.local.config import Settings
from iot_registry.publication.published_certificates import PublishedCertificates
from iot_registry.publication.publisher import Publisher
from iot_registry.service import initialization, succession
from iot_registry.service.authorities import server_anchor
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.service.enrollment import Enrollment
from iot_registry.service.registration import Registration
from iot_registry.signer import create_signer
from iot_registry.store import change_feed
from iot_registry.web.application import application
from iot_registry.web.context import Context
from iot_registry.web.failure_limit import FailureLimit
from web_service.https import listener_of
from web_service.local import parse_endpoint, utc_now
from web_service.store import Database, Position, Writer
from web_service.web import ChangeWatch

log = structlog.get_logger("iot_registry")

# Interval of renewing the server's certificate and retiring CAs.
CHORE_SECONDS = 3600
HANDLER_SHUTDOWN_SECONDS = 3
# Many devices may share one address (NAT): an address may fail this many times as often as a name.
ADDRESS_FACTOR = 10


@contextlib.asynccontextmanager
async def running(settings: Settings, database: Database) -> AsyncIterator[tuple[Context, int]]:
    """Run the registry. The context manager gives its context and the port of its listener."""
    store = CaKeyStore(settings)
    if await asyncio.to_thread(initialization.initialize, database, store, settings, utc_now()):
        log.info("registry.initialized", state_dir=str(settings.state_dir), domain=settings.default_domain)
    settings = await asyncio.to_thread(partial(initialization.with_default_domain, database, settings, strict=True))
    key = tsig_keys.load_or_create(settings.tsig_key_file)
    tls = ServerTls(settings, store)

    def read_position() -> Position:
        with database.read() as session:
            return change_feed.position(session)

    def refresh_tls() -> None:
        with database.read() as session:
            tls.refresh(session, utc_now())

    def retire_authorities() -> None:
        with database.write() as session:
            succession.retire(session, utc_now())
        with database.read() as session:
            for aki in succession.retired_keys(session):
                store.destroy(aki)

    await asyncio.to_thread(retire_authorities)
    await asyncio.to_thread(refresh_tls)
    with database.read() as session:
        anchor = server_anchor(session, settings)
    watch, published = ChangeWatch(read_position), PublishedCertificates()

    def on_published(certificates: Sequence[int]) -> None:
        published.add(certificates)
        watch.check_now()

    signer = create_signer(settings)
    publisher = Publisher(database, settings, key, on_published, signer.process_updates if signer else None)
    writer = Writer(database)
    context = Context(
        settings=settings,
        database=database,
        writer=writer,
        store=store,
        enrollment=Enrollment(settings, store),
        registration=Registration(settings, anchor),
        publisher=publisher,
        watch=watch,
        body_seconds=settings.connections.body_seconds,
        published=published,
        signer=signer,
        server_anchor_pem=anchor,
        name_limit=FailureLimit(settings.enrollment.failures_per_minute),
        address_limit=FailureLimit(ADDRESS_FACTOR * settings.enrollment.failures_per_minute),
    )
    # For new domains and CAs, whichever process has made them.
    watch.on_served.append(lambda: asyncio.to_thread(refresh_tls))
    runner = web.AppRunner(application(context), access_log=None, shutdown_timeout=HANDLER_SHUTDOWN_SECONDS)
    await runner.setup()
    listener = listener_of(metrics.FACE, settings.connections, runner, lambda: tls.context)
    chores = [asyncio.create_task(_repeat(CHORE_SECONDS, function)) for function in (refresh_tls, retire_authorities)]
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, publisher.stop)
        stack.push_async_callback(asyncio.to_thread, writer.stop)
        stack.push_async_callback(runner.cleanup)
        await stack.enter_async_context(watch)
        stack.callback(context.stopping.set)
        stack.push_async_callback(listener.close)
        for chore in chores:
            stack.callback(chore.cancel)
        port = await listener.open(parse_endpoint(settings.registry.listen))
        publisher.start()
        yield context, port


async def _repeat(seconds: float, function: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(function)
        except Exception:
            log.exception("chore.failed", chore=function.__name__)


async def serve(settings: Settings, database: Database) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(settings, database) as (_context, port):
        log.info("registry.serving", listen=settings.registry.listen, port=port, url=settings.public_url)
        await stop.wait()
        log.info("registry.stopping")
