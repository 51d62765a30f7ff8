"""trust-sync as a process, and a web server with a registry's HTTPS interface, or with faults that a test chooses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import threading
from asyncio.trsock import TransportSocket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from dane_radius.local import ControlError, ask
from tests.harness.pki import Authority, Identity, authority
from tests.harness.process import Daemon, free_port, start

COMMAND = Path(sys.executable).with_name("trust-sync")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class WebServer:
    """A TLS server on `address`, in a thread of its own. `names`: the host names in its certificate.

    files: the body of each path, or a handler; both take precedence over the registry's interface. requests: the
    requested paths. batch: the most changes in one response.
    """

    folder: Path
    names: list[str]
    files: dict[str, bytes | Handler] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    api_key: str = "test-key-1"
    address: str = "127.0.0.1"
    batch: int = 1000

    def __post_init__(self) -> None:
        self.ca: Authority = authority("Web CA")
        self.identity: Identity = self.ca.issue(*self.names, eku=None, common_name=self.names[0])
        self.requests: list[str] = []
        self.changes: list[dict[str, Any]] = []
        self.anchors: list[dict[str, Any]] = []
        self.published: list[str] = []
        # Changes below this number are no longer available (status 410).
        self.horizon = 0
        self.broken_status: int | None = None
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._runner: web.AppRunner | None = None
        # By its socket, each connection with a request.
        self._connections: dict[TransportSocket, asyncio.Transport] = {}

    @property
    def ca_file(self) -> Path:
        return self.folder / "web-ca.pem"

    @property
    def key_file(self) -> Path:
        return self.folder / "api.key"

    @property
    def seq(self) -> int:
        return int(self.changes[-1]["seq"]) if self.changes else 0

    def start(self) -> WebServer:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca_file.write_bytes(self.ca.pem)
        self.key_file.write_text(self.api_key + "\n")
        self.key_file.chmod(0o600)
        self.identity.save(self.folder, "web")
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="web server")
        self._thread.start()
        if not started.wait(10):
            raise RuntimeError("the web server did not start")
        return self

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        started.set()
        self._loop.run_forever()
        if self._runner is not None:
            self._loop.run_until_complete(self._runner.cleanup())
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.run_until_complete(self._end_connections())
        self._loop.close()

    async def _end_connections(self) -> None:
        """A TLS connection that was closed still waits for its peer."""
        for transport in self._connections.values():
            # In CPython 3.11, a TLS transport that was closed twice cannot be aborted.
            with contextlib.suppress(AttributeError):
                transport.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while any(socket.fileno() != -1 for socket in self._connections):  # noqa: ASYNC110  # there is no event
                    await asyncio.sleep(0.01)

    async def _serve(self) -> None:
        app = web.Application(middlewares=[self._remember])
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.folder / "web.pem", self.folder / "web.key")
        await web.TCPSite(self._runner, self.address, self.port, ssl_context=context).start()

    @web.middleware
    async def _remember(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        transport = request.transport
        # A connection that the client has closed in the meantime has no socket.
        if transport is not None and (socket := transport.get_extra_info("socket")) is not None:
            self._connections[socket] = transport
        return await handler(request)

    def stop(self) -> None:
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._thread = None

    def __enter__(self) -> WebServer:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        found = self.files.get(request.path)
        if found is None and request.path.startswith("/v1/"):
            return await self._api(request)
        if found is None:
            return web.Response(status=404)
        if isinstance(found, bytes):
            return web.Response(
                body=found, content_type="application/x-pem-file", headers={"Cache-Control": "max-age=300"}
            )
        return await found(request)

    async def _api(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return web.json_response({"error": "unauthorized"}, status=401)
        if self.broken_status:
            return web.Response(status=self.broken_status)
        if request.path == "/v1/snapshot":
            return web.json_response({"seq": self.seq, "anchors": self.anchors, "names": self.published})
        since, wait = int(request.query["since"]), float(request.query.get("wait", "0"))
        if since < self.horizon or since > self.seq:
            return web.json_response({"error": "history_gone"}, status=410)
        if since == self.seq:
            self._changed.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                pass
            if self.broken_status:
                return web.Response(status=self.broken_status)
        # The numbers have no gaps.
        first = int(self.changes[0]["seq"]) if self.changes else 1
        found = self.changes[max(0, since + 1 - first) :][: self.batch]
        return web.json_response({"changes": found, "next": found[-1]["seq"] if found else self.seq})

    def announce(self, kind: str, *, name: str | None = None, domain: str = "", anchor: Identity | None = None) -> None:
        """Add a change to the feed."""
        change = {"seq": self.seq + 1, "time": "2026-01-01T00:00:00Z", "type": kind, "domain": domain, "name": name}
        change["anchor"] = anchor_json(anchor) if anchor else None
        self.changes.append(change)
        self._loop.call_soon_threadsafe(self._changed.set)

    def announce_all(self, kind: str, names: Iterable[str]) -> None:
        """Add a change for each name. Waiting polls are answered only after the last one."""
        for name in names:
            change = {"seq": self.seq + 1, "time": "2026-01-01T00:00:00Z", "type": kind, "domain": "", "name": name}
            self.changes.append({**change, "anchor": None})
        self._loop.call_soon_threadsafe(self._changed.set)

    def publish_ca(self, ca: Identity) -> str:
        """Publish a CA at its authority URL (draft-wilson-dane-pkix-cd section 3.5). Returns the path."""
        path = authority_path(ca)
        self.files[path] = ca.pem
        return path


def authority_path(ca: Identity) -> str:
    return f"/.well-known/ca/{ca.ski.hex('-')}.pem"


def anchor_json(anchor: Identity, domain: str | None = None) -> dict[str, Any]:
    data = {"fingerprint": anchor.fingerprint, "aki": anchor.ski.hex("-"), "pem": anchor.pem.decode()}
    return {"domain": domain, **data} if domain else data


@dataclass
class TrustSync:
    """The worker as an operator runs it. settings: further TOML, after the top-level keys."""

    folder: Path
    dane_radius: Path
    settings: str = ""
    metrics_port: int = field(default_factory=free_port)
    daemon: Daemon | None = None

    @property
    def config(self) -> Path:
        return self.folder / "trust-sync.toml"

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "trust-sync.sock"

    @property
    def log(self) -> Path:
        return self.folder / "trust-sync.log"

    @property
    def state_file(self) -> Path:
        return self.folder / "state" / "state.json"

    def write_config(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self.config.write_text(
            f'dane_radius = "{self.dane_radius}"\nstate = "{self.state_file}"\nsocket = "{self.socket}"\n'
            f"{self.settings}\n[metrics]\nport = {self.metrics_port}\n"
        )
        return self.config

    def start(self) -> TrustSync:
        self.write_config()
        self.daemon = start(
            "trust-sync", [COMMAND, "run", "--config", self.config], log=self.log, ready=self.answers, timeout=30
        )
        return self

    def stop(self) -> None:
        if self.daemon:
            self.daemon.stop()

    def __enter__(self) -> TrustSync:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def answers(self) -> bool:
        try:
            self.status()
        except ControlError:
            return False
        return True

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        return ask(str(self.socket), op, **fields)

    def status(self) -> dict[str, Any]:
        return self.ask("status")

    def events(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        if not self.log.exists():
            return []
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]
