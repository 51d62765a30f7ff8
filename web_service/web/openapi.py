"""The OpenAPI 3.1 document, made from the routes and from the models that check requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from web_service.core import Problem, ScopeName
from web_service.https import MEDIA_TYPE
from web_service.web.request_reading import MAX_PARAMETER
from web_service.web.route import Content, Credential, Json, Route

DOCUMENT: web.AppKey[Json] = web.AppKey("openapi", dict)

_JSON = "application/json"
_PATH_PARAMETER = re.compile(r"{(\w+)}")
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


def _parameters(route: Route, lengths: Mapping[str, int]) -> list[Json]:
    path = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": lengths.get(name, MAX_PARAMETER)},
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
    if isinstance(route.credential, ScopeName):
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
            "content": _content(route.refusal) if route.refusal else {MEDIA_TYPE: {"schema": _reference(Problem)}},
        }
    return responses


def _operation(route: Route, lengths: Mapping[str, int]) -> Json:
    operation: Json = {
        "summary": route.summary,
        "responses": _responses(route),
        "parameters": _parameters(route, lengths),
    }
    if isinstance(route.credential, ScopeName):
        operation["description"] = f"Scope: `{route.credential}`."
        operation["security"] = [{"key": []}]
    elif route.credential is not Credential.NONE:
        operation["security"] = [{str(route.credential): []}]
    if route.request:
        operation["requestBody"] = {"required": True, "content": _content(route.request)}
    return operation


def _schemes(routes: Iterable[Route]) -> Json:
    """The kinds of credential that the routes use."""
    used = {"key" if isinstance(route.credential, ScopeName) else str(route.credential) for route in routes}
    return {name: scheme for name, scheme in _SECURITY_SCHEMES.items() if name in used}


def _models(routes: Iterable[Route]) -> list[type[BaseModel]]:
    """Every model that the operations refer to."""
    found: dict[type[BaseModel], None] = {Problem: None}
    for route in routes:
        bodies: list[Any] = [route.request, route.answer, *(other.content for other in route.others.values())]
        bodies += [body.schema for body in bodies if isinstance(body, Content)]
        found |= {body: None for body in bodies if isinstance(body, type)}
    return list(found)


def openapi_document(
    routes: Iterable[Route], title: str, version: str, lengths: Mapping[str, int] | None = None
) -> Json:
    """The document of these routes. lengths: characters of path parameters that are no names."""
    routes = tuple(routes)
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, lengths or {})
    _, definitions = models_json_schema(
        [(model, "validation") for model in _models(routes)], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {"schemas": definitions["$defs"], "securitySchemes": _schemes(routes)},
    }
