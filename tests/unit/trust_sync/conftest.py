"""Fixtures that several files of this folder use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.unit.trust_sync.feed_setting import Registry, Setting


@pytest_asyncio.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Setting]]:
    made: list[Setting] = []
    with Registry(tmp_path / "web", ["localhost"]) as server:

        def build(**options: Any) -> Setting:
            made.append(Setting(tmp_path, server, **options))
            return made[-1]

        yield build
        for setting in made:
            await setting.feed.close()
            setting.store.close()


@pytest.fixture
def setting(make: Callable[..., Setting]) -> Setting:
    return make()
