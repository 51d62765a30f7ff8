"""The service as a process, and the client that talks to it: curl."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.harness.process import Daemon, free_port, start
from tests.integration.iot_registry.parts import Answer

COMMAND = Path(sys.executable).with_name("dane-operations")
CAMERA = "a1.camera._device.example.net"

POLICY = """
version: 2
networks:
  home: {ssid: [Home]}
zones:
  appliance: {vlan: 30}
  quarantine: {vlan: 666}
  waiting: {vlan: 40}
standing:
  quarantined: {zone: quarantine}
  pending: {zone: waiting}
  rules:
    - {name: cloned, stations: 2, within: 1h, set: quarantined, for: 24h}
    - {name: rejected, refusals: 3, within: 5m, set: watched, for: 1h}
rules:
  - {name: cameras, identity: ["*.camera._device.example.net"], networks: [home], approval: required, zone: appliance}
  - {name: everything-else, default: true, refuse: true}
"""


@dataclass
class Service:
    """A service of its own in `folder`: state, configuration, policy file, server process, commands."""

    folder: Path
    database_url: str | None = None
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    daemon: Daemon | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.policy.write_text(POLICY)
        sections: dict[str, dict[str, Any]] = {
            "operations": {
                "listen": f"127.0.0.1:{self.port}",
                "state_dir": str(self.state),
                "policy": str(self.policy),
            }
        }
        if self.database_url:
            sections["operations"]["database_url"] = self.database_url
        for name, values in self.options.items():
            sections.setdefault(name, {}).update(values)
        lines = []
        for name, values in sections.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        self.config.write_text("\n".join(lines) + "\n")

    @property
    def config(self) -> Path:
        return self.folder / "operations.toml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def policy(self) -> Path:
        return self.folder / "policy.yaml"

    @property
    def anchor(self) -> Path:
        return self.state / "tls" / "ca.pem"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "serve.log"

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One `dane-operations` command on this machine's database."""
        command = [str(COMMAND), *arguments, "--config", str(self.config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if check and done.returncode != 0:
            raise RuntimeError(f"dane-operations {' '.join(arguments)}: code {done.returncode}\n{done.stderr}")
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def start(self) -> Service:
        self.daemon = start(
            "dane-operations", [COMMAND, "serve", "--config", self.config], log=self.log, ready=self.healthy, timeout=40
        )
        return self

    def stop(self) -> None:
        if self.daemon:
            self.daemon.stop()
            self.daemon = None

    @contextlib.contextmanager
    def running(self) -> Iterator[Service]:
        self.run("init")
        try:
            yield self.start()
        finally:
            self.stop()

    def healthy(self) -> bool:
        done = subprocess.run(["curl", "-ksS", "--max-time", "2", f"{self.url}/health"], capture_output=True, text=True)
        return done.returncode == 0 and '"database": "pass"' in done.stdout

    def curl(self, path: str, *arguments: str, body: bytes | None = None) -> Answer:
        """A request to this server, its certificate verified."""
        command = ["curl", "-sS", "--max-time", "30", "--cacert", str(self.anchor), "-D", "-", *arguments]
        if body is not None:
            command += ["--data-binary", "@-"]
        done = subprocess.run([*command, self.url + path], capture_output=True, input=body, timeout=40)
        if done.returncode != 0:
            raise RuntimeError(f"curl {path}: code {done.returncode}: {done.stderr.decode()}")
        return Answer.parse(done.stdout)

    def api(
        self, method: str, path: str, data: Any = None, *, key: str | None = None, media: str = "application/json"
    ) -> Answer:
        """A call of the JSON API. key: None: one that may do everything."""
        arguments = ["-X", method, "-H", f"Authorization: Bearer {key if key is not None else self.admin}"]
        body = None
        if data is not None:
            arguments += ["-H", f"Content-Type: {media}"]
            body = data if isinstance(data, bytes) else json.dumps(data).encode()
        return self.curl(path, *arguments, body=body)

    @cached_property
    def admin(self) -> str:
        return self.run("key", "add", "test", "--scope", "admin").stdout.strip()

    def key(self, *scopes: str, **fields: Any) -> str:
        """An API key with these scopes."""
        return str(self.api("POST", "/v1/keys", {"label": "test", "scopes": list(scopes), **fields}).json["secret"])

    def quarantine(self, name: str, **fields: Any) -> Answer:
        return self.api("PUT", f"/v1/devices/{name}/standing", {"standing": "quarantined", **fields})

    def report(self, batch: str, *lines: dict[str, Any], node: str = "radius-1", key: str | None = None) -> Answer:
        """What a node sends for these decisions."""
        body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        arguments = ["-X", "POST", "-H", f"Authorization: Bearer {key or self.admin}", "-H", f"Batch-Id: {batch}"]
        arguments += ["-H", "Content-Type: application/x-ndjson"]
        return self.curl(f"/v1/nodes/{node}/decisions", *arguments, body=body)

    def standing(self, name: str) -> str:
        return str(self.api("GET", f"/v1/devices/{name}/standing").json["standing"])
