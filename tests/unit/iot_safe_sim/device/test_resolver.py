"""The address of a resolver."""

from __future__ import annotations

import pytest

from iot_safe_sim.device import Resolver, ResolverAddressError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1", "127.0.0.1", 53),
        ("127.0.0.1:5353", "127.0.0.1", 5353),
        ("::1", "::1", 53),
        ("[::1]:5353", "::1", 5353),
        ("[::1]", "::1", 53),
    ],
)
def test_resolver_addresses(text: str, host: str, port: int) -> None:
    assert Resolver.parse(text) == Resolver(host, port)


@pytest.mark.parametrize("text", ["", "localhost", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "1.2.3:53", "[::1"])
def test_what_is_not_a_resolver_address(text: str) -> None:
    with pytest.raises(ResolverAddressError, match="expected ADDRESS"):
        Resolver.parse(text + ("" if text != "[::1" else ":x"))
