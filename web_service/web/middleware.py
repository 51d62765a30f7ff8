"""What happens around every handler: errors become problem bodies, and each request is measured."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from web_service.core import ConfigurationError, Reason, Refused
from web_service.https import ServiceFace

_BY_STATUS = {
    400: Reason.MALFORMED,
    404: Reason.NOT_FOUND,
    405: Reason.METHOD_NOT_ALLOWED,
    413: Reason.TOO_LARGE,
    415: Reason.BAD_MEDIA_TYPE,
}


def error_middleware(
    face: ServiceFace,
    endpoint_kind: Callable[[web.Request], str],
    challenge: Callable[[str], str],
    refuse: Callable[[web.Request, Refused], web.Response],
) -> Middleware:
    """The middleware that answers errors with `refuse`, logs refusals, and measures the time to answer.

    endpoint_kind, challenge: see `web_service.web.application.Gate`.
    """
    log = structlog.get_logger(face.logger)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
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
            refused = _refusal(face, log, error)
            _note(face, log, request, kind, refused)
            answer = refuse(request, refused)
            if refused.reason is Reason.UNAUTHENTICATED:
                answer.headers["WWW-Authenticate"] = challenge(kind)
            if isinstance(error, web.HTTPMethodNotAllowed):
                answer.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        if kind != "feed":
            face.metrics.request_seconds.labels(kind).observe(time.monotonic() - started)
        return answer

    return middleware


def _refusal(face: ServiceFace, log: structlog.typing.FilteringBoundLogger, error: Exception) -> Refused:
    """What an exception of a handler means to the client."""
    nothing_changed = f"nothing was changed: try again, and tell the operator of {face.noun} if it goes on"
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
        # An error of the commit itself leaves open whether it took place.
        detail = "the database does not answer: look whether the change was made, and try again if it was not"
        return Refused(Reason.UNAVAILABLE, detail, retry_after=5)
    if isinstance(error, ConfigurationError):
        log.error("configuration.failed", error=str(error))
        return Refused(
            Reason.UNAVAILABLE,
            f"the configuration of {face.noun} does not allow this: its operator finds why in the log",
        )
    log.exception("request.failed", exc_info=error)
    return Refused(Reason.INTERNAL, f"an internal error; {nothing_changed}")


def _note(
    face: ServiceFace,
    log: structlog.typing.FilteringBoundLogger,
    request: web.Request,
    kind: str,
    refused: Refused,
) -> None:
    face.metrics.refusals.labels(refused.reason).inc()
    log.info(
        "request.refused",
        method=request.method,
        endpoint=kind,
        peer=request.remote,
        status=refused.status,
        reason=refused.reason,
        field=refused.field,
    )
