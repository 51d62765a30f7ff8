"""A service on SQLite, and one on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.iot_registry.parts import PostgreSQL
from tests.integration.operations.parts import Service


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests of a module, on each kind of database."""
    url = request.getfixturevalue("postgresql").url if request.param == "postgresql" else None
    with Service(tmp_path_factory.mktemp(f"operations-{request.param}"), url).running() as running:
        yield running


@pytest.fixture(scope="module")
def sqlite_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("operations")).running() as running:
        yield running
