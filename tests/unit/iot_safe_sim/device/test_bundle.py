"""The enrollment bundle: what is accepted, what is refused, and that its secret is never shown."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from iot_safe_sim.device import Bundle, BundleError, RegistrySettings
from tests.harness.pki import authority

GOOD = {
    "name": "A1b2c3.camera._device.example.net",
    "token": "s3cret-one-time",
    "est": "https://registry.example.net:8443/.well-known/est/example.net",
    "provisioning": "https://registry.example.net:8443/v1/domains/example.net/provisioning",
    "ca": authority("CA").pem.decode(),
    "expires": "2026-12-01T10:00:00+00:00",
}


def encoded(values: Any) -> str:
    raw = json.dumps(values, separators=(",", ":")).encode()
    return "iotreg1." + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_parse_and_encode() -> None:
    bundle = Bundle.parse("  " + encoded(GOOD) + "\n")
    assert bundle.name == "a1b2c3.camera._device.example.net"
    assert bundle.token.get_secret_value() == "s3cret-one-time"
    assert bundle.expires == datetime(2026, 12, 1, 10, tzinfo=UTC)
    assert Bundle.parse(bundle.encode()) == bundle
    assert Bundle.parse(encoded(GOOD | {"added later": 1})) == bundle
    assert RegistrySettings.from_json(bundle.settings().to_json()) == bundle.settings()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "localhost"}, "name: .*expected a DNS name"),
        ({"name": "a..example"}, "name: .*expected a DNS name"),
        ({"name": "x" * 64 + ".example"}, "name: .*expected a DNS name"),
        ({"name": "*.example.net"}, "name: .*expected a DNS name"),
        ({"name": "ä.example.net"}, "name: .*expected a DNS name"),
        ({"token": ""}, "token: "),
        ({"est": "http://registry.example.net/est"}, "est: .*expected https://"),
        ({"est": "https:///est"}, "est: .*expected https://"),
        ({"est": "https://user@host/est"}, "est: .*expected https://"),
        ({"provisioning": "https://host/x?y"}, "provisioning: .*expected https://"),
        ({"ca": "nothing"}, "ca: "),
        ({"expires": "tomorrow"}, "expires: "),
        ({"expires": "2026-12-01T10:00:00"}, "expires: "),
        ({"name": None}, "name: "),
    ],
)
def test_wrong_parts_are_named_and_the_secret_is_not_shown(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        Bundle.parse(encoded(GOOD | change))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "iotreg2." + encoded(GOOD).partition(".")[2],
        encoded(GOOD)[:-7],
        encoded(GOOD) + "!",
        encoded([1]),
        "iotreg1." + "A" * 70000,
        "iotreg1.",
    ],
)
def test_what_is_not_a_bundle(text: str) -> None:
    with pytest.raises(BundleError) as caught:
        Bundle.parse(text)
    assert "s3cret" not in str(caught.value)


def test_expiry_and_secrecy() -> None:
    bundle = Bundle.parse(encoded(GOOD))
    bundle.check_not_expired(datetime(2026, 12, 1, 9, 59, 59, tzinfo=UTC))
    with pytest.raises(BundleError, match="expired at 2026-12-01T10:00:00"):
        bundle.check_not_expired(datetime(2026, 12, 1, 10, tzinfo=UTC))
    assert "s3cret" not in repr(bundle)
    assert b"s3cret" not in bundle.settings().to_json()
