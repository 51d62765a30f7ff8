"""/metrics and /health: every documented metric is exported and changes, also without the database."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from iot_registry.core.errors import CsrReason
from iot_registry.local import config, tsig_keys
from iot_registry.publication.dns_client import DnsClient
from tests.harness.process import wait_for
from tests.integration.iot_registry.parts import DeviceKey, PostgreSQL, Registry, decode_bundle
from tests.integration.iot_registry.test_feed import stream
from tests.integration.iot_registry.test_life import reenroll
from web_service.core import Reason

PAGE = Path(__file__).parents[3] / "docs" / "registry.md"


def scrape(registry: Registry) -> dict[str, float]:
    """Each sample as `name{label="value"}`."""
    answer = registry.curl("/metrics")
    found = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def documented() -> set[str]:
    table = PAGE.read_text().split("\n## Metrics\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `(iot_registry_[a-z_]+)`", table, re.M))


@pytest.fixture
def database() -> Iterator[PostgreSQL]:
    with PostgreSQL() as postgresql:
        yield postgresql


@pytest.fixture
def registry(tmp_path: Path, database: PostgreSQL) -> Iterator[Registry]:
    options: dict[str, dict[str, Any]] = {
        "publication": {"reconcile_seconds": 1},
        "enrollment": {"publish_wait_seconds": 0.2},
        "feed": {"heartbeat_seconds": 0.2},
    }
    with Registry(tmp_path / "registry", database.url, options).running() as running:
        yield running


def test_every_documented_metric_is_there_and_moves(
    registry: Registry, database: PostgreSQL, tmp_path: Path, device_key: DeviceKey
) -> None:
    key = registry.key("feed:read")
    first = scrape(registry)
    assert registry.curl("/metrics").headers["content-type"].startswith("text/plain; version=")
    families = {re.sub(r"(_bucket|_sum|_count)?(\{.*)?$", "", name) for name in first if "_created" not in name}
    assert families == documented()
    # Label values from a closed set, all exported from the start.
    assert {name for name in first if name.startswith("iot_registry_refusals_total")} == {
        f'iot_registry_refusals_total{{reason="{reason}"}}' for reason in (*Reason, *CsrReason)
    }
    subprocess.run(["promtool", "check", "metrics"], input=registry.curl("/metrics").body, check=True)

    def moved(name: str, by: float | None = None) -> bool:
        change = scrape(registry)[name] - first[name]
        return change == by if by is not None else change > 0

    # Issued, delivered again, renewed, deferred.
    name, bundle = registry.add("counted")
    answer = registry.enroll(bundle, device_key.csr(name))
    wait_for(lambda: registry.enroll(bundle, device_key.csr(name)).status == 200, "the certificate")
    answer = registry.enroll(bundle, device_key.csr(name))
    certificate = answer.certificates()[0]
    assert moved('iot_registry_enrollments_total{kind="initial",result="issued"}', 1)
    assert moved('iot_registry_enrollments_total{kind="initial",result="again"}')
    assert reenroll(registry, name, certificate, device_key, device_key).status in (200, 202)
    wait_for(lambda: reenroll(registry, name, certificate, device_key, device_key).status == 200, "the renewal")
    assert moved('iot_registry_enrollments_total{kind="renewal",result="issued"}')
    assert reenroll(registry, name, certificate, device_key, DeviceKey.make(tmp_path, "new")).status == 202
    assert moved('iot_registry_enrollments_total{kind="renewal",result="waiting"}')
    assert moved('iot_registry_publications_total{result="confirmed"}')
    assert moved("iot_registry_publication_seconds_count")
    assert moved('iot_registry_devices{status="active"}', 1)
    assert moved("iot_registry_feed_sequence")
    for endpoint in ("est", "api", "other"):
        assert moved(f'iot_registry_request_seconds_count{{endpoint="{endpoint}"}}')
    assert registry.curl(f"/.well-known/ca/{'00-' * 19}00.pem").status == 404
    assert moved('iot_registry_request_seconds_count{endpoint="pkix-cd"}', 1)
    assert moved('iot_registry_refusals_total{reason="not-found"}', 1)
    with stream(registry, key, 0) as reader:
        wait_for(lambda: moved("iot_registry_feed_consumers", 1), "the stream to be counted")
        # The heartbeat of an idle stream.
        wait_for(lambda: reader.heartbeats >= 3, "signs of life")
    wait_for(lambda: moved("iot_registry_feed_consumers", 0), "its end to be counted")

    # An unknown record, and a missing one.
    settings = config.load(registry.config)
    primary = config.parse_endpoint(settings.publication.server)
    client = DnsClient(primary, tsig_keys.load(registry.state / "tsig.key"), 3)
    client.replace("home.example", {"x.camera._device.home.example": ["3 1 1 " + "ab" * 32], name: []}, 60)
    for kind in ("wrong", "unknown"):
        wait_for(lambda kind=kind: moved(f'iot_registry_reconciled_total{{kind="{kind}"}}', 1), f"{kind} to be counted")
    wait_for(lambda: registry.knot.tlsa(name) != set(), "the record to come back")

    # A zone that the server does not serve, and a server that does not answer.
    registry.run("domain", "add", "else.example", "--zone", "else.example")
    block = registry.folder / "dns" / "zones" / "else.example.conf"
    block.write_text(block.read_text().replace("iot-registry-update, ", ""))
    registry.knot.stop()
    registry.knot.start()
    refused, refused_bundle = registry.add("refused", domain="else.example")
    registry.enroll(refused_bundle, DeviceKey.make(tmp_path, "refused").csr(refused))
    wait_for(lambda: moved('iot_registry_publications_total{result="refused"}'), "the refusal to be counted")
    registry.knot.stop()
    away, away_bundle = registry.add("away")
    registry.enroll(away_bundle, DeviceKey.make(tmp_path, "away").csr(away))
    wait_for(lambda: moved('iot_registry_publications_total{result="failed"}'), "the failure to be counted")
    assert moved("iot_registry_outbox_pending")
    assert moved("iot_registry_outbox_oldest_seconds")
    assert registry.curl("/health").json == {"status": "warn", "database": "pass", "dns": "fail"}
    registry.knot.start()

    # Without the database, it exports its own counters, and that the database is down.
    assert scrape(registry)["iot_registry_database_up"] == 1
    database.kill()
    wait_for(lambda: moved("iot_registry_publisher_errors_total"), "the publisher's trouble to be counted")
    without = scrape(registry)
    assert without["iot_registry_database_up"] == 0
    assert without['iot_registry_devices{status="active"}'] >= 1
    health = registry.curl("/health")
    assert (health.status, health.json) == (503, {"status": "fail", "database": "fail"})
    subprocess.run(["promtool", "check", "metrics"], input=registry.curl("/metrics").body, check=True)
    database.start()
    wait_for(lambda: scrape(registry)["iot_registry_database_up"] == 1, "the database to be found again")
    wait_for(lambda: registry.curl("/health").status == 200, "the registry to be well")
    # No metric holds a name, token or key.
    text = registry.curl("/metrics").body.decode()
    assert "._device." not in text
    assert ".example" not in text
    # The log has one JSON object per line, and none of the secrets of the requests and answers.
    log = (registry.folder / "serve.log").read_text()
    events = {json.loads(line)["event"] for line in log.splitlines()}
    assert {"registry.serving", "enrollment.issued", "enrollment.again", "request.refused"} <= events
    for secret in (decode_bundle(bundle)["token"], bundle, key, registry.admin, "PRIVATE KEY"):
        assert secret not in log
