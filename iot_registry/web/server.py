"""Putting the registry together and running it until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import structlog
from aiohttp import web

from iot_registry import feed
from iot_registry.config import ConnectionsSection, Settings, parse_endpoint
from iot_registry.publication import tsig
from iot_registry.publication.publisher import Publisher
from iot_registry.service import provision, succession
from iot_registry.service.authorities import KeyStore, server_anchor
from iot_registry.service.enrollment import Enrollment
from iot_registry.signer import create_signer
from iot_registry.store.database import Database
from iot_registry.store.writer import Writer
from iot_registry.web import api, est, handler, openapi, problem, public
from iot_registry.web import feed as feed_routes
from iot_registry.web.connections import Connection, Table
from iot_registry.web.context import CONTEXT, MAX_BODY, Context
from iot_registry.web.limits import FailureLimit
from iot_registry.web.listener import Listener, require_files
from iot_registry.web.reports import Reports
from iot_registry.web.tls import ServerTls
from iot_registry.web.watch import ChangeWatch, Settled

log = structlog.get_logger("iot_registry")

CHORE_SECONDS = 3600
SHUTDOWN_SECONDS = 3
# Many devices may share one address (NAT): it may fail this many times as often as one name.
ADDRESS_FACTOR = 10


def application(context: Context) -> web.Application:
    """The routes over a context."""
    app = web.Application(middlewares=[handler.serving, problem.middleware], client_max_size=MAX_BODY)
    app[CONTEXT] = context
    app.on_response_prepare.append(_plain_server_header)
    est.add_routes(app)
    public.add_routes(app)
    feed_routes.add_routes(app)
    api.add_routes(app, openapi.document())
    return app


async def _plain_server_header(_request: web.Request, response: web.StreamResponse) -> None:
    # Which libraries this is made with is nobody's business.
    response.headers.popall("Server", None)


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@contextlib.asynccontextmanager
async def running(settings: Settings, database: Database) -> AsyncIterator[tuple[Context, int]]:
    """The registry, serving; yields its context and the port it listens on."""
    store = KeyStore(settings)
    if await asyncio.to_thread(provision.initialize, database, store, settings, now()):
        log.info("registry.initialized", state_dir=str(settings.state_dir), domain=settings.default_domain)
    settings = await asyncio.to_thread(partial(provision.with_default_domain, database, settings, strict=True))
    key = tsig.load_or_create(settings.tsig_key_file)
    tls = ServerTls(settings, store)

    def read_position() -> feed.Position:
        with database.read() as session:
            return feed.position(session)

    def refresh_tls() -> None:
        with database.read() as session:
            tls.refresh(session, now())

    def retire_authorities() -> None:
        with database.write() as session:
            succession.retire(session, now())
        with database.read() as session:
            for aki in succession.retired_keys(session):
                store.destroy(aki)

    await asyncio.to_thread(retire_authorities)
    await asyncio.to_thread(refresh_tls)
    with database.read() as session:
        anchor = server_anchor(session, settings)
    watch, settled = ChangeWatch(read_position), Settled()

    def on_settled(certificates: Sequence[int]) -> None:
        settled.tell(certificates)
        watch.poke()

    signer = create_signer(settings)
    publisher = Publisher(database, settings, key, on_settled, signer.nudge if signer else None)
    writer = Writer(database)
    context = Context(
        settings=settings,
        database=database,
        writer=writer,
        store=store,
        enrollment=Enrollment(settings, store),
        publisher=publisher,
        watch=watch,
        settled=settled,
        signer=signer,
        server_anchor_pem=anchor,
        name_limit=FailureLimit(settings.enrollment.failures_per_minute),
        address_limit=FailureLimit(ADDRESS_FACTOR * settings.enrollment.failures_per_minute),
    )
    # New domains and CAs, whichever process made them.
    watch.on_served.append(lambda: asyncio.to_thread(refresh_tls))
    runner = web.AppRunner(application(context), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    listener = _listener(settings.connections, runner, tls)
    chores = [asyncio.create_task(_every(CHORE_SECONDS, function)) for function in (refresh_tls, retire_authorities)]
    try:
        await watch.start()
        port = await listener.open(parse_endpoint(settings.registry.listen))
        publisher.start()
        yield context, port
    finally:
        for chore in chores:
            chore.cancel()
        await listener.close()
        context.stopping.set()
        await watch.stop()
        await runner.cleanup()
        await asyncio.to_thread(writer.stop)
        await asyncio.to_thread(publisher.stop)


def _listener(limits: ConnectionsSection, runner: web.AppRunner, tls: ServerTls) -> Listener:
    """Who accepts connections for the application. Raises ConfigurationError."""
    require_files(limits.total)
    loop, server = asyncio.get_running_loop(), runner.server
    assert server is not None
    shared = [ipaddress.ip_network(text) for text in limits.shared_addresses]
    table, reports = Table(limits.total, limits.per_address, shared), Reports()
    loop.set_exception_handler(reports.unexpected)

    def connected(connection: Connection) -> asyncio.Protocol:
        return handler.Handler(server, connection, table, limits, reports, loop=loop, access_log=None)

    return Listener(table, connected, tls.context, limits.handshake_seconds, reports)


async def _every(seconds: float, function: Callable[[], None]) -> None:
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
