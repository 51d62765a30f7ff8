"""Reading requests: credentials, bodies and query parameters. Every function raises Refused."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import ssl
from collections.abc import Collection
from typing import TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel

from iot_registry.core.errors import Reason, Refused
from iot_registry.core.names import MAX_NAME
from iot_registry.https import http_connection
from iot_registry.service.api_keys import NO_VALID_KEY
from iot_registry.service.validation import validate
from iot_registry.web.context import CONTEXT

Model = TypeVar("Model", bound=BaseModel)

# The largest legitimate body is a certificate request of a few hundred octets.
MAX_BODY = 64 * 1024


def api_key(request: web.Request) -> str:
    """The API key that is presented, unchecked."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Refused(Reason.UNAUTHENTICATED, NO_VALID_KEY)
    return key.strip()


def basic_credentials(request: web.Request) -> tuple[str, str]:
    """User and password of HTTP Basic authentication (RFC 7617)."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, separator, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            separator = ""
        if separator:
            return user, password
    raise Refused(Reason.UNAUTHENTICATED, "send the device's name and its one-time token by HTTP Basic authentication")


def client_certificate(request: web.Request) -> bytes:
    """The client certificate of the TLS connection, in DER."""
    tls: ssl.SSLObject | None = request.transport.get_extra_info("ssl_object") if request.transport else None
    der = tls.getpeercert(binary_form=True) if tls else None
    if not der:
        raise Refused(
            Reason.UNAUTHENTICATED, "no TLS client certificate: re-enroll with the device's present certificate and key"
        )
    return der


async def raw_body(request: web.Request) -> bytes:
    """The body, if it arrives in time: a slow client must not occupy its connection for long."""
    coding = ", ".join(request.headers.getall("Content-Encoding", ["identity"]))
    if any(part.strip().lower() != "identity" for part in coding.split(",")):
        raise Refused(
            Reason.BAD_MEDIA_TYPE,
            f"found content coding {coding[:40]!r}, expected none: send the body as it is",
            field="Content-Encoding",
        )
    seconds = request.app[CONTEXT].settings.connections.body_seconds
    connection = http_connection.connection_of(request)
    if connection:
        connection.reading(True)
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        raise Refused(Reason.TOO_SLOW, f"the body did not arrive within {seconds:g} s: send it again") from None
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise Refused(
            Reason.MALFORMED, f"the body does not match the framing in its header section: {type(error).__name__}"
        ) from None
    finally:
        if connection:
            connection.reading(False)


async def json_body(request: web.Request, model: type[Model]) -> Model:
    """The JSON body as `model`. A refusal names the field at fault."""
    if request.content_type != "application/json":
        raise Refused(Reason.BAD_MEDIA_TYPE, f"found {request.content_type}, expected application/json")
    raw = await raw_body(request)
    try:
        data = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(Reason.MALFORMED, f"found a body that is not JSON in UTF-8: {error}") from None
    return validate(model, data)


def _refuse_constant(name: str) -> float:
    # NaN and infinities, which Python's parser accepts and RFC 8259 section 6 does not.
    raise ValueError(f"{name} is not JSON")


def query_parameters(request: web.Request, allowed: Collection[str]) -> dict[str, str]:
    """The query's parameters. Each must be in `allowed`, and may be given once."""
    for key in request.query:
        if key not in allowed:
            known = f", expected one of {', '.join(allowed)}" if allowed else ": this path has none"
            raise Refused(Reason.UNKNOWN_FIELD, f"unknown query parameter {key[:40]!r}{known}", field=key[:40])
        if len(request.query.getall(key)) > 1:
            raise Refused(Reason.INVALID_FIELD, f"query parameter {key} is given more than once", field=key)
    return {key: _storable(key, value) for key, value in request.query.items()}


def _storable(key: str, value: str) -> str:
    if len(value) > MAX_NAME:
        raise Refused(Reason.INVALID_FIELD, f"query parameter {key} has more than {MAX_NAME} characters", field=key)
    # The database cannot hold these, and PostgreSQL refuses to compare with them.
    if "\0" in value or any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise Refused(Reason.INVALID_FIELD, f"query parameter {key} holds NUL or a surrogate: remove it", field=key)
    return value


def bounded_integer(key: str, text: str | None, default: int, low: int, high: int) -> int:
    """An integer within bounds; `default` if there is none."""
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18 or not low <= int(text) <= high:
        raise Refused(Reason.INVALID_FIELD, f"{key}: found {text[:40]!r}, expected {low} to {high}", field=key)
    return int(text)
