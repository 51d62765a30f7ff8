"""A service without daemons: database, policy file and settings in a temporary directory."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy.orm import Session

from operations.core.decisions import parse_batch
from operations.local.config import InventorySection
from operations.local.policy_file import PolicyFile
from operations.service import node_reports
from operations.service.access import Principal, Scope, local_principal
from operations.service.schemas import Taken
from operations.store import change_feed, migrate
from web_service.store import Database

NOW = dt.datetime(2026, 11, 25, 12, 0, tzinfo=dt.UTC)
WHO: Principal = local_principal("test")
IDS = Principal("key:ids", frozenset({Scope.STANDING_QUARANTINE}))
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

T = TypeVar("T")


@dataclass
class Bench:
    """What service functions need."""

    database: Database
    policy: PolicyFile
    path: Path
    limits: InventorySection

    def write(self, work: Callable[[Session], T]) -> T:
        with self.database.write() as session:
            return work(session)

    def read(self, work: Callable[[Session], T]) -> T:
        with self.database.read() as session:
            return work(session)

    def events(self, since: int = 0) -> list[dict[str, Any]]:
        return self.read(lambda s: change_feed.read_since(s, since).changes)

    def report(self, *lines: dict[str, Any], batch: str = "", node: str = "radius-1", now: dt.datetime = NOW) -> Taken:
        """What the node sends for these decisions."""
        text = [json.dumps(line).encode() for line in lines]
        parts = node_reports.Intake(self.policy, self.limits)
        identifier = batch or f"b{hash((tuple(text), now))}"
        found = parse_batch(text, now)
        return self.write(lambda s: node_reports.take_decisions(s, WHO, node, identifier, found, parts, now))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    database = Database(f"sqlite:///{tmp_path / 'operations.db'}")
    migrate.upgrade(database)
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    yield Bench(database, PolicyFile(path), path, InventorySection(unproven=5, open_questions=2))
    database.close()


def admitted(name: str = CAMERA, *, at: dt.datetime = NOW, station: str = "02-00-00-00-00-01", **fields: Any) -> Any:
    """The log line of an admission."""
    line = {
        "verdict": "accept",
        "reason": "dane_match",
        "name": name,
        "rule": "cameras",
        "detail": "3 1 1 matches",
        "evidence": {"zone": "appliance", "records": ["3 1 1 00ff"], "certificate": "SHA-256 00ff"},
        "station": station,
        "nas": "ap-1",
        "ssid": "Home",
        "timestamp": at.isoformat(),
        "event": "decision",
        "level": "info",
    }
    evidence = {**line["evidence"], **fields.pop("evidence", {})}  # type: ignore[dict-item]
    return {**line, **fields, "evidence": evidence}


def refused(name: str = CAMERA, *, at: dt.datetime = NOW, reason: str = "tlsa_mismatch", **fields: Any) -> Any:
    """The log line of a refusal."""
    line = admitted(name, at=at)
    return {**line, "verdict": "reject", "reason": reason, "detail": "no record matches", "evidence": {}, **fields}
