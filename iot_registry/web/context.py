"""What the handlers of the running registry share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from aiohttp import web
from sqlalchemy.orm import Session

from iot_registry.local.config import Settings
from iot_registry.publication.change_watch import ChangeWatch
from iot_registry.publication.published_certificates import PublishedCertificates
from iot_registry.publication.publisher import Publisher
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.service.enrollment import Enrollment
from iot_registry.service.registration import Registration
from iot_registry.signer.base import DnsSigner
from iot_registry.store.database import Database
from iot_registry.store.writer import Writer
from iot_registry.web.failure_limit import FailureLimit

T = TypeVar("T")


@dataclass
class Context:
    """The running registry. stopping: set when open streams must end."""

    settings: Settings
    database: Database
    writer: Writer
    store: CaKeyStore
    enrollment: Enrollment
    registration: Registration
    publisher: Publisher
    watch: ChangeWatch
    published: PublishedCertificates
    signer: DnsSigner | None
    server_anchor_pem: str
    name_limit: FailureLimit
    address_limit: FailureLimit
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, function: Callable[[Session], T]) -> T:
        """The result of `function` in a read transaction, in a thread."""
        return await asyncio.to_thread(self.read_blocking, function)

    def read_blocking(self, function: Callable[[Session], T]) -> T:
        """The result of `function` in a read transaction, in this thread."""
        with self.database.read() as session:
            return function(session)

    async def write(self, function: Callable[[Session], T], *, publishes: bool = True) -> T:
        """The result of `function` in a write transaction, in a thread, once it is committed.

        publishes: `function` may add to the outbox.
        """
        future = self.writer.submit(function)
        if publishes:
            future.add_done_callback(lambda _: self.publisher.wake())
        # The transaction goes on if the client disconnects.
        return await asyncio.shield(asyncio.wrap_future(future))


CONTEXT = web.AppKey("context", Context)
