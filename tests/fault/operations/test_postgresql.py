"""PostgreSQL goes away in the middle of quarantines: an error, or kept, never both lost and acknowledged."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.fault.operations.client import Quarantiner
from tests.harness.process import wait_for
from tests.integration.iot_registry.parts import PostgreSQL
from tests.integration.operations.parts import Service

pytestmark = pytest.mark.daemons


def test_what_was_acknowledged_is_kept_when_the_database_crashes(tmp_path: Path) -> None:
    with PostgreSQL() as server, Service(tmp_path / "service", server.url).running() as service:
        acknowledged: list[str] = []
        for number in range(3):
            client = Quarantiner(service, f"p{number}")
            wait_for(lambda client=client: len(client.acknowledged) > 3, "some quarantines")  # type: ignore[misc]
            server.kill()
            wait_for(lambda client=client: client.refused, "an error", timeout=60)  # type: ignore[misc]
            assert service.curl("/health").status == 503
            assert b"\ndane_operations_database_up 0" in service.curl("/metrics").body
            client.stop()
            assert set(client.refused) == {503}
            acknowledged += client.acknowledged
            server.start()
            wait_for(service.healthy, "the service to reach the database again", timeout=60)
            told = service.api("GET", "/v1/snapshot").json
            names = {entry["name"] for entry in told["standing"] if entry["standing"] == "quarantined"}
            assert names >= set(acknowledged)
        # Followers that wait are told again, too.
        since = service.api("GET", "/v1/snapshot").json["seq"]
        found: list[int] = []

        def poll() -> None:
            found.extend(
                event["seq"] for event in service.api("GET", f"/v1/changes?since={since}&wait=25").json["changes"]
            )

        thread = threading.Thread(target=poll)
        thread.start()
        assert service.quarantine("after.example.net").status == 200
        thread.join(30)
        assert found == [since + 1]


def test_two_instances_on_one_database_tell_the_same(tmp_path: Path) -> None:
    with (
        PostgreSQL() as server,
        Service(tmp_path / "one", server.url).running() as one,
        Service(tmp_path / "two", server.url).running() as two,
    ):
        key = one.admin
        two.__dict__["admin"] = key
        clients = [Quarantiner(one, "one"), Quarantiner(two, "two")]
        wait_for(lambda: all(len(client.acknowledged) >= 20 for client in clients), "quarantines", timeout=60)
        for client in clients:
            client.stop()
        total = sum(len(client.acknowledged) for client in clients)
        first, second = (part.api("GET", "/v1/changes?since=0").json for part in (one, two))
        assert first == second
        assert [event["seq"] for event in first["changes"]] == list(range(1, first["next"] + 1))
        assert first["next"] >= total
        # Released at one, it is released at the other.
        name = clients[0].acknowledged[0]
        assert two.api("POST", f"/v1/devices/{name}/release", {"reason": "checked"}).status == 200
        assert one.standing(name) == "normal"
