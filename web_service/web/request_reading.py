"""Reading requests: credentials, bodies and query parameters. Every function raises Refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from web_service.core import Reason, Refused
from web_service.https import connection_of
from web_service.local import KeyFormat
from web_service.web.route import MAX_BODY

# Octets of a query parameter. Most are DNS names (RFC 1035 section 3.1).
MAX_PARAMETER = 253
JSON_MEDIA_TYPES = ("application/json",)


def api_key(request: web.Request, keys: KeyFormat) -> str:
    """The API key that is presented, unchecked."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Refused(Reason.UNAUTHENTICATED, keys.no_valid_key)
    return key.strip()


async def raw_body(request: web.Request, seconds: float, max_body: int = MAX_BODY) -> bytes:
    """The body, if it arrives within `seconds`: a slow client must not occupy its connection for long."""
    coding = ", ".join(request.headers.getall("Content-Encoding", ["identity"]))
    if any(part.strip().lower() != "identity" for part in coding.split(",")):
        raise Refused(
            Reason.BAD_MEDIA_TYPE,
            f"found content coding {coding[:40]!r}, expected none: send the body as it is",
            field="Content-Encoding",
        )
    connection = connection_of(request)
    if connection:
        connection.reading(True)
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, max_body)
    except TimeoutError:
        raise Refused(Reason.TOO_SLOW, f"the body did not arrive within {seconds:g} s: send it again") from None
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise Refused(
            Reason.MALFORMED, f"the body does not match the framing in its header section: {type(error).__name__}"
        ) from None
    finally:
        if connection:
            connection.reading(False)


async def _read(request: web.Request, max_body: int) -> bytes:
    body = bytearray()
    # Not request.read(), which has one limit for all paths.
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > max_body:
            raise Refused(Reason.TOO_LARGE, f"found a body of more than {max_body} octets, expected at most as many")
    return bytes(body)


async def json_data(
    request: web.Request, seconds: float, max_body: int = MAX_BODY, media_types: Collection[str] = JSON_MEDIA_TYPES
) -> Any:
    """The JSON body."""
    if request.content_type not in media_types:
        expected = " or ".join(media_types)
        raise Refused(Reason.BAD_MEDIA_TYPE, f"found {request.content_type[:80]}, expected {expected}")
    raw = await raw_body(request, seconds, max_body)
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(Reason.MALFORMED, f"found a body that is not JSON in UTF-8: {error}") from None


def _refuse_constant(name: str) -> float:
    # NaN and infinities, which Python's parser accepts and RFC 8259 section 6 does not.
    raise ValueError(f"{name} is not JSON")


def query_parameters(request: web.Request, allowed: Mapping[str, int]) -> dict[str, str]:
    """The query's parameters. Each must be in `allowed`, with its length, and may be given once."""
    for key in request.query:
        if key not in allowed:
            known = f", expected one of {', '.join(allowed)}" if allowed else ": this path has none"
            raise Refused(Reason.UNKNOWN_FIELD, f"unknown query parameter {key[:40]!r}{known}", field=key[:40])
        if len(request.query.getall(key)) > 1:
            raise Refused(Reason.INVALID_FIELD, f"query parameter {key} is given more than once", field=key)
    return {key: _storable(key, value, allowed[key]) for key, value in request.query.items()}


def _storable(key: str, value: str, length: int) -> str:
    if len(value) > length:
        raise Refused(Reason.INVALID_FIELD, f"query parameter {key} has more than {length} characters", field=key)
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
