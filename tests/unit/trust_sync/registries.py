"""Registries as a configuration names them."""

from __future__ import annotations

from trust_sync.shared import RegistryConfig


def registry(name: str, *domains: str) -> RegistryConfig:
    return RegistryConfig(name=name, url="https://localhost", api_key_file="/dev/null", domains=list(domains))


REGISTRIES = [registry("one", "one.example", "uno.example"), registry("two", "two.example")]
