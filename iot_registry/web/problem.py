"""Every error as RFC 7807 `application/problem+json`, and the metrics and log line of each request."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import structlog
from aiohttp import web
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from iot_registry import metrics
from iot_registry.errors import ConfigurationError, Reason, Refused

log = structlog.get_logger("iot_registry.web")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_BY_STATUS = {
    400: Reason.MALFORMED,
    404: Reason.NOT_FOUND,
    405: Reason.METHOD_NOT_ALLOWED,
    413: Reason.TOO_LARGE,
    415: Reason.BAD_MEDIA_TYPE,
}


class Answer(web.Response):
    """Without `Server`: which libraries this is made with is nobody's business.

    aiohttp sets that header after everything that it lets an application say about answers outside of it.
    """

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)


def response(refused: Refused) -> web.Response:
    """The problem body of a refusal."""
    body = {
        "type": f"urn:iot-registry:problem:{refused.reason}",
        "title": HTTPStatus(refused.status).phrase,
        "status": refused.status,
        "detail": refused.detail,
        "reason": refused.reason,
    }
    if refused.field:
        body["field"] = refused.field
    headers = {"Cache-Control": "no-store"}
    if refused.retry_after is not None:
        headers["Retry-After"] = str(refused.retry_after)
    return Answer(
        text=json.dumps(body), status=refused.status, content_type="application/problem+json", headers=headers
    )


def from_validation(error: ValidationError, prefix: str = "") -> Refused:
    """The first fault that pydantic found, as a refusal that names the field."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in (*([prefix] if prefix else []), *first["loc"])) or None
    unknown = first["type"] == "extra_forbidden"
    found = "" if unknown or first["type"] == "missing" else f", found {str(first['input'])[:80]!r}"
    return Refused(
        Reason.UNKNOWN_FIELD if unknown else Reason.INVALID_FIELD,
        f"{field}: {first['msg']}{found}",
        field=field,
    )


def _translate(error: Exception) -> Refused:
    """What a failure inside a handler means to the client."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, web.HTTPException):
        reason = _BY_STATUS.get(error.status, Reason.MALFORMED)
        return Refused(reason, error.reason or error.text or "refused")
    if isinstance(error, IntegrityError):
        # Two requests for the same new thing at once: the database let one of them win.
        return Refused(Reason.CONFLICT, "another request made the same thing at the same time")
    if isinstance(error, OperationalError | DBAPIError):
        log.error("database.failed", error=str(error.orig))
        return Refused(Reason.UNAVAILABLE, "the database does not answer; nothing was changed", retry_after=5)
    if isinstance(error, ConfigurationError):
        log.error("configuration.failed", error=str(error))
        return Refused(Reason.UNAVAILABLE, "the registry cannot do this with its present configuration")
    log.exception("request.failed", exc_info=error)
    return Refused(Reason.INTERNAL, "an internal error; nothing was changed")


def endpoint(request: web.Request) -> str:
    """The kind of endpoint, for metrics: a closed set."""
    path = request.path
    if path.startswith("/.well-known/est"):
        return "est"
    if path.startswith("/.well-known/ca"):
        return "pkix-cd"
    if path in ("/v1/changes", "/v1/snapshot"):
        return "feed"
    return "api" if path.startswith("/v1/") else "other"


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    started = time.monotonic()
    try:
        answer = await handler(request)
    except ConnectionError:
        # The client has gone, before its request was whole or while it was being answered: nobody is left to be told.
        raise
    except Exception as error:
        if isinstance(error, web.HTTPException) and error.status < 400:
            raise
        refused = _translate(error)
        metrics.REFUSALS.labels(refused.reason).inc()
        log.info(
            "request.refused",
            method=request.method,
            endpoint=endpoint(request),
            peer=request.remote,
            status=refused.status,
            reason=refused.reason,
            field=refused.field,
        )
        answer = response(refused)
        if refused.reason is Reason.UNAUTHENTICATED:
            challenge = 'Basic realm="enrollment"' if endpoint(request) == "est" else "Bearer"
            answer.headers["WWW-Authenticate"] = challenge
        if isinstance(error, web.HTTPMethodNotAllowed):
            answer.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
    kind = endpoint(request)
    if kind != "feed":
        metrics.REQUEST_SECONDS.labels(kind).observe(time.monotonic() - started)
    return answer
