"""The OpenAPI 3.1 document of the registry."""

from __future__ import annotations

from collections.abc import Iterable

from iot_registry import __version__
from web_service.web import Json, Route, openapi_document


def document(routes: Iterable[Route]) -> Json:
    """The document of these routes."""
    return openapi_document(routes, "IoT registry", __version__, {"id": 16, "aki": 128})
