"""Every operation does what the OpenAPI document says, for generated input (schemathesis)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.iot_registry.parts import Registry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    # Without a signer: dozens of domains are made here, and their zones in Knot would add nothing to the test.
    with Registry(tmp_path / "registry", options={"signer": {"kind": "none"}}).running() as running:
        yield running


# schemathesis has no serializer for EST's requests: their bodies are text.
HOOKS = """
import schemathesis

@schemathesis.serializer("application/pkcs10")
def text(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
"""


def test_the_api_keeps_its_contract(registry: Registry, tmp_path: Path) -> None:
    registry.add("contract")
    served = registry.curl("/v1/openapi.json")
    # From a file: given the URL, schemathesis leaves out the operation that serves it.
    (tmp_path / "openapi.json").write_bytes(served.body)
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", "openapi.json"]
    command += ["--url", registry.url, "--tls-verify", str(registry.anchor), "--no-color"]
    command += ["-H", f"Authorization: Bearer {registry.admin}"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1"]
    # A schema cannot say everything: a name that exists, or a time that is past, is refused.
    command += ["--exclude-checks", "positive_data_acceptance"]
    command += ["--generation-database", "none"]
    (tmp_path / "hooks.py").write_text(HOOKS)
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=tmp_path, env=environment)
    print(done.stdout[-3000:])
    tested = re.search(r"Tested: (\d+)", done.stdout)
    operations = sum(len(path) for path in served.json["paths"].values())
    assert tested is not None
    assert int(tested[1]) == operations
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
