"""One running registry with its Knot for a whole module, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.iot_registry.parts import DeviceKey, Registry, postgresql


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(str(item.fspath)).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.daemons)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that serves, on each database."""
    folder = tmp_path_factory.mktemp(f"registry-{request.param}")
    if request.param == "postgresql":
        with (
            postgresql(folder / "postgresql") as url,
            Registry(folder / "registry", database_url=url).running() as running,
        ):
            yield running
    else:
        with Registry(folder / "registry").running() as running:
            yield running


@pytest.fixture(scope="module")
def sqlite_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that serves, on SQLite, for what does not touch the database's ways."""
    with Registry(tmp_path_factory.mktemp("registry")).running() as running:
        yield running


@pytest.fixture
def device_key(tmp_path: Path) -> DeviceKey:
    return DeviceKey.make(tmp_path, "device")
