"""SCIM (RFC 7644) over the inventory, with the device schema of RFC 9944. All handlers raise Refused.

Refusals are answered in the form of RFC 7644 section 3.12, see `error`.
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from operations.core import scim_documents as documents
from operations.core.reasons import ScimReason
from operations.core.scim_device import from_patch, from_resource
from operations.service import scim
from operations.web.call import Call
from web_service.core import Reason, Refused
from web_service.https import ProblemResponse
from web_service.local import utc_now

MEDIA_TYPE = "application/scim+json"
_ACCEPTED = (MEDIA_TYPE, "application/json")
_LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
_TYPES = {
    ScimReason.INVALID_FILTER: "invalidFilter",
    ScimReason.INVALID_PATH: "invalidPath",
    ScimReason.MUTABILITY: "mutability",
    ScimReason.NO_TARGET: "noTarget",
    Reason.MALFORMED: "invalidSyntax",
    Reason.INVALID_FIELD: "invalidValue",
    Reason.INVALID_NAME: "invalidValue",
    Reason.UNKNOWN_FIELD: "invalidValue",
    Reason.CONFLICT: "uniqueness",
}


def error(refused: Refused) -> web.Response:
    """The answer that tells a SCIM client of a refusal."""
    body = {"schemas": [_ERROR], "status": str(refused.status), "detail": refused.detail}
    kind = _TYPES.get(refused.reason)
    if kind:
        body["scimType"] = kind
    headers = {"Cache-Control": "no-store"}
    if refused.retry_after is not None:
        headers["Retry-After"] = str(refused.retry_after)
    return ProblemResponse(text=json.dumps(body), status=refused.status, content_type=MEDIA_TYPE, headers=headers)


def _answer(data: Any, status: int = 200, location: str | None = None) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    if location is not None:
        headers["Location"] = location
    return web.Response(text=json.dumps(data), status=status, content_type=MEDIA_TYPE, headers=headers)


def _located(call: Call, resource: dict[str, Any]) -> dict[str, Any]:
    """The resource with its URL."""
    resource["meta"]["location"] = str(call.request.url.origin().with_path(f"/scim/v2/Devices/{resource['id']}"))
    return resource


async def list_devices(call: Call) -> web.Response:
    query = call.query()
    start, count = call.integer("startIndex"), call.integer("count")
    page = await call.context.read(lambda s: scim.find(s, call.who, query.get("filter"), start, count, utc_now()))
    return _answer(
        {
            "schemas": [_LIST],
            "totalResults": page.total,
            "startIndex": start,
            "itemsPerPage": len(page.resources),
            "Resources": [_located(call, resource) for resource in page.resources],
        }
    )


async def show_device(call: Call) -> web.Response:
    call.query()
    resource = await call.context.read(lambda s: scim.show(s, call.who, call.path("id"), utc_now()))
    return _answer(_located(call, resource))


async def create_device(call: Call) -> web.Response:
    wanted = from_resource(await call.json_data(*_ACCEPTED))
    resource = await call.context.write(lambda s: scim.create(s, call.who, wanted, utc_now()))
    call.context.watch.check_now()
    located = _located(call, resource)
    return _answer(located, 201, located["meta"]["location"])


async def replace_device(call: Call) -> web.Response:
    wanted, uid = from_resource(await call.json_data(*_ACCEPTED)), call.path("id")
    resource = await call.context.write(lambda s: scim.replace(s, call.who, uid, wanted, utc_now()))
    call.context.watch.check_now()
    return _answer(_located(call, resource))


async def patch_device(call: Call) -> web.Response:
    wanted, uid = from_patch(await call.json_data(*_ACCEPTED)), call.path("id")
    resource = await call.context.write(lambda s: scim.patch(s, call.who, uid, wanted, utc_now()))
    call.context.watch.check_now()
    return _answer(_located(call, resource))


async def delete_device(call: Call) -> web.Response:
    uid = call.path("id")
    await call.context.write(lambda s: scim.remove(s, call.who, uid, utc_now()))
    call.context.watch.check_now()
    return web.Response(status=204, headers={"Cache-Control": "no-store"})


async def service_provider_config(call: Call) -> web.Response:
    call.query()
    return _answer(documents.service_provider_config())


async def resource_types(call: Call) -> web.Response:
    return _list_of(call, documents.resource_types())


async def schemas(call: Call) -> web.Response:
    return _list_of(call, documents.schemas())


async def show_schema(call: Call) -> web.Response:
    return _one_of(call.path("schema"), documents.schemas())


async def show_resource_type(call: Call) -> web.Response:
    return _one_of(call.path("schema"), documents.resource_types())


def _one_of(identifier: str, found: list[dict[str, Any]]) -> web.Response:
    for document in found:
        if document["id"] == identifier:
            return _answer(document)
    raise Refused(Reason.NOT_FOUND, f"there is no {identifier[:80]!r} here")


def _list_of(call: Call, found: list[dict[str, Any]]) -> web.Response:
    call.query()
    return _answer(
        {
            "schemas": [_LIST],
            "totalResults": len(found),
            "startIndex": 1,
            "itemsPerPage": len(found),
            "Resources": found,
        }
    )
