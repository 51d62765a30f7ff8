"""The application and its OpenAPI document come from one table: neither has a route that the other lacks."""

from __future__ import annotations

import typing
from typing import cast

import pytest
from aiohttp import web

from operations.service.access import Scope
from operations.web.application import application, endpoint_kind
from operations.web.context import Context
from operations.web.route_table import ROUTES
from web_service.core import RequestBody, ResponseBody
from web_service.web import DOCUMENT, Credential, Route


@pytest.fixture
def app() -> web.Application:
    # No handler runs here, so that no context is needed.
    return application(cast(Context, None))


def test_each_served_route_is_documented_and_each_documented_one_is_served(app: web.Application) -> None:
    served = set()
    for route in app.router.routes():
        assert route.resource is not None
        served.add((route.method.replace("HEAD", "GET"), route.resource.canonical))
    paths = app[DOCUMENT]["paths"]
    documented = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert served == documented
    assert len(served) == len(ROUTES) >= 30


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_handler_takes_and_gives_what_its_row_says(route: Route) -> None:
    hints = typing.get_type_hints(route.handler)
    answer = hints.pop("return")
    if issubclass(answer, ResponseBody):
        assert answer is route.answer
    else:
        assert issubclass(answer, web.StreamResponse)
    bodies = [hint for hint in hints.values() if isinstance(hint, type) and issubclass(hint, RequestBody)]
    assert bodies == ([route.request] if isinstance(route.request, type) else [])


PUBLIC = {
    "/health", "/metrics", "/v1/openapi.json", "/scim/v2/ServiceProviderConfig", "/scim/v2/ResourceTypes",
    "/scim/v2/ResourceTypes/{schema}", "/scim/v2/Schemas", "/scim/v2/Schemas/{schema}",
}  # fmt: skip


def test_everything_but_what_is_public_needs_a_key(app: web.Application) -> None:
    assert {route.path for route in ROUTES if route.credential is Credential.NONE} == PUBLIC
    for route in ROUTES:
        operation = app[DOCUMENT]["paths"][route.path][route.method.lower()]
        assert ("security" in operation) == isinstance(route.credential, Scope)


def test_no_route_that_changes_something_takes_a_reading_scope() -> None:
    reading = {Scope.DEVICE_READ, Scope.FEED_READ, Scope.AUDIT_READ}
    assert [route.path for route in ROUTES if route.method != "GET" and route.credential in reading] == []


def test_labels_of_metrics_come_from_a_closed_set() -> None:
    class Request:
        def __init__(self, path: str) -> None:
            self.path = path

    kinds = {endpoint_kind(cast(web.Request, Request(route.path))) for route in ROUTES}
    assert kinds == {"feed", "node", "scim", "api", "other"}
