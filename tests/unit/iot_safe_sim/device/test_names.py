"""Device names and their identity domain."""

from __future__ import annotations

import pytest

from iot_safe_sim.device import identity_domain


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("a1b2c3.camera._device.example.net", "example.net"),
        ("A1B2C3.Camera._Device.Home.Example", "home.example"),
        ("device.example.net", "example.net"),
    ],
)
def test_the_identity_domain_of_a_name(name: str, domain: str) -> None:
    assert identity_domain(name) == domain
