"""The OpenAPI 3.1 document, made from the routes and from the models that check requests."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from iot_registry import __version__
from iot_registry.core.names import MAX_NAME
from iot_registry.https import problem
from iot_registry.service import schemas
from iot_registry.service.access import Scope
from iot_registry.web.route import Content, Credential, Json, Route

DOCUMENT: web.AppKey[Json] = web.AppKey("openapi", dict)

_JSON = "application/json"
_PATH_PARAMETER = re.compile(r"{(\w+)}")
# Characters of a path parameter, where it is not a name.
_MAX_LENGTH = {"id": 16, "aki": 128}
_SECURITY_SCHEMES: dict[str, Json] = {
    "key": {"type": "http", "scheme": "bearer"},
    "token": {"type": "http", "scheme": "basic"},
    "certificate": {"type": "mutualTLS"},
}


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _content(body: type[BaseModel] | Content) -> Json:
    if isinstance(body, type):
        return {_JSON: {"schema": _reference(body)}}
    schema = body.schema if isinstance(body.schema, dict) else _reference(body.schema)
    return {body.media_type: {"schema": schema}}


def _parameters(route: Route) -> list[Json]:
    path = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": _MAX_LENGTH.get(name, MAX_NAME)},
        }
        for name in _PATH_PARAMETER.findall(route.path)
    ]
    query = [
        {"name": parameter.name, "in": "query", "required": False, "schema": parameter.schema}
        for parameter in route.query
    ]
    return path + query


def _responses(route: Route) -> Json:
    refusals = {*route.errors, 400, 503}
    if route.credential is not Credential.NONE:
        refusals.add(401)
    if isinstance(route.credential, Scope):
        refusals.add(403)
    if route.request:
        refusals |= {408, 413, 415}
    content = _content(route.answer)
    if route.stream:
        content[route.stream] = {"schema": {"type": "string"}}
    responses: Json = {str(route.status): {"description": "Done.", "content": content}}
    for status, other in route.others.items():
        responses[str(status)] = {"description": other.description, "content": _content(other.content)}
    for status in sorted(refusals - route.others.keys()):
        responses[str(status)] = {
            "description": "Refused.",
            "content": {problem.MEDIA_TYPE: {"schema": _reference(schemas.Problem)}},
        }
    return responses


def _operation(route: Route) -> Json:
    operation: Json = {
        "summary": route.summary,
        "responses": _responses(route),
        "parameters": _parameters(route),
    }
    if isinstance(route.credential, Scope):
        operation["description"] = f"Scope: `{route.credential}`."
        operation["security"] = [{"key": []}]
    elif route.credential is not Credential.NONE:
        operation["security"] = [{str(route.credential): []}]
    if route.request:
        operation["requestBody"] = {"required": True, "content": _content(route.request)}
    return operation


def _models(routes: Iterable[Route]) -> list[type[BaseModel]]:
    """Every model that the operations refer to."""
    found: dict[type[BaseModel], None] = {schemas.Problem: None}
    for route in routes:
        bodies: list[Any] = [route.request, route.answer, *(other.content for other in route.others.values())]
        bodies += [body.schema for body in bodies if isinstance(body, Content)]
        found |= {body: None for body in bodies if isinstance(body, type)}
    return list(found)


def document(routes: Iterable[Route]) -> Json:
    """The document of these routes."""
    routes = tuple(routes)
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    _, definitions = models_json_schema(
        [(model, "validation") for model in _models(routes)], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "IoT registry", "version": __version__},
        "paths": paths,
        "components": {"schemas": definitions["$defs"], "securitySchemes": _SECURITY_SCHEMES},
    }
