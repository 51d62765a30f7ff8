"""What the handlers of the running registry share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy.orm import Session

from iot_registry.local.config import Settings
from iot_registry.publication.published_certificates import PublishedCertificates
from iot_registry.publication.publisher import Publisher
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.service.enrollment import Enrollment
from iot_registry.service.registration import Registration
from iot_registry.signer.base import DnsSigner
from iot_registry.web.failure_limit import FailureLimit
from web_service.web import WebContext

T = TypeVar("T")


@dataclass(kw_only=True)
class Context(WebContext):
    """The running registry."""

    settings: Settings
    store: CaKeyStore
    enrollment: Enrollment
    registration: Registration
    publisher: Publisher
    published: PublishedCertificates
    signer: DnsSigner | None
    server_anchor_pem: str
    name_limit: FailureLimit
    address_limit: FailureLimit

    async def write(self, function: Callable[[Session], T], *, publishes: bool = True) -> T:
        """The result of `function` in a write transaction, in a thread, once it is committed.

        publishes: `function` may add to the outbox.
        """
        future = self.writer.submit(function)
        if publishes:
            future.add_done_callback(lambda _: self.publisher.wake())
        # The transaction goes on if the client disconnects.
        return await asyncio.shield(asyncio.wrap_future(future))
