"""What happens around every handler: errors become problem bodies, and each request is measured."""

from __future__ import annotations

import time

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from iot_registry.core.errors import ConfigurationError, Reason, Refused
from iot_registry.https import problem
from iot_registry.local import metrics

log = structlog.get_logger("iot_registry.web")

_BY_STATUS = {
    400: Reason.MALFORMED,
    404: Reason.NOT_FOUND,
    405: Reason.METHOD_NOT_ALLOWED,
    413: Reason.TOO_LARGE,
    415: Reason.BAD_MEDIA_TYPE,
}
_NOTHING_CHANGED = "nothing was changed: try again, and tell the registry's operator if it goes on"


def _refusal(error: Exception) -> Refused:
    """What an exception of a handler means to the client."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, web.HTTPException):
        reason = _BY_STATUS.get(error.status, Reason.MALFORMED)
        return Refused(reason, error.reason or error.text or "refused")
    if isinstance(error, IntegrityError):
        # Two requests created the same thing at the same time, and the database accepted one of them.
        return Refused(Reason.CONFLICT, "another request created the same thing at the same time: look at it first")
    if isinstance(error, OperationalError | DBAPIError):
        log.error("database.failed", error=str(error.orig))
        return Refused(Reason.UNAVAILABLE, f"the database does not answer; {_NOTHING_CHANGED}", retry_after=5)
    if isinstance(error, ConfigurationError):
        log.error("configuration.failed", error=str(error))
        return Refused(
            Reason.UNAVAILABLE, "the registry's configuration does not allow this: its operator finds why in the log"
        )
    log.exception("request.failed", exc_info=error)
    return Refused(Reason.INTERNAL, f"an internal error; {_NOTHING_CHANGED}")


def endpoint_kind(request: web.Request) -> str:
    """The kind of endpoint, from a closed set; a label of metrics."""
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
    """Answer errors with problem bodies, log refusals, and measure the time to answer."""
    started = time.monotonic()
    kind = endpoint_kind(request)
    try:
        answer = await handler(request)
    except ConnectionError:
        # The client is gone: nobody is left to read an answer.
        raise
    except Exception as error:
        if isinstance(error, web.HTTPException) and error.status < 400:
            raise
        answer = _refuse(request, kind, error)
    if kind != "feed":
        metrics.REQUEST_SECONDS.labels(kind).observe(time.monotonic() - started)
    return answer


def _refuse(request: web.Request, kind: str, error: Exception) -> web.Response:
    refused = _refusal(error)
    metrics.REFUSALS.labels(refused.reason).inc()
    log.info(
        "request.refused",
        method=request.method,
        endpoint=kind,
        peer=request.remote,
        status=refused.status,
        reason=refused.reason,
        field=refused.field,
    )
    answer = problem.response(refused)
    if refused.reason is Reason.UNAUTHENTICATED:
        answer.headers["WWW-Authenticate"] = 'Basic realm="enrollment"' if kind == "est" else "Bearer"
    if isinstance(error, web.HTTPMethodNotAllowed):
        answer.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
    return answer
