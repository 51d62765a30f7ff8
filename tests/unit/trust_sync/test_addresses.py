"""The addresses to which untrusted input may cause a connection."""

from __future__ import annotations

import ipaddress

import pytest

from trust_sync.discovery.addresses import refusal

ALLOWED = (ipaddress.ip_network("192.168.7.0/24"), ipaddress.ip_network("fd00:7::/64"))


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
     "255.255.255.255", "224.0.0.1", "240.0.0.1", "198.18.0.1", "::1", "::", "fe80::1", "fd00::1", "ff02::1",
     "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::1", "fec0::1",
     "127.1", "localhost", "",
     "0x7f000001", "192.168.8.1", "fd00:8::1"],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert refusal(address, ALLOWED)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "192.168.7.9", "fd00:7::1", "::ffff:192.168.7.1"]
)
def test_public_and_allowed_addresses_are_not(address: str) -> None:
    assert refusal(address, ALLOWED) is None
