"""The API does what its OpenAPI document says, for input that nobody thought of (schemathesis)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.integration.iot_registry.parts import Registry


def test_the_api_keeps_its_contract(sqlite_registry: Registry, tmp_path: Path) -> None:
    registry = sqlite_registry
    registry.add("contract")
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{registry.url}/v1/openapi.json"]
    command += ["--url", registry.url, "--tls-verify", str(registry.anchor), "--no-color"]
    command += ["-H", f"Authorization: Bearer {registry.admin}"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1"]
    # What a schema cannot say (a name that exists, a time that is past) is refused for good reason.
    command += ["--exclude-checks", "positive_data_acceptance"]
    # A long poll that waits for its minute, and zones made in Knot by the dozen, would tell nothing more.
    command += ["--exclude-path", "/v1/changes", "--exclude-path", "/v1/domains", "--generation-database", "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=tmp_path)
    print(done.stdout[-3000:])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
