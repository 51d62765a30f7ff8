"""Connections end with their session, also those whose TLS shutdown is not complete."""

from __future__ import annotations

from pathlib import Path

from dane_radius.dns import tls_context
from tests.harness.trust_sync import WebServer
from trust_sync.shared import Connector, new_session


async def test_no_socket_outlives_its_session(tmp_path: Path) -> None:
    with WebServer(tmp_path, ["localhost"], files={"/large": b"x" * (8 << 20)}) as server:
        context = tls_context(str(server.ca_file))
        session = new_session(Connector(ssl=context, limit=2, force_close=True), 30.0)
        async with session.get(f"https://localhost:{server.port}/large") as response:
            assert response.connection is not None
            assert response.connection.transport is not None
            socket = response.connection.transport.get_extra_info("socket")
            await response.content.read(1)
        await session.close()
        assert socket.fileno() == -1
