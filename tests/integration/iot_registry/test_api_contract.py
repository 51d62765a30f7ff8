"""The API does what its OpenAPI document says, for input that nobody thought of (schemathesis)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.iot_registry.parts import Registry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    # Domains are made by the dozen here: without their zones in Knot, which would tell nothing more.
    with Registry(tmp_path / "registry", options={"signer": {"kind": "none"}}).running() as running:
        yield running


def test_the_api_keeps_its_contract(registry: Registry, tmp_path: Path) -> None:
    registry.add("contract")
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{registry.url}/v1/openapi.json"]
    command += ["--url", registry.url, "--tls-verify", str(registry.anchor), "--no-color"]
    command += ["-H", f"Authorization: Bearer {registry.admin}"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1"]
    # What a schema cannot say (a name that exists, a time that is past) is refused for good reason.
    command += ["--exclude-checks", "positive_data_acceptance"]
    command += ["--generation-database", "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=tmp_path)
    print(done.stdout[-3000:])
    tested = re.search(r"Tested: (\d+)", done.stdout)
    operations = sum(len(path) for path in registry.curl("/v1/openapi.json").json["paths"].values())
    assert tested is not None
    assert int(tested[1]) == operations
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
