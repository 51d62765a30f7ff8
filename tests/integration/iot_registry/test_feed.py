"""The change feed for its consumers: long poll, stream, resumption, deleted events."""

from __future__ import annotations

import datetime as dt
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.harness.process import wait_for
from tests.integration.iot_registry.parts import Answer, Registry, csr_text


def enrolled(registry: Registry, label: str) -> str:
    name, bundle = registry.add(label)
    answer = registry.enroll(bundle, csr_text(name).encode())
    if answer.status != 200:
        raise RuntimeError(f"enrolling {name}: {answer.body.decode()}")
    return name


class Stream:
    """curl reading server-sent events; `events` are the (event, data) pairs seen so far."""

    def __init__(self, registry: Registry, key: str, since: int, *more: str) -> None:
        command = ["curl", "-sSN", "--cacert", str(registry.anchor), "-H", "Accept: text/event-stream"]
        command += ["-H", f"Authorization: Bearer {key}", *more, f"{registry.url}/v1/changes?since={since}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.events: list[tuple[str, dict[str, object]]] = []
        self.heartbeats = 0
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        kind = ""
        assert self.process.stdout
        for line in self.process.stdout:
            field, _, value = line.rstrip("\n").partition(": ")
            if field == "event":
                kind = value
            elif field == "data":
                self.events.append((kind, json.loads(value)))
            elif field == "" and value == "heartbeat":
                self.heartbeats += 1

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.thread.join(10)
        assert self.process.stdout
        self.process.stdout.close()


@contextmanager
def stream(registry: Registry, key: str, since: int, *more: str) -> Iterator[Stream]:
    reader = Stream(registry, key, since, *more)
    try:
        yield reader
    finally:
        reader.close()


def test_a_stream_tells_everything_in_order_and_resumes_where_it_was(registry: Registry) -> None:
    key = registry.key("feed:read")
    since = registry.api("GET", "/v1/snapshot", key).json["seq"]
    with stream(registry, key, since) as first:
        name = enrolled(registry, "stream")
        registry.revoke(name)
        wait_for(lambda: len(first.events) == 2, "two events")
        last = first.events[0][1]["seq"]
    assert [kind for kind, _ in first.events] == ["device.added", "device.revoked"]
    assert all(data["name"] == name and data["domain"] == "home.example" for _, data in first.events)
    # What an event source sends when it reconnects.
    with stream(registry, key, since, "-H", f"Last-Event-ID: {last}") as second:
        wait_for(lambda: second.events, "the event after the first")
    assert [kind for kind, _ in second.events] == ["device.revoked"]


def test_a_change_made_by_another_process_is_told_too(registry: Registry) -> None:
    key = registry.key("feed:read")
    name = enrolled(registry, "elsewhere")
    since = registry.api("GET", "/v1/snapshot", key).json["seq"]
    with stream(registry, key, since) as reader:
        registry.run("device", "revoke", name)
        wait_for(lambda: reader.events, "the event")
    assert reader.events[0][1]["type"] == "device.revoked"


def test_a_long_poll_without_changes_answers_in_time_and_empty(registry: Registry) -> None:
    key = registry.key("feed:read")
    since = registry.api("GET", "/v1/snapshot", key).json["seq"]
    started = time.monotonic()
    answer = registry.api("GET", f"/v1/changes?since={since}&wait=1", key).json
    assert answer == {"changes": [], "next": since}
    print(f"long poll of 1 s answered after {time.monotonic() - started:.2f} s")


def test_history_starts_with_the_domain_and_its_anchor(registry: Registry) -> None:
    key = registry.key("feed:read")
    first, second = registry.api("GET", "/v1/changes?since=0", key).json["changes"][:2]
    assert (first["type"], second["type"]) == ("domain.added", "anchor.added")
    issuing = registry.curl("/v1/domains/home.example/provisioning").json["issuing_ca"]
    assert second["anchor"]["pem"] == issuing
    snapshot = registry.api("GET", "/v1/snapshot", key).json
    (own,) = [anchor for anchor in snapshot["anchors"] if anchor["domain"] == "home.example"]
    assert own["fingerprint"] == second["anchor"]["fingerprint"]


def test_a_revoked_key_ends_its_stream(sqlite_registry: Registry) -> None:
    registry = sqlite_registry
    key = registry.key("feed:read")
    since = registry.api("GET", "/v1/snapshot", key).json["seq"]
    with stream(registry, key, since) as reader:
        enrolled(registry, "before")
        wait_for(lambda: reader.events, "the first event")
        registry.run("key", "revoke", key.split("_")[1])
        enrolled(registry, "after")
        wait_for(lambda: reader.process.poll() is not None, "the stream to end")
    assert len(reader.events) == 1


class Poll:
    """A long poll by curl. `answer`: its result, once it has ended."""

    def __init__(self, registry: Registry, key: str, wait: int) -> None:
        self._waiting = registry.api("GET", "/v1/snapshot", key).json["seq"]
        self.answer: Answer | None = None
        self.seconds = 0.0
        self._thread = threading.Thread(target=self._run, args=(registry, key, wait))
        before = consumers(registry)
        self._thread.start()
        wait_for(lambda: consumers(registry) > before, "the poll to wait")

    def _run(self, registry: Registry, key: str, wait: int) -> None:
        begun = time.monotonic()
        since = self._waiting
        while True:
            path = f"/v1/changes?since={since}&wait={wait}"
            answer = registry.curl(path, "--max-time", "60", "-H", f"Authorization: Bearer {key}")
            if answer.status != 200 or not answer.json["changes"]:
                break
            # A late event of another test's device: the consumer continues from there.
            since = answer.json["next"]
        self.answer = answer
        self.seconds = time.monotonic() - begun

    def ended(self) -> Answer:
        self._thread.join(40)
        assert self.answer is not None
        return self.answer


def consumers(registry: Registry) -> float:
    metrics = registry.curl("/metrics").body.decode()
    return float(re.findall(r"^iot_registry_feed_consumers (\S+)", metrics, re.M)[0])


@pytest.mark.parametrize("how", ["command", "api"])
def test_a_revoked_key_ends_its_long_poll(registry: Registry, how: str) -> None:
    """At once, also by a command beside the server; the polls of other keys continue."""
    key, other = registry.key("feed:read"), registry.key("feed:read")
    beside = Poll(registry, other, 8)
    poll = Poll(registry, key, 60)
    identifier = key.split("_")[1]
    if how == "command":
        registry.run("key", "revoke", identifier)
    else:
        assert registry.api("DELETE", f"/v1/keys/{identifier}", registry.admin).status == 200
    answer = poll.ended()
    assert (answer.status, answer.json["reason"]) == (401, "unauthenticated")
    # Much less than the 60 s of the request.
    assert poll.seconds < 20
    unharmed = beside.ended()
    assert (unharmed.status, unharmed.json["changes"]) == (200, [])


def test_a_key_that_ends_ends_its_long_poll_and_stream(sqlite_registry: Registry) -> None:
    registry = sqlite_registry
    until = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=4)
    fields = {"label": "brief", "scopes": ["feed:read"], "expires_at": until.isoformat()}
    key = registry.api("POST", "/v1/keys", registry.admin, fields).json["secret"]
    poll = Poll(registry, key, 60)
    seq = registry.api("GET", "/v1/snapshot", key).json["seq"]
    with stream(registry, key, seq) as reader:
        assert poll.ended().status == 401
        assert poll.seconds < 20
        wait_for(lambda: reader.process.poll() is not None, "the stream to end", timeout=20)
