"""What the handlers share, and how they read a request."""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session

from iot_registry.config import Settings
from iot_registry.errors import Reason, Refused
from iot_registry.names import MAX_NAME
from iot_registry.publication.publisher import Publisher
from iot_registry.service.access import Principal, authenticate
from iot_registry.service.authorities import KeyStore
from iot_registry.service.enrollment import Enrollment
from iot_registry.signer.base import DnsSigner
from iot_registry.store.database import Database
from iot_registry.store.writer import Writer
from iot_registry.web import handler, problem
from iot_registry.web.limits import FailureLimit
from iot_registry.web.watch import ChangeWatch, Settled

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)

# The largest honest body is a certificate request of a few hundred bytes.
MAX_BODY = 64 * 1024


@dataclass
class Context:
    """The running registry, as the handlers see it."""

    settings: Settings
    database: Database
    writer: Writer
    store: KeyStore
    enrollment: Enrollment
    publisher: Publisher
    watch: ChangeWatch
    settled: Settled
    signer: DnsSigner | None
    server_anchor_pem: str
    name_limit: FailureLimit
    address_limit: FailureLimit
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, function: Callable[[Session], T]) -> T:
        """Run `function` in a read transaction, off the event loop."""

        def run() -> T:
            with self.database.read() as session:
                return function(session)

        return await asyncio.to_thread(run)

    async def write(self, function: Callable[[Session], T], *, publishes: bool = True) -> T:
        """Run `function` in a write transaction, off the event loop, and return once it is committed.

        publishes: it may have left something in the outbox.
        """
        future = self.writer.submit(function)
        if publishes:
            future.add_done_callback(lambda _: self.publisher.wake())
        # A client that goes away does not undo what it has asked for.
        return await asyncio.shield(asyncio.wrap_future(future))


CONTEXT = web.AppKey("context", Context)


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


async def principal(request: web.Request) -> Principal:
    """Who sends this, by API key. Raises Refused.

    Not limited in rate: a key has 256 random bits, and a limit by address would let any neighbour behind the same
    address or proxy lock the administrator out.
    """
    key = api_key(request)
    return await request.app[CONTEXT].read(lambda session: authenticate(session, key, now()))


def api_key(request: web.Request) -> str:
    """What is presented as one. Raises Refused. For answers that take long: authenticate it again as they go on."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Refused(Reason.UNAUTHENTICATED, "no valid API key: send `Authorization: Bearer irk_...`")
    return key.strip()


async def raw_body(request: web.Request) -> bytes:
    """The body, if all of it comes in time: a client that trickles must not hold its connection. Raises Refused."""
    coding = request.headers.get("Content-Encoding", "identity")
    if coding.strip().lower() != "identity":
        raise Refused(
            Reason.BAD_MEDIA_TYPE,
            f"found content coding {coding[:40]!r}, expected a body as it is",
            field="Content-Encoding",
        )
    seconds = request.app[CONTEXT].settings.connections.body_seconds
    connection = handler.of(request)
    if connection:
        connection.reading(True)
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        raise Refused(Reason.TOO_SLOW, f"the body did not arrive within {seconds:g} s") from None
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise Refused(Reason.MALFORMED, f"the body is not what its head announces: {type(error).__name__}") from None
    finally:
        if connection:
            connection.reading(False)


async def body(request: web.Request, model: type[Model]) -> Model:
    """The JSON body as `model`. Raises Refused naming the field at fault."""
    if request.content_type != "application/json":
        raise Refused(Reason.BAD_MEDIA_TYPE, f"found {request.content_type}, expected application/json")
    raw = await raw_body(request)
    try:
        data = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(Reason.MALFORMED, f"the body is not JSON in UTF-8: {error}") from None
    return validate(model, data)


def validate(model: type[Model], data: object) -> Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise problem.from_validation(error) from None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def basic_credentials(request: web.Request) -> tuple[str, str]:
    """User and password of HTTP Basic (RFC 7617). Raises Refused."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, separator, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            separator = ""
        if separator:
            return user, password
    raise Refused(Reason.UNAUTHENTICATED, "send the device's name and its one-time token by HTTP Basic authentication")


def query(request: web.Request, allowed: set[str]) -> dict[str, str]:
    """The query's parameters, each at most once. Raises Refused for one that is not in `allowed`."""
    for key in request.query:
        if key not in allowed:
            raise Refused(Reason.UNKNOWN_FIELD, f"unknown query parameter {key[:40]!r}", field=key[:40])
        if len(request.query.getall(key)) > 1:
            raise Refused(Reason.INVALID_FIELD, f"query parameter {key} is given twice", field=key)
    return {key: _storable(key, value) for key, value in request.query.items()}


def _storable(key: str, value: str) -> str:
    if len(value) > MAX_NAME:
        raise Refused(Reason.INVALID_FIELD, f"query parameter {key} has more than {MAX_NAME} characters", field=key)
    # No text in the database can hold these; PostgreSQL refuses to compare with them.
    if "\0" in value or any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise Refused(Reason.INVALID_FIELD, f"query parameter {key} holds characters that are not text", field=key)
    return value


def integer(parameters: dict[str, str], key: str, default: int, low: int, high: int) -> int:
    """An integer query parameter within bounds. Raises Refused."""
    text = parameters.get(key)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18 or not low <= int(text) <= high:
        raise Refused(Reason.INVALID_FIELD, f"{key}: found {text[:40]!r}, expected {low} to {high}", field=key)
    return int(text)
