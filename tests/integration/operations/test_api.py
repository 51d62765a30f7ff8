"""The API on SQLite and on PostgreSQL: standings, approvals, inventory, feed, SCIM."""

from __future__ import annotations

import datetime as dt
import json
import threading
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from operations.cli import main
from tests.harness.process import wait_for
from tests.integration.iot_registry.parts import Answer
from tests.integration.operations.parts import Service

pytestmark = pytest.mark.daemons

EXTENSION = "urn:dane-operations:scim:schemas:1.0:Device"


def line(name: str, **fields: Any) -> dict[str, Any]:
    """The log line of an admission."""
    return {
        "verdict": "accept",
        "reason": "dane_match",
        "name": name,
        "rule": "cameras",
        "evidence": {"zone": "appliance"},
        "station": "02-00-00-00-00-01",
        "nas": "ap-1",
        "ssid": "Home",
        "timestamp": dt.datetime.now(dt.UTC).isoformat(),
        "event": "decision",
        **fields,
    }


def position(service: Service) -> int:
    return int(service.api("GET", "/v1/snapshot").json["seq"])


def changes(service: Service, since: int, wait: int = 0) -> list[Any]:
    return list(service.api("GET", f"/v1/changes?since={since}&wait={wait}").json["changes"])


def test_a_quarantine_reaches_a_waiting_follower_and_ends_by_itself(service: Service) -> None:
    name, since = "q1.camera._device.example.net", position(service)
    found: list[Answer] = []
    thread = threading.Thread(target=lambda: found.append(service.api("GET", f"/v1/changes?since={since}&wait=25")))
    thread.start()
    waiting = b"\ndane_operations_feed_consumers 1"
    wait_for(lambda: waiting in service.curl("/metrics").body, "the poll to wait")
    answer = service.quarantine(name, reason="scans", seconds=2, then="watched", zone="quarantine")
    assert (answer.status, answer.json["standing"], answer.json["changed"]) == (200, "quarantined", True)
    thread.join(20)
    first = found[0].json
    assert [(event["name"], event["standing"]) for event in first["changes"]] == [(name, "quarantined")]
    assert first["origin"] == service.api("GET", "/v1/snapshot").json["origin"]
    wait_for(lambda: changes(service, first["next"], 5), "the end of the quarantine")
    (event,) = changes(service, first["next"])
    assert (event["standing"], event["by"]) == ("watched", "system:expiry")
    assert service.standing(name) == "watched"
    history = service.api("GET", f"/v1/devices/{name}/history").json["entries"]
    assert [entry["standing"] for entry in history] == ["watched", "quarantined"]


def test_a_change_by_a_command_beside_the_server_is_told_too(service: Service) -> None:
    since = position(service)
    service.run("block", "q2.camera._device.example.net", "--reason", "stolen")
    assert [event["standing"] for event in changes(service, since, 10)] == ["blocked"]


def test_no_number_is_skipped_by_changes_at_the_same_time(service: Service) -> None:
    """Followers see every number, in order, while many write."""
    since = position(service)
    seen: list[int] = []
    done = threading.Event()

    def follow() -> None:
        at = since
        while len(seen) < 24 and not done.is_set():
            answer = service.api("GET", f"/v1/changes?since={at}&wait=5").json
            seen.extend(event["seq"] for event in answer["changes"])
            at = answer["next"]

    follower = threading.Thread(target=follow)
    follower.start()

    def write(number: int) -> None:
        for count in range(4):
            service.quarantine(f"w{number}-{count}.example.net")

    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    follower.join(60)
    done.set()
    assert seen == list(range(since + 1, since + 25))


def test_a_monitor_quarantines_and_a_person_releases(service: Service) -> None:
    name, key = "q3.camera._device.example.net", service.key("standing:quarantine")
    path = f"/v1/devices/{name}"
    assert service.api("PUT", f"{path}/standing", {"standing": "quarantined"}, key=key).status == 200
    for method, tail, body in (
        ("POST", "/release", {"reason": "fine"}),
        ("PUT", "/standing", {"standing": "normal", "reason": "fine"}),
        ("PUT", "/standing", {"standing": "watched"}),
        ("PUT", "/approval", {"approved": True}),
    ):
        assert service.api(method, path + tail, body, key=key).status in (403, 409)
    assert service.standing(name) == "quarantined"
    assert service.api("POST", f"{path}/release", {"reason": "new firmware"}).json["standing"] == "normal"


def test_a_monitor_chooses_no_zone_and_announces_no_block(service: Service) -> None:
    path, key = "/v1/devices/z1.camera._device.example.net/standing", service.key("standing:quarantine")
    for body in (
        {"standing": "quarantined", "zone": "appliance"},
        {"standing": "watched", "seconds": 1, "then": "blocked"},
    ):
        answer = service.api("PUT", path, body, key=key)
        assert (answer.status, answer.json["reason"]) == (403, "not-permitted")
        assert service.api("PUT", path, body).status == 200


def test_a_restore_is_told_to_followers(sqlite_service: Service) -> None:
    """Said by the command, or noticed by the service that runs while the database goes back."""
    service = sqlite_service
    service.quarantine("restored.example.net")
    first = service.api("GET", "/v1/snapshot").json
    assert service.json("restored", "--reason", "disk replaced")["before"] == first["origin"]
    second = service.api("GET", f"/v1/changes?since={first['seq'] - 1}").json
    assert second["origin"] != first["origin"]
    wait_for(lambda: json.loads(memory(service))["origin"] == second["origin"], "the service to remember", timeout=30)
    # What it remembers is beyond what the database has: a backup was put in its place.
    (service.state / "feed-position.json").write_text(json.dumps({"origin": second["origin"], "seq": 2**40}))
    wait_for(
        lambda: service.api("GET", "/v1/snapshot").json["origin"] != second["origin"], "another origin", timeout=30
    )
    assert "database.restored" in service.log.read_text()


def memory(service: Service) -> str:
    return (service.state / "feed-position.json").read_text()


def test_the_whole_way_of_a_new_device(service: Service) -> None:
    """It is admitted to the waiting zone, a person is asked, answers, and the followers are told."""
    name, since = "n1.camera._device.maker.example", position(service)
    key = service.key("node:write", node="radius-1")
    waiting = line(name, evidence={"zone": "waiting", "standing": "pending"})
    assert service.report("n1", waiting, key=key).json == {"taken": 1, "skipped": 0}
    (question,) = [q for q in service.api("GET", "/v1/approvals").json["questions"] if q["name"] == name]
    assert (question["maker"], question["type"], question["place"]) == ("maker.example", "camera", "home")
    answered = service.api("POST", f"/v1/approvals/{name}", {"answer": "always"})
    assert answered.json["closed"] == [name]
    assert {(event["subject"], event["name"]) for event in changes(service, since)} == {
        ("device", name),
        ("maker", "maker.example"),
    }
    assert service.report("n1", waiting, key=key, node="radius-2").status == 403


def test_reports_fill_the_inventory_once(service: Service) -> None:
    name = "i1.camera._device.example.net"
    for _ in range(2):
        assert service.report("i1", line(name), {"junk": 1}).json == {"taken": 1, "skipped": 1}
    report = {"sessions": [{"id": "s1", "name": name, "since": "2026-11-25T10:00:00Z"}], "lost": {"decisions": 4}}
    assert service.api("POST", "/v1/nodes/radius-1/sessions", report).json == {"taken": 1, "skipped": 0}
    device = service.api("GET", f"/v1/devices/{name}").json
    assert (device["admissions"], device["zone"], device["online"]) == (1, "appliance", True)
    assert name in [
        found["name"] for found in service.api("GET", "/v1/devices?zone=appliance&online=1").json["devices"]
    ]
    (node,) = [found for found in service.api("GET", "/v1/nodes").json["nodes"] if found["name"] == "radius-1"]
    assert node["lost"] == 4


def test_a_batch_as_large_as_it_may_be(service: Service) -> None:
    """Near 1 MB of a thousand devices is taken; one octet more than 1 MB is not."""
    lines = [line(f"b{number}.camera._device.example.net", detail="x" * 700) for number in range(1000)]
    answer = service.report("large", *lines)
    assert answer.json == {"taken": 1000, "skipped": 0}
    assert service.report("too-large", *lines, *lines).status == 413
    assert service.api("GET", "/v1/devices/b999.camera._device.example.net").json["admissions"] == 1


def test_scim(service: Service) -> None:
    media = "application/scim+json"
    wanted = {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Device", EXTENSION],
        "displayName": "Door",
        "active": True,
        EXTENSION: {"name": "s1.camera._device.example.net", "approved": True},
    }
    made = service.api("POST", "/scim/v2/Devices", wanted, media=media)
    assert made.status == 201
    assert made.headers["content-type"].startswith(media)
    location = made.headers["location"].removeprefix(service.url)
    assert service.api("GET", location).json["displayName"] == "Door"
    again = service.api("POST", "/scim/v2/Devices", wanted, media=media)
    assert (again.status, again.json["scimType"], again.json["status"]) == (409, "uniqueness", "409")
    patch = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": "active", "value": False}],
    }
    assert service.api("PATCH", location, patch, media=media).json["active"] is False
    assert service.standing("s1.camera._device.example.net") == "blocked"
    listed = service.api("GET", "/scim/v2/Devices?filter=displayName%20eq%20%22door%22").json
    assert (listed["totalResults"], listed["Resources"][0]["active"]) == (1, False)
    text = f'{EXTENSION}:standing eq "blocked" and active eq false and {EXTENSION}:approved eq false'
    both = f'{EXTENSION}:proven eq true and {EXTENSION}:lastSeen lt "2020-01-01T00:00:00Z" or displayName pr'
    for found in (text, both):
        listed = service.api("GET", f"/scim/v2/Devices?filter={quote(found)}").json
        assert "Door" in [device.get("displayName") for device in listed["Resources"]]
    bad = service.api("GET", "/scim/v2/Devices?filter=color%20eq%201")
    assert (bad.status, bad.json["scimType"]) == (400, "invalidFilter")
    assert service.api("DELETE", location).status == 204
    assert service.api("GET", location).status == 404
    assert service.standing("s1.camera._device.example.net") == "blocked"
    for path in ("ServiceProviderConfig", "Schemas", "ResourceTypes", f"Schemas/{EXTENSION}", "ResourceTypes/Device"):
        assert service.curl(f"/scim/v2/{path}").status == 200
    assert service.api("GET", "/scim/v2/Devices", key="dok_x").json["status"] == "401"


def test_the_same_by_commands_at_a_url(service: Service) -> None:
    key = service.folder / "admin.key"
    key.write_text(service.admin)
    key.chmod(0o600)
    name = "r1.camera._device.example.net"

    def run(*arguments: str, code: int = 0) -> Any:
        remote = ["--url", service.url, "--key-file", str(key), "--ca-file", str(service.anchor), "--json"]
        # In this process: starting each of these commands would take most of the time.
        done = CliRunner().invoke(main, [*arguments, *remote])
        assert done.exit_code == code, done.output
        return json.loads(done.stdout) if code == 0 else " ".join(done.output.split())

    assert run("quarantine", name, "--for", "1h", "--reason", "ids")["standing"] == "quarantined"
    assert "unknown-zone" in run("quarantine", name, "--zone", "nowhere", code=1)
    assert run("release", name, "--reason", "checked")["standing"] == "normal"
    assert run("approve", name)["approved"]
    assert [entry["reason"] for entry in run("history", name)["entries"]] == ["answered yes", "checked", "ids"]
    service.report("r1", line(name))
    assert run("show", name)["admissions"] == 1
    assert name in [device["name"] for device in run("list", "--zone", "appliance", "--search", "r1.")["devices"]]
    assert run("questions")["questions"] == []
    assert run("status")["policy"]["error"] is None
    assert run("nodes")["nodes"]
    made = run("key", "add", "x", "--scope", "feed:read")
    assert run("key", "revoke", made["key"]["id"])["revoked_at"]
    assert run("audit", "--limit", "1")["entries"]
    assert "not-found" in run("show", "nobody.example.net", code=1)
