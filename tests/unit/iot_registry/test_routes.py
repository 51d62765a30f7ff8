"""The application and its OpenAPI document come from one table: neither has a route that the other lacks."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable
from typing import Any, cast

import pytest
from aiohttp import web

from iot_registry.service.access import Scope
from iot_registry.service.schemas import RequestBody, ResponseBody
from iot_registry.web.application import application
from iot_registry.web.context import Context
from iot_registry.web.route_table import ROUTES
from web_service.web import DOCUMENT, Content, Credential, Route

Operation = tuple[str, str]


@pytest.fixture
def app() -> web.Application:
    # No handler runs here, so that no context is needed.
    return application(cast(Context, None))


def served(app: web.Application) -> set[Operation]:
    """Method and path of every route that the application answers; HEAD is GET without the body."""
    found = set()
    for route in app.router.routes():
        assert route.resource is not None
        found.add((route.method.replace("HEAD", "GET"), route.resource.canonical))
    return found


def documented(document: dict[str, Any]) -> set[Operation]:
    return {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}


def differences(app: web.Application, document: dict[str, Any]) -> set[Operation]:
    return served(app) ^ documented(document)


def test_each_served_route_is_documented_and_each_documented_one_is_served(app: web.Application) -> None:
    assert differences(app, app[DOCUMENT]) == set()
    assert len(served(app)) == len(ROUTES) >= 30


def test_a_route_that_only_one_of_them_has_is_noticed(app: web.Application) -> None:
    async def handler(_request: web.Request) -> web.Response:
        raise NotImplementedError

    app.router.add_get("/v1/undocumented", handler)
    assert differences(app, app[DOCUMENT]) == {("GET", "/v1/undocumented")}
    app[DOCUMENT]["paths"]["/v1/keys"]["put"] = {}
    assert differences(app, app[DOCUMENT]) == {("GET", "/v1/undocumented"), ("PUT", "/v1/keys")}


def test_no_row_is_there_twice() -> None:
    rows = [(route.method, route.path) for route in ROUTES]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_handler_takes_and_gives_what_its_row_says(route: Route) -> None:
    hints = typing.get_type_hints(route.handler)
    answer = hints.pop("return")
    if issubclass(answer, ResponseBody):
        assert answer is route.answer
    else:
        # The handler makes the response by itself: another media type, or a body that is made without a model.
        assert issubclass(answer, web.StreamResponse)
    bodies = [hint for hint in hints.values() if isinstance(hint, type) and issubclass(hint, RequestBody)]
    assert bodies == ([route.request] if isinstance(route.request, type) else [])


def references(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref":
                yield item.rpartition("/")[2]
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_the_document_has_the_schemas_it_refers_to_and_no_others(app: web.Application) -> None:
    document = app[DOCUMENT]
    assert set(references(document)) == set(document["components"]["schemas"])


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_the_document_names_the_credential_and_the_parameters_of_a_row(app: web.Application, route: Route) -> None:
    operation = app[DOCUMENT]["paths"][route.path][route.method.lower()]
    if isinstance(route.credential, Scope):
        assert operation["security"] == [{"key": []}]
        assert f"`{route.credential}`" in operation["description"]
        assert {"401", "403"} <= operation["responses"].keys()
    elif route.credential is Credential.NONE:
        assert "security" not in operation
        assert not {"401", "403"} & operation["responses"].keys()
    else:
        assert operation["security"] == [{str(route.credential): []}]
        assert "401" in operation["responses"]
    places = {parameter["name"]: parameter["in"] for parameter in operation["parameters"]}
    expected = dict.fromkeys(re.findall(r"{(\w+)}", route.path), "path")
    assert places == expected | {parameter.name: "query" for parameter in route.query}
    media = route.answer.media_type if isinstance(route.answer, Content) else "application/json"
    assert media in operation["responses"][str(route.status)]["content"]
