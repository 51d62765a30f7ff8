"""The OpenAPI 3.1 document of the JSON API, made from the same models that check requests."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from iot_registry import __version__
from iot_registry.service import devices, schemas
from iot_registry.store.models import DeviceStatus

_Json = dict[str, Any]


def _ref(model: type[BaseModel]) -> _Json:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _content(schema: _Json, media: str = "application/json") -> _Json:
    return {media: {"schema": schema}}


def _parameter(name: str, where: str, schema: _Json, *, required: bool = False) -> _Json:
    return {"name": name, "in": where, "required": required or where == "path", "schema": schema}


def _integer(low: int, high: int) -> _Json:
    return {"type": "integer", "minimum": low, "maximum": high}


_TEXT: _Json = {"type": "string", "maxLength": 253}
_DEVICE = _parameter("name", "path", {"type": "string", "minLength": 1, "maxLength": 253})
_DOMAIN = _parameter("domain", "path", {"type": "string", "minLength": 1, "maxLength": 253})
_WAIT = _parameter("wait", "query", _integer(0, 30))
_SEQ = _integer(0, 2**53 - 1)


def _operation(
    summary: str,
    answer: _Json,
    *,
    scope: str | None,
    status: int = 200,
    request: type[BaseModel] | None = None,
    parameters: list[_Json] | None = None,
    errors: tuple[int, ...] = (),
) -> _Json:
    codes = {*errors, 400, 503}
    if scope:
        codes |= {401, 403}
    if request:
        codes |= {413, 415}
    responses: _Json = {str(status): {"description": "Done.", "content": answer}}
    for code in sorted(codes):
        responses[str(code)] = {
            "description": "Refused.",
            "content": _content(_ref(schemas.Problem), "application/problem+json"),
        }
    operation: _Json = {"summary": summary, "responses": responses, "parameters": parameters or []}
    if scope:
        operation["description"] = f"Scope: `{scope}`."
        operation["security"] = [{"key": []}]
    if request:
        operation["requestBody"] = {"required": True, "content": _content(_ref(request))}
    return operation


def _paths() -> _Json:
    device, created = _content(_ref(schemas.DeviceView)), _content(_ref(schemas.DeviceCreated))
    return {
        "/v1/devices": {
            "post": _operation(
                "Register a device",
                created,
                scope="device:write",
                status=201,
                request=schemas.DeviceCreate,
                errors=(404, 409),
            ),
            "get": _operation(
                "Devices by name, a page at a time",
                _content(_ref(schemas.DeviceList)),
                scope="device:read",
                errors=(404,),
                parameters=[
                    _parameter("domain", "query", _TEXT),
                    _parameter("status", "query", {"enum": list(DeviceStatus)}),
                    _parameter("type", "query", _TEXT),
                    _parameter("search", "query", _TEXT),
                    _parameter("after", "query", _TEXT),
                    _parameter("limit", "query", _integer(1, devices.MAX_PAGE)),
                ],
            ),
        },
        "/v1/devices/{name}": {
            "get": _operation(
                "One device and its certificates",
                _content(_ref(schemas.DeviceDetail)),
                scope="device:read",
                parameters=[_DEVICE],
                errors=(404,),
            )
        },
        "/v1/devices/{name}/revoke": {
            "post": _operation(
                "Revoke: its records leave the DNS",
                device,
                scope="device:write",
                request=schemas.Revoke,
                parameters=[_DEVICE, _WAIT],
                errors=(404, 409),
            )
        },
        "/v1/devices/{name}/restore": {
            "post": _operation(
                "Undo a revocation",
                device,
                scope="device:write",
                request=schemas.Empty,
                parameters=[_DEVICE, _WAIT],
                errors=(404, 409),
            )
        },
        "/v1/devices/{name}/rehome": {
            "post": _operation(
                "Move to another domain, under a new name",
                created,
                scope="device:write",
                status=201,
                request=schemas.Rehome,
                parameters=[_DEVICE],
                errors=(404, 409),
            )
        },
        "/v1/devices/{name}/token": {
            "post": _operation(
                "A new one-time enrollment token",
                created,
                scope="device:write",
                status=201,
                request=schemas.Empty,
                parameters=[_DEVICE],
                errors=(404, 409),
            )
        },
        "/v1/export": {
            "get": _operation(
                "All devices, one JSON object a line",
                _content({"type": "string"}, "application/x-ndjson"),
                scope="device:read",
                parameters=[_parameter("domain", "query", _TEXT)],
                errors=(404,),
            )
        },
        "/v1/domains": {
            "post": _operation(
                "Add a domain with its CA, zone and administrator's key",
                _content(_ref(schemas.DomainCreated)),
                scope="domain:write",
                status=201,
                request=schemas.DomainCreate,
                errors=(409,),
            ),
            "get": _operation("Domains", _content(_ref(schemas.DomainList)), scope="domain:read"),
        },
        "/v1/domains/{domain}": {
            "get": _operation(
                "One domain",
                _content(_ref(schemas.DomainView)),
                scope="domain:read",
                parameters=[_DOMAIN],
                errors=(404,),
            )
        },
        "/v1/domains/{domain}/provisioning": {
            "get": _operation(
                "What a device stores beside its certificate",
                _content(_ref(schemas.Provisioning)),
                scope=None,
                parameters=[_DOMAIN],
                errors=(404,),
            )
        },
        "/v1/keys": {
            "post": _operation(
                "Make an API key",
                _content(_ref(schemas.KeyCreated)),
                scope="key:write",
                status=201,
                request=schemas.KeyCreate,
                errors=(404,),
            ),
            "get": _operation("API keys", _content(_ref(schemas.KeyList)), scope="key:write"),
        },
        "/v1/keys/{id}": {
            "delete": _operation(
                "Revoke an API key",
                _content(_ref(schemas.KeyView)),
                scope="key:write",
                parameters=[_parameter("id", "path", {"type": "string", "minLength": 1, "maxLength": 16})],
                errors=(404,),
            )
        },
        "/v1/changes": {
            "get": _operation(
                "The change feed: long poll, or server-sent events with Accept: text/event-stream",
                _content(_ref(schemas.ChangeList)),
                scope="feed:read",
                parameters=[_parameter("since", "query", _SEQ), _parameter("wait", "query", _integer(0, 60))],
                errors=(410,),
            )
        },
        "/v1/snapshot": {
            "get": _operation("Where to start following the feed", _content(_ref(schemas.Snapshot)), scope="feed:read")
        },
        "/v1/audit": {
            "get": _operation(
                "Who changed what, when",
                _content(_ref(schemas.AuditList)),
                scope="audit:read",
                parameters=[
                    _parameter("after", "query", _SEQ),
                    _parameter("limit", "query", _integer(1, 1000)),
                ],
            )
        },
        "/v1/status": {"get": _operation("Counts and lag", _content(_ref(schemas.StatusView)), scope="device:read")},
    }


def _models() -> list[type[BaseModel]]:
    found: list[type[BaseModel]] = [schemas.Problem]
    for value in vars(schemas).values():
        if isinstance(value, type) and issubclass(value, schemas.Request | schemas.Answer):
            found.append(value)
    return found


def document() -> _Json:
    """The whole document."""
    _, definitions = models_json_schema(
        [(model, "validation") for model in _models()], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "IoT registry", "version": __version__},
        "paths": _paths(),
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }
