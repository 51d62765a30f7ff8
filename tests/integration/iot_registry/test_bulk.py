"""Bulk import of devices with certificate requests: each is registered and published once."""

from __future__ import annotations

import csv
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from iot_registry.local import config, tsig_keys
from iot_registry.publication.dns_client import DnsClient
from tests.harness.process import wait_for
from tests.integration.iot_registry.parts import Registry, csr_text

DEVICES = 1000


def status(registry: Registry) -> Any:
    return registry.api("GET", "/v1/status", registry.admin).json


@pytest.mark.parametrize("fresh_registry", ["sqlite"], indirect=True)
def test_a_thousand_devices_are_registered_and_served(fresh_registry: Registry, tmp_path: Path) -> None:
    registry = fresh_registry
    source, output = tmp_path / "factory.csv", tmp_path / "certificates.jsonl"
    with source.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["label", "type", "csr"])
        for number in range(DEVICES):
            name = f"f{number}.sensor._device.home.example"
            writer.writerow([f"f{number}", "sensor", csr_text(name)])
    started = time.monotonic()
    done = registry.run("device", "import", str(source), "--output", str(output))
    assert f"{DEVICES} registered, 0 refused" in done.stderr
    registered = time.monotonic() - started
    results = [json.loads(line) for line in output.read_text().splitlines()]
    wait_for(lambda: status(registry)["outbox_pending"] == 0, "the outbox to empty", timeout=60, interval=0.2)
    served = time.monotonic() - started
    print(f"{DEVICES} devices: registered after {registered:.1f} s, served after {served:.1f} s")

    expected = {}
    for result in results:
        key = x509.load_pem_x509_certificate(result["certificate"].encode()).public_key()
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        expected[result["name"]] = frozenset({f"3 1 1 {hashlib.sha256(spki).hexdigest()}"})
    assert len(expected) == DEVICES
    settings = config.load(registry.config)
    client = DnsClient(
        config.parse_endpoint(settings.publication.server), tsig_keys.load(registry.state / "tsig.key"), 10
    )
    assert client.transfer("home.example") == expected
    # The feed has one event for each.
    feed, since, told = registry.key("feed:read"), 0, []
    while changes := (page := registry.api("GET", f"/v1/changes?since={since}", feed).json)["changes"]:
        told += [change["name"] for change in changes if change["type"] == "device.added"]
        since = page["next"]
    assert sorted(told) == sorted(expected)
    # The same list again changes nothing.
    again = registry.run("device", "import", str(source), "--output", str(tmp_path / "again"), check=False)
    assert (again.returncode, f"0 registered, {DEVICES} refused" in again.stderr) == (1, True)
    assert status(registry)["feed_sequence"] == since
