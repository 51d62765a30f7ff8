"""The commands of docs/operations.md (quick start) and docs/quarantine.md, run as they are written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from operations.local.config import Settings
from tests.harness.process import free_port
from tests.integration.operations.parts import COMMAND, Service

pytestmark = pytest.mark.daemons

DOCS = Path(__file__).parents[3] / "docs"
OPERATIONS, QUARANTINE = ((DOCS / f"{name}.md").read_text() for name in ("operations", "quarantine"))


def blocks(text: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", text, re.S)


def test_the_quick_start_and_the_procedure_do_what_they_say(tmp_path: Path) -> None:
    port = free_port()
    start, device, monitor = blocks(OPERATIONS.split("## Quick start")[1].split("\n## ")[0])
    procedure = blocks(QUARANTINE)
    assert len(procedure) == 6
    ready = f"""
for _ in $(seq 300); do
  curl -ksf -o health https://127.0.0.1:{port}/health && break
  sleep 0.1
done
"""
    # The device has been here, so that `show` finds it.
    seen = f"""
dane-operations key add node --scope node:write --out node.key
printf 'header = "Authorization: Bearer %s"\\n' "$(cat node.key)" |
  curl -sS --fail --config - --cacert anchor.pem -H 'Content-Type: application/x-ndjson' -H 'Batch-Id: 1' \\
    -d '{{"verdict": "accept", "reason": "dane_match", "name": "'$name'", "timestamp": "2026-11-25T12:00:00Z"}}' \\
    "https://localhost:{port}/v1/nodes/radius-1/decisions"
"""
    script = "set -eu\n" + start + ready + device + monitor + seen + "".join(procedure) + "\nkill %1\nwait\n"
    script = script.replace("dane-operations serve", f"dane-operations serve --listen 127.0.0.1:{port}")
    script = script.replace(":8444", f":{port}")
    environment = {**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    command = [COMMAND, "history", "a1b2c3.camera._device.example.net", "--json", "--state-dir", tmp_path / "state"]
    history = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)
    assert [entry["standing"] for entry in reversed(history["entries"])] == [
        *("quarantined", "normal"),
        # The monitor's, and the procedure: what is the same as before, is no change.
        *("quarantined", "quarantined", "normal", "normal", "watched", "blocked"),
    ]


def test_the_documented_configuration_is_valid() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", OPERATIONS, re.S)
    settings = Settings.model_validate(tomllib.loads(text))
    assert settings.tls.names == ("operations.example.net",)
    # The lines that are commented out, too.
    everything = re.sub(r"^# (\w+ =)", r"\1", text, flags=re.M)
    assert Settings.model_validate(tomllib.loads(everything)).tls.key is not None


def test_every_documented_metric_and_route_exists(tmp_path: Path) -> None:
    with Service(tmp_path).running() as service:
        scraped = service.curl("/metrics").body.decode()
        served = service.curl("/v1/openapi.json").json["paths"]
    for name in set(re.findall(r"dane_operations_[a-z_]+", OPERATIONS)):
        assert re.search(rf"^{name}\b", scraped, re.M), name
    table = OPERATIONS.split("| method and path |")[1].split("\n\n")[0]
    named = [path.partition("?")[0] for path in re.findall(r"/(?:v1|health|metrics)[^`, ]*", table)]
    paths = {re.sub(r"/[A-Z]+\b", "/{}", path) for path in named}
    assert len(paths) > 15
    assert paths <= {re.sub(r"{\w+}", "{}", path) for path in served}
