"""A feed, and a registry whose answers a test chooses, over real TLS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiohttp import web

from dane_radius.local import LogConfig, Logger, open_log
from tests.harness.pki import Authority, authority
from tests.harness.trust_sync import WebServer, anchor_json
from trust_sync.anchors import AnchorStore
from trust_sync.feeds import FeedPosition, MemoryBudget
from trust_sync.registries import RegistryFeed
from trust_sync.shared import Notice, RegistryConfig, Reporting, Trigger
from trust_sync.worker.metrics import Metrics

DOMAIN = "example.net"


NAME = "a1._device.example.net"


ONE, TWO = authority("Registry CA one"), authority("Registry CA two")


class Heard:
    """A listener that only records notices."""

    def __init__(self) -> None:
        self.names: list[tuple[str, Trigger]] = []
        self.domains: list[tuple[str, Trigger]] = []
        self.defect = False

    async def notice(self, notice: Notice) -> None:
        if self.defect:
            raise RuntimeError("a defect")
        if notice.registry != "home":
            raise LookupError(notice.registry)
        self.names += notice.names.items()
        self.domains += notice.domains.items()


class Setting:
    """A feed, and a registry whose responses a test chooses by path: text, JSON or a status. The last one repeats."""

    def __init__(
        self,
        folder: Path,
        server: WebServer,
        log: Logger | None = None,
        budget: MemoryBudget | None = None,
        **options: Any,
    ) -> None:
        """options: of the registry's configuration."""
        self.server, self.heard, self.metrics = server, Heard(), Metrics(["home"])
        self.store, self.now = AnchorStore(folder / "anchors"), 1_790_000_000.0
        config = RegistryConfig(
            name="home",
            url=f"https://localhost:{server.port}",
            api_key_file=str(server.key_file),
            ca_file=str(server.ca_file),
            **{"domains": [DOMAIN], **options},
        )
        log = log or open_log(LogConfig(destination="none"))[0]
        self.position = FeedPosition()
        reporting = Reporting(self.metrics.registries, log)
        self.feed = RegistryFeed(
            config,
            self.store,
            self.heard,
            self.position,
            reporting,
            self.metrics.anchors,
            lambda: self.now,
            budget,
        )

    def answer(self, path: str, *bodies: Any) -> None:
        queue = list(bodies)

        async def handle(request: web.Request) -> web.StreamResponse:
            body = queue.pop(0) if len(queue) > 1 else queue[0]
            if isinstance(body, int):
                return web.Response(status=body)
            return web.Response(text=body if isinstance(body, str) else json.dumps(body))

        self.server.files[path] = handle

    def snapshot(self, *anchors: Any, seq: Any = 10) -> None:
        self.answer("/snapshot", {"seq": seq, "anchors": list(anchors), "names": []})

    async def begin(self, *anchors: Any) -> None:
        self.snapshot(*anchors)
        await self.feed.step(0)

    @property
    def held(self) -> set[str]:
        return set(self.store.held.records)

    def refused(self, reason: str) -> float:
        value = self.metrics.registry.get_sample_value("trust_sync_anchors_refused_total", {"reason": reason})
        if value is None:
            raise LookupError(reason)
        return value


class Registry(WebServer):
    """A registry whose responses all come from `files`."""

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/v1")
        self.requests.append(request.path_qs)
        handler = self.files[path]
        if isinstance(handler, bytes):
            raise TypeError("a handler is expected")
        return await handler(request)


def listed(ca: Authority, domain: str = DOMAIN) -> dict[str, Any]:
    return anchor_json(ca, domain)


def change(seq: Any, kind: str = "device.revoked", name: Any = NAME, **more: Any) -> dict[str, Any]:
    return {"seq": seq, "type": kind, "domain": DOMAIN, "name": name, "anchor": None, **more}
