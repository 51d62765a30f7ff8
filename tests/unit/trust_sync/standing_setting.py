"""The feed of an operations service whose answers a test chooses, over real TLS, and the journal that follows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiohttp import web

from dane_radius.local import LogConfig, StandingTable, open_log
from policy import DeviceStanding
from tests.harness.trust_sync import WebServer
from trust_sync.feeds import FeedPosition
from trust_sync.shared import OPERATIONS, OperationsConfig, Reporting, StandingNotice
from trust_sync.standing import ModuleSocket, StandingFeed, StandingJournal
from trust_sync.worker.metrics import Metrics

NAME, OTHER = "a1.camera._device.example.net", "b2.camera._device.example.net"
NOW = 1_790_000_000.0


def entry(name: Any = NAME, standing: Any = "quarantined", subject: Any = "device", **more: Any) -> dict[str, Any]:
    return {
        "subject": subject, "name": name, "standing": standing, "approved": False, "zone": None, "until": None,
        "then": "normal", "removed": False, **more,
    }  # fmt: skip


def change(seq: Any, name: Any = NAME, standing: Any = "quarantined", **more: Any) -> dict[str, Any]:
    kind = more.pop("type", "standing")
    return {"seq": seq, "type": kind, "time": "2026-01-01T00:00:00Z", **entry(name, standing, **more)}


class Heard:
    """A listener that records what it was told, and what counted before and after. applies: whether it can act."""

    def __init__(self, journal: StandingJournal) -> None:
        self.journal, self.applies = journal, True
        self.notices: list[StandingNotice] = []
        self.changes: list[tuple[str, str | None, str | None]] = []

    async def standing_changed(self, notice: StandingNotice) -> bool:
        self.notices.append(notice)
        for name in notice.names:
            found = self.journal.standings.of(name, NOW)
            self.changes.append((name, _word(notice.before(name, NOW)), _word(found)))
        return self.applies


def _word(found: DeviceStanding | None) -> str | None:
    return str(found.standing) if found is not None else None


class Setting:
    """A feed and its journal in `folder`. Each new setting of the same folder is a restart."""

    def __init__(self, folder: Path, server: WebServer, **options: Any) -> None:
        """options: of the configuration."""
        self.folder, self.server, self.metrics, self.saved = folder, server, Metrics([OPERATIONS]), 0
        self.journal = StandingJournal(folder)
        self.heard = Heard(self.journal)
        config = OperationsConfig(
            **{
                "url": f"https://localhost:{server.port}",
                "api_key_file": str(server.key_file),
                "ca_file": str(server.ca_file),
                "node": "one",
                **options,
            }
        )
        log, _ = open_log(LogConfig(destination="none"))
        self.position = FeedPosition(last_snapshot=NOW)
        self.now = NOW
        self.feed = StandingFeed(
            config,
            self.journal,
            ModuleSocket(None, log),
            self.heard,
            self.position,
            Reporting(self.metrics.standing, log),
            self._save,
            lambda: self.now,
        )

    async def _save(self) -> None:
        self.saved += 1

    def answer(self, path: str, body: Any) -> None:
        async def handle(_request: web.Request) -> web.StreamResponse:
            if isinstance(body, int):
                return web.Response(status=body)
            return web.Response(text=body if isinstance(body, str) else json.dumps(body))

        self.server.files[path] = handle

    def snapshot(self, *entries: Any, seq: Any = 10, origin: str | None = "one") -> None:
        head = {} if origin is None else {"origin": origin}
        self.answer("/snapshot", {**head, "seq": seq, "standing": list(entries)})

    async def begin(self, *entries: Any, seq: int = 10, origin: str | None = "one") -> None:
        self.snapshot(*entries, seq=seq, origin=origin)
        self.position.seq = None
        await self.feed.step(0)

    async def poll(self, *changes: Any, following: Any = None, origin: str | None = "one") -> None:
        head = {} if origin is None else {"origin": origin}
        following = following if following is not None else changes[-1]["seq"]
        self.answer("/changes", {**head, "changes": list(changes), "next": following})
        await self.feed.step(0)

    def standing(self, name: str = NAME) -> str | None:
        """What the module would see."""
        table = StandingTable(self.folder)
        table.refresh(paced=False)
        assert table.available, table.error
        assert table.error is None
        seen, held = table.of(name, self.now), self.journal.standings.of(name, self.now)
        assert seen == held
        return _word(seen)

    def kept(self) -> set[str]:
        return {item.name for item in self.journal.standings.entries() if item.kept}
