"""Which registry speaks for a name."""

from __future__ import annotations

import pytest

from tests.unit.trust_sync.registries import REGISTRIES
from trust_sync.sessions.registry_map import RegistryMap


@pytest.mark.parametrize(
    ("name", "owner", "source", "domain"),
    [
        ("a.cam._device.one.example", "one", "registry one", "one.example"),
        ("uno.example", "one", "registry one", "uno.example"),
        ("a.two.example", "two", "registry two", "two.example"),
        ("a.none.example", None, "none.example", "none.example"),
        ("a.cam._device.none.example", None, "_device.none.example", "_device.none.example"),
        ("a.notone.example", None, "notone.example", "notone.example"),
    ],
)
def test_whose_name_it_is(name: str, owner: str | None, source: str, domain: str) -> None:
    registry_map = RegistryMap(REGISTRIES)
    assert registry_map.registry_of(name) == owner
    assert registry_map.queue_key(name) == source
    assert registry_map.flush_domain(name) == domain
