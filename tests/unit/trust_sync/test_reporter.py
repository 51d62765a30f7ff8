"""Reports to the operations service, over real TLS: what is repeated, what is given up, and what stays in the log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dane_radius.local import LogConfig, open_log
from tests.harness.trust_sync import WebServer
from tests.unit.trust_sync.test_log_tail import line, write
from trust_sync.reports import LiveSession, PositionFile, ReportClient, Reporter
from trust_sync.shared import OPERATIONS, OperationsConfig, Reporting
from trust_sync.worker.metrics import Metrics

DECISIONS, SESSIONS = "/v1/nodes/one/decisions", "/v1/nodes/one/sessions"
SESSION = LiveSession("u1", "a1.camera._device.example.net", "02-00", "192.0.2.1", "iot", "2026-11-25T19:00:00Z")


class Service:
    """What the service was sent, and how it answers: the last status repeats."""

    def __init__(self, server: WebServer) -> None:
        self.server, self.statuses = server, [200]
        self.batches: list[tuple[str, bytes]] = []
        self.sessions: list[Any] = []
        server.files[DECISIONS], server.files[SESSIONS] = self._decisions, self._sessions

    def _status(self) -> int:
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    async def _decisions(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == f"Bearer {self.server.api_key}"
        assert request.content_type == "application/x-ndjson"
        self.batches.append((request.headers["Batch-Id"], await request.read()))
        status = self._status()
        taken = self.batches[-1][1].count(b"\n")
        return web.json_response({"taken": taken, "skipped": 0} if status == 200 else {}, status=status)

    async def _sessions(self, request: web.Request) -> web.StreamResponse:
        self.sessions.append(await request.json())
        return web.json_response({}, status=self._status())


class Node:
    """A reporter with its files in `folder`. Another one in the same folder is a restart."""

    def __init__(self, folder: Path, server: WebServer) -> None:
        self.log_path, self.metrics = folder / "log", Metrics([OPERATIONS])
        self.live: list[LiveSession] | None = []
        config = OperationsConfig(
            url=f"https://localhost:{server.port}", api_key_file=str(server.key_file), ca_file=str(server.ca_file),
            node="one", report_interval=0.1,
        )  # fmt: skip
        self.client = ReportClient(config)
        log, _ = open_log(LogConfig(destination="none"))
        positions = PositionFile(folder / "state" / "decisions.json")
        reporting = Reporting(self.metrics.reports, log)
        path = str(self.log_path)
        self.reporter = Reporter(config, self.client, path, positions, self._sessions, 0.1, reporting)

    async def _sessions(self) -> list[LiveSession] | None:
        return self.live

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"trust_sync_{name}", labels) or 0.0

    async def run_until(self, done: Any) -> None:
        task = asyncio.create_task(self.reporter.run())
        try:
            async with asyncio.timeout(30):
                while not done():  # noqa: ASYNC110  # what a test waits for has no event
                    await asyncio.sleep(0.02)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with WebServer(tmp_path / "web", ["localhost"]) as server:
        yield Service(server)


async def test_decisions_are_sent_as_they_are_and_once(tmp_path: Path, service: Service) -> None:
    node = Node(tmp_path, service.server)
    write(node.log_path, *range(2500))
    await node.run_until(lambda: node.sample("decisions_reported_total") == 2500)
    assert b"".join(body for _, body in service.batches) == b"".join(line(n) + b"\n" for n in range(2500))
    assert max(body.count(b"\n") for _, body in service.batches) == 1000
    assert len({identifier for identifier, _ in service.batches}) == 3
    # A restart repeats at most what was under way, with the same identifier.
    write(node.log_path, 2500)
    again = Node(tmp_path, service.server)
    await again.run_until(lambda: service.batches[-1][1] == line(2500) + b"\n")
    assert len({identifier for identifier, _ in service.batches}) == 4


@pytest.mark.parametrize("status", [500, 503, 401, 403, 404, 429])
async def test_what_is_not_taken_stays_in_the_log_and_is_sent_again(
    tmp_path: Path, service: Service, status: int
) -> None:
    node = Node(tmp_path, service.server)
    service.statuses = [status, 200]
    write(node.log_path, 1)
    node.live = None
    await node.run_until(lambda: node.sample("decisions_reported_total") == 1)
    assert service.batches[0] == service.batches[1]
    assert node.sample("report_failures_total", report="decisions") == 1
    assert node.reporter.errors["decisions"] is None
    assert node.reporter.lost == 0


async def test_a_service_that_is_away_costs_no_memory_and_no_decision(tmp_path: Path, service: Service) -> None:
    node = Node(tmp_path, service.server)
    service.server.stop()
    write(node.log_path, *range(5000))
    await node.run_until(lambda: node.reporter.errors["decisions"] and node.reporter.errors["sessions"])
    assert node.sample("decisions_reported_total") == 0
    with WebServer(tmp_path / "web2", ["localhost"], port=service.server.port) as server:
        back, again = Service(server), Node(tmp_path, server)
        await again.run_until(lambda: again.sample("decisions_reported_total") == 5000)
        assert sum(body.count(b"\n") for _, body in back.batches) == 5000


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_what_will_never_be_taken_is_counted_and_passed_by(tmp_path: Path, service: Service, status: int) -> None:
    node = Node(tmp_path, service.server)
    node.live = None
    service.statuses = [status, 200]
    write(node.log_path, 1, 2)

    def saved() -> bool:
        position = PositionFile(tmp_path / "state" / "decisions.json").load()
        return position is not None and position.lost == 2

    await node.run_until(saved)
    write(node.log_path, 3)
    again = Node(tmp_path, service.server)
    again.live = []
    await again.run_until(lambda: service.sessions and again.sample("decisions_reported_total"))
    assert service.batches[-1][1] == line(3) + b"\n"


async def test_sessions_are_sent_as_a_whole_when_they_change(tmp_path: Path, service: Service) -> None:
    node = Node(tmp_path, service.server)
    await node.run_until(lambda: service.sessions)
    assert service.sessions == [{"sessions": [], "lost": {"decisions": 0}}]
    service.sessions.clear()
    again = Node(tmp_path, service.server)
    again.live = [SESSION]
    polled = 0

    async def count() -> list[LiveSession] | None:
        nonlocal polled
        polled += 1
        return again.live

    again.reporter._sessions = count
    await again.run_until(lambda: polled > 5)
    assert [sent["sessions"] for sent in service.sessions] == [[json.loads(json.dumps(vars(SESSION)))]]


async def test_sessions_that_cannot_be_read_are_not_sent_as_none(tmp_path: Path, service: Service) -> None:
    node = Node(tmp_path, service.server)
    node.live = None
    write(node.log_path, 1)
    await node.run_until(lambda: node.sample("decisions_reported_total") == 1)
    assert service.sessions == []
