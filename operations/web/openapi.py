"""The OpenAPI 3.1 document of the service."""

from __future__ import annotations

from collections.abc import Iterable

from operations import __version__
from web_service.web import Json, Route, openapi_document


def document(routes: Iterable[Route]) -> Json:
    """The document of these routes."""
    return openapi_document(routes, "dane-operations", __version__, {"id": 36, "node": 63, "schema": 128})
