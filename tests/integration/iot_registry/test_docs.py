"""The quick start of docs/registry.md, run as it is written (on other ports)."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.harness.process import free_port
from tests.integration.iot_registry.parts import COMMAND

PAGE = Path(__file__).parents[3] / "docs" / "registry.md"


def test_the_quick_start_does_what_it_says(tmp_path: Path) -> None:
    section = PAGE.read_text().split("## Quick start")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.S)
    assert len(blocks) == 4
    dns, https = free_port(), free_port()
    (tmp_path / "ports.toml").write_text(
        f'[registry]\nlisten = "127.0.0.1:{https}"\n[publication]\nserver = "127.0.0.1:{dns}"\n'
    )
    # A reader enters the second block after the daemons of the first are ready.
    ready = f"""
for _ in $(seq 300); do
  curl -ksf -o health https://127.0.0.1:{https}/health &&
    kdig @127.0.0.1 -p {dns} home.example DNSKEY +short | grep -q 257 && break
  sleep 0.1
done
"""
    remote = PAGE.read_text().split("## From a terminal, here and elsewhere")[1].split("\n## ")[0]
    here, there = re.findall(r"```sh\n(.*?)```", remote, re.S)
    there = f"chmod 600 ada.key\nenv -u IOT_REGISTRY_STATE_DIR -u IOT_REGISTRY_CONFIG {there}"
    script = "set -eu\n" + blocks[0] + ready + "".join(blocks[1:]) + here + there
    script = script.replace("-p 5300", f"-p {dns}").replace(":8443", f":{https}") + "\nkill %2 %1\nwait\n"
    environment = {
        **os.environ,
        "PATH": f"{COMMAND.parent}:/usr/sbin:{os.environ['PATH']}",
        "IOT_REGISTRY_CONFIG": str(tmp_path / "ports.toml"),
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr[-3000:]
    out = done.stdout.lower()
    (record,) = re.findall(r"^3 1 1 ([0-9a-f]{64})$", out, re.M)
    (digest,) = re.findall(r"^([0-9a-f]{64})  -$", out, re.M)
    assert record == digest
    assert "status: nxdomain" in out
    assert "the DNS serves it" in done.stderr
    assert re.search(r"a1b2c3\.camera\._device\.home\.example\W+revoked", out)
