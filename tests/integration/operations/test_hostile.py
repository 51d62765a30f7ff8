"""Bad input: each its problem answer, and nothing changes."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness.process import wait_for
from tests.integration.operations.parts import CAMERA, Service

pytestmark = pytest.mark.daemons

PATH = f"/v1/devices/{CAMERA}/standing"
QUARANTINE = {"standing": "quarantined"}


@pytest.mark.parametrize(
    ("method", "path", "data", "status", "reason"),
    [
        ("PUT", "/v1/devices/no%20name/standing", QUARANTINE, 400, "invalid-name"),
        ("PUT", "/v1/devices/*.example.net/standing", QUARANTINE, 400, "invalid-name"),
        ("PUT", "/v1/devices/a%00.example.net/standing", QUARANTINE, 400, "invalid-name"),
        ("PUT", f"/v1/devices/{'a' * 300}.net/standing", QUARANTINE, 400, "invalid-name"),
        ("PUT", PATH, {**QUARANTINE, "zone": "nowhere"}, 400, "unknown-zone"),
        ("PUT", PATH, {**QUARANTINE, "color": "red"}, 400, "unknown-field"),
        ("PUT", PATH, {"standing": "sad"}, 400, "invalid-field"),
        ("PUT", PATH, {**QUARANTINE, "until": "2001-01-01T00:00:00Z"}, 400, "invalid-field"),
        ("PUT", PATH, {**QUARANTINE, "until": "2999-01-01T00:00:00"}, 400, "invalid-field"),
        ("PUT", PATH, {**QUARANTINE, "seconds": -1}, 400, "invalid-field"),
        ("PUT", PATH, {**QUARANTINE, "reason": "\x1b[2J"}, 400, "invalid-field"),
        ("PUT", PATH, b"{", 400, "malformed"),
        ("PUT", PATH, b"[" * 60_000, 400, "malformed"),
        ("PUT", PATH, b"x" * 1024 * 1024, 413, "too-large"),
        ("POST", "/v1/nodes/a%2Fb/sessions", {"sessions": []}, 400, "invalid-name"),
        ("POST", "/v1/nodes/n1/sessions", {"sessions": [{"id": "1"}]}, 400, "invalid-field"),
        ("POST", "/v1/approvals/nobody.example.net", {"answer": "yes"}, 404, "not-found"),
        ("GET", "/v1/devices?color=red", None, 400, "unknown-field"),
        ("GET", "/v1/devices?limit=0", None, 400, "invalid-field"),
        ("GET", "/v1/devices?search=a%00", None, 400, "invalid-field"),
        ("GET", "/v1/changes?since=99999999", None, 410, "history-gone"),
        ("GET", "/v1/nothing", None, 404, "not-found"),
        ("DELETE", "/v1/devices", None, 405, "method-not-allowed"),
    ],
)
def test_each_has_its_problem(service: Service, method: str, path: str, data: Any, status: int, reason: str) -> None:
    before = service.api("GET", "/v1/snapshot").json
    answer = service.api(method, path, data)
    assert (answer.status, answer.json["reason"]) == (status, reason)
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert "server" not in answer.headers
    assert service.api("GET", "/v1/snapshot").json == before


def test_a_wrong_content_type(service: Service) -> None:
    answer = service.api("PUT", PATH, QUARANTINE, media="text/plain")
    assert (answer.status, answer.json["reason"]) == (415, "bad-media-type")
    batch = service.api("POST", "/v1/nodes/n1/decisions", {"x": 1})
    assert batch.status == 400
    encoded = ("-X", "PUT", "-H", "Content-Encoding: gzip", "-H", "Content-Type: application/json")
    answer = service.curl(PATH, *encoded, "-H", f"Authorization: Bearer {service.admin}", body=b"x")
    assert answer.status == 415


def test_a_lapsed_a_revoked_and_an_unknown_key(service: Service) -> None:
    until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=3)
    brief = service.key("admin", expires_at=until.isoformat())
    wait_for(lambda: service.api("GET", PATH, key=brief).status == 401, "the key to lapse", timeout=20)
    revoked = service.key("admin")
    service.run("key", "revoke", revoked.split("_")[1])
    for key in (brief, revoked, revoked[:-1] + "x", "dok_0_0", "irk_000000000000_" + "A" * 43, "", "\u00fc"):
        answer = service.api("PUT", PATH, QUARANTINE, key=key)
        assert (answer.status, answer.json["reason"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert service.standing(CAMERA) == "normal"


def test_a_key_for_reading_changes_nothing(service: Service) -> None:
    for scopes in (("device:read",), ("feed:read",), ("node:write",), ("audit:read",), ("device:write",)):
        answer = service.api("PUT", PATH, QUARANTINE, key=service.key(*scopes))
        assert (answer.status, answer.json["reason"]) == (403, "forbidden")


def test_no_key_is_in_log_or_database(sqlite_service: Service) -> None:
    secret = sqlite_service.admin
    sqlite_service.quarantine("k.example.net")
    text = sqlite_service.log.read_bytes() + b"".join(path.read_bytes() for path in sqlite_service.state.glob("*.db*"))
    assert secret.split("_")[1].encode() in text
    assert secret.split("_", 2)[2].encode() not in text


def test_an_invalid_policy_leaves_the_last_one_in_force_and_everyone_is_told(sqlite_service: Service) -> None:
    service = sqlite_service
    text = service.policy.read_text()
    service.policy.write_text("version: 2\nrules: nonsense\n")
    try:
        wait_for(lambda: service.curl("/health").json["policy"] == "warn", "the service to notice", timeout=30)
        assert service.curl("/health").status == 200
        assert b"dane_operations_policy_valid 0.0" in service.curl("/metrics").body
        assert service.api("GET", "/v1/status").json["policy"]["error"]
        assert "policy.invalid" in service.log.read_text()
        assert service.quarantine(CAMERA, zone="quarantine").status == 200
    finally:
        service.policy.write_text(text)
    wait_for(lambda: service.curl("/health").json["policy"] == "pass", "the service to notice", timeout=30)


def test_it_starts_with_an_invalid_policy_and_without_one(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.policy.write_text("nonsense")
    with service.running():
        assert service.curl("/health").json["policy"] == "warn"
        assert service.quarantine(CAMERA).status == 200
        assert service.quarantine(CAMERA, zone="quarantine").json["reason"] == "no-policy"


def test_metrics_are_well_formed(sqlite_service: Service) -> None:
    body = sqlite_service.curl("/metrics").body
    subprocess.run(["promtool", "check", "metrics"], input=body, check=True)
    assert CAMERA.encode() not in body


HOOKS = """
import schemathesis

@schemathesis.serializer("application/x-ndjson")
def text(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
"""


def test_the_api_keeps_to_its_document(sqlite_service: Service, tmp_path: Path) -> None:
    """schemathesis sends valid and invalid requests of every operation: no 5xx, and no answer beside the document."""
    service = sqlite_service
    served = service.curl("/v1/openapi.json")
    # A poll for what comes after 0 has an answer at once.
    service.quarantine("contract.example.net")
    (tmp_path / "openapi.json").write_bytes(served.body)
    (tmp_path / "hooks.py").write_text(HOOKS)
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", "openapi.json"]
    command += ["--url", service.url, "--tls-verify", str(service.anchor), "--no-color"]
    command += ["-H", f"Authorization: Bearer {service.admin}", "--generation-database", "none"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "5", "--seed", "7"]
    # A schema cannot say everything: a name, or a time that is past, is refused.
    command += ["--exclude-checks", "positive_data_acceptance"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=tmp_path, env=environment)
    tested = re.search(r"Tested: (\d+)", done.stdout)
    operations = sum(len(path) for path in served.json["paths"].values())
    assert tested is not None
    assert int(tested[1]) == operations
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
