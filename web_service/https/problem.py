"""Refusals as RFC 7807 bodies (`application/problem+json`)."""

from __future__ import annotations

import json
from http import HTTPStatus

from aiohttp import web

from web_service.core.refusals import Refused

MEDIA_TYPE = "application/problem+json"


class ProblemResponse(web.Response):
    """A response without a `Server` field, which would tell the libraries in use.

    aiohttp adds the field after every hook of an application when it answers what is not a request.
    """

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)


def problem_response(service: str, refused: Refused) -> web.Response:
    """The response that tells a client of a refusal. service: its name, such as iot-registry."""
    body = {
        "type": f"urn:{service}:problem:{refused.reason}",
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
    return ProblemResponse(text=json.dumps(body), status=refused.status, content_type=MEDIA_TYPE, headers=headers)
