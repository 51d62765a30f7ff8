"""The real Prometheus, scraping what a test runs."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness.process import Daemon, free_port, start, wait_for


@dataclass
class Prometheus:
    """A running Prometheus. targets: job name -> URL of its metrics. ca_file: for those on HTTPS."""

    folder: Path
    targets: dict[str, str]
    ca_file: Path | None = None
    credentials_files: dict[str, Path] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    daemon: Daemon | None = None

    def __enter__(self) -> Prometheus:
        self.folder.mkdir(parents=True, exist_ok=True)
        jobs = []
        for name, url in self.targets.items():
            parts = urllib.parse.urlsplit(url)
            job: dict[str, Any] = {
                "job_name": name,
                "scheme": parts.scheme,
                "metrics_path": parts.path,
                "static_configs": [{"targets": [parts.netloc]}],
            }
            if parts.scheme == "https" and self.ca_file:
                job["tls_config"] = {"ca_file": str(self.ca_file)}
            if name in self.credentials_files:
                job["authorization"] = {"credentials_file": str(self.credentials_files[name])}
            jobs.append(job)
        # YAML takes JSON.
        config = self.folder / "prometheus.yml"
        config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
        self.daemon = start(
            "prometheus",
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
            ],
            log=self.folder / "prometheus.log",
            ready=self._ready,
            timeout=30,
        )
        return self

    def __exit__(self, *exc: object) -> None:
        if self.daemon:
            self.daemon.stop()

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:  # ours
            return str(answer.read().decode())

    def _ready(self) -> bool:
        try:
            return "Ready" in self._get("/-/ready")
        except OSError:
            return False

    def query(self, expression: str) -> dict[str, float]:
        """The instant vector of a PromQL expression: labels as text -> value."""
        document = json.loads(self._get("/api/v1/query?query=" + urllib.parse.quote(expression)))
        found = {}
        for sample in document["data"]["result"]:
            labels = ",".join(
                f"{k}={v}" for k, v in sorted(sample["metric"].items()) if k not in ("__name__", "instance")
            )
            found[labels] = float(sample["value"][1])
        return found

    def wait_scraped(self, timeout: float = 20.0) -> None:
        """Until every target has answered once."""
        wait_for(
            lambda: sum(self.query("up").values()) == len(self.targets), "Prometheus to reach all targets", timeout
        )

    def wait_value(self, expression: str, least: float, timeout: float = 20.0) -> float:
        """Until the sum of an expression is at least `least`; returns it."""
        values: list[float] = []

        def enough() -> bool:
            values[:] = [sum(self.query(expression).values())]
            return values[0] >= least

        wait_for(enough, f"{expression} to be at least {least}", timeout)
        return values[0]
