"""Running registries with their Knot, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.iot_registry.parts import DeviceKey, PostgreSQL, Registry


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(str(item.fspath)).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.daemons)


@contextmanager
def serving(database: str, folder: Path) -> Iterator[Registry]:
    """A registry that serves, on the given kind of database."""
    if database == "sqlite":
        with Registry(folder / "registry").running() as registry:
            yield registry
        return
    with (
        PostgreSQL() as postgresql,
        Registry(folder / "registry", database_url=postgresql.url).running() as registry,
    ):
        yield registry


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One registry for all tests here, on each database. Each test uses names of its own, and leaves it usable."""
    with serving(request.param, tmp_path_factory.mktemp(request.param)) as registry:
        yield registry


@pytest.fixture(scope="package")
def sqlite_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One registry on SQLite, for tests in which the kind of database does not matter."""
    with serving("sqlite", tmp_path_factory.mktemp("shared")) as registry:
        yield registry


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry of the test's own, on each database."""
    with serving(request.param, tmp_path_factory.mktemp(f"fresh-{request.param}")) as registry:
        yield registry


@pytest.fixture
def device_key(tmp_path: Path) -> DeviceKey:
    return DeviceKey.make(tmp_path, "device")
