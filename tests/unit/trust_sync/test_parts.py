"""Configuration, state, limits, the control protocol, hints, and requests to NASes, without daemons."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dane_radius.local.config import ConfigError
from dane_radius.local.rate_limits import RateLimiter, RecentlySeen
from dane_radius.server.hint import Hinter, HintLimits, HintResult, claimed_name
from policy import parse_policy
from tests.harness.deploy import REPOSITORY
from tests.harness.trust_sync import WebServer
from tests.unit.trust_sync.nas import Nas
from trust_sync.config import Config, NasConfig, check, read_secret
from trust_sync.disconnect import Disconnector, NasDirectory
from trust_sync.fetch import Fetcher, FetchFailed, FetchProblem, tls_context
from trust_sync.radius import Result, build_request, identifications
from trust_sync.sessions import Session
from trust_sync.standing import Cause
from trust_sync.state import Evidence, FeedPosition, PendingEnd, State, StateFile

SESSION = Session("u1", "0123456789ABCDEF", "a1._device.example.net", "127.0.0.1", "02-00-00-00-00-01")
POLICY = parse_policy(
    b"version: 1\nrules:\n  - {name: bad, identity: ['*.bad._device.example.net'], deny: true}\n"
    b"  - {name: good, identity: ['**.example.net'], grant: {vlan: 1}}\n"
)

# configuration

MISTAKES = {
    "discovery.rate: 0 found": {"discovery": {"rate": 0}},
    "discovery.allow_networks: '10.0.0.1/8': an IP address or network": {
        "discovery": {"allow_networks": ["10.0.0.1/8"]}
    },
    "discovery: refresh_min 100 is more than refresh_max 10": {
        "discovery": {"refresh_min": 100.0, "refresh_max": 10.0}
    },
    "nas.0: either secret or secret_file is expected": {"nas": [{"address": "10.0.0.1"}]},
    "sessions.database: sqlite:///PATH or postgresql": {"sessions": {"database": "mysql://x"}},
    "surprise: unknown key": {"surprise": 1},
    "registry.0.url: an https:// URL": {
        "registry": [{"name": "r", "url": "http://r.example", "api_key_file": "k", "domains": ["example.net"]}]
    },
    "registry.0.domains: nothing found": {"registry": [{"name": "r", "url": "https://r", "api_key_file": "k"}]},
    "overlaps with example.net of 'r'": {
        "registry": [
            {"name": n, "url": "https://r.example", "api_key_file": "k", "domains": [d]}
            for n, d in (("r", "example.net"), ("s", "iot.example.net"))
        ]
    },
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_in_the_configuration_is_named(message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(MISTAKES[message], "trust-sync.toml")
    assert str(caught.value).startswith("trust-sync.toml: ")
    assert message in str(caught.value)


def test_a_secret_is_never_shown_in_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        check({"nas": [{"address": "10.0.0.1", "secret": 12345678}]}, "f")
    assert "12345678" not in str(caught.value)


def test_a_secret_file_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("s3cret\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="lets everybody read it"):
        read_secret(str(path), "nas.secret_file")
    path.chmod(0o640)
    assert read_secret(str(path), "nas.secret_file") == "s3cret"


# state


def test_the_state_survives(tmp_path: Path) -> None:
    state = State(
        {"home": FeedPosition(7, 1.0, 2.0, 3, "x")},
        {"a": Evidence(["f" * 64], 5.0)},
        {"f" * 64 + " _device.example.net": 7.0},
        {"u1": PendingEnd(SESSION, Cause.ABSENT, 1.0, 2.0, 3, "silent", "7")},
        {"a": ["3 1 1 00"]},
    )
    file = StateFile(tmp_path / "sub" / "state.json")
    file.save(state.to_json())
    assert StateFile(tmp_path / "sub" / "state.json").load() == state
    assert (tmp_path / "sub" / "state.json").stat().st_mode & 0o777 == 0o600


def test_what_is_saved_does_not_change_while_it_is_written() -> None:
    """It is encoded in a thread."""
    state = State(
        {"home": FeedPosition(7)}, {"a": Evidence(["f" * 64], 5.0)}, {"x": 1.0},
        {"u1": PendingEnd(SESSION, Cause.ABSENT, 1.0, 2.0)}, {"a": ["3 1 1 00"]},
    )  # fmt: skip
    saved = state.to_json()
    before = json.dumps(saved)
    state.feeds["home"].seq = 8
    state.evidence["a"].fingerprints.append("e" * 64)
    state.unbacked["y"] = 2.0
    state.pending["u1"].due = 9.0
    state.records["b"] = []
    for part in (state.feeds, state.evidence, state.pending, state.records):
        part.clear()
    assert json.dumps(saved) == before


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"version": 1}', '{"version": 2}', '{"version":2,"feeds":[]}']
)
def test_a_damaged_state_is_put_aside_and_costs_only_a_synchronization(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    file = StateFile(path)
    assert file.load() == State()
    assert file.problem
    assert (tmp_path / "state.json.damaged").read_text() == text


# limits


def test_rates_hold_for_each_key_and_in_all() -> None:
    limiter = RateLimiter(10, 2)
    assert [limiter.allow("a", 0.0) for _ in range(4)] == [True, True, False, False]
    assert sum(limiter.allow(f"k{n}", 0.0) for n in range(50)) == 8
    assert limiter.allow("a", 1.0)
    # A clock that steps back gives nothing away.
    assert sum(limiter.allow("a", 0.5) for _ in range(9)) <= 1


def test_random_keys_do_not_fill_the_memory() -> None:
    limiter, recent = RateLimiter(1e9, 1.0, max_keys=100), RecentlySeen(60, max_keys=100)
    for number in range(10_000):
        limiter.allow(str(number), 0.0)
        recent.add(str(number), 0.0)
    assert len(limiter._buckets) <= 100
    assert len(recent) <= 100
    assert ("9999", 59.0) in recent
    assert ("9999", 61.0) not in recent


# hints

NAMES = {
    "a1._device.example.net": "a1._device.example.net",
    "A1._Device.Example.NET.": "a1._device.example.net",
    "anonymous@a1._device.example.net": "a1._device.example.net",
    "@a1._device.example.net": "a1._device.example.net",
    "a@b@c.example.net": "c.example.net",
    "host": None,
    "": None,
    "@": None,
    "10.0.0.1": None,
    "*.example.net": None,
    "a\0b.example.net": None,
    "\udcff.example.net": None,
    "x" * 300 + ".example.net": None,
    "user@": None,
}


@pytest.mark.parametrize("identity", NAMES)
def test_what_an_identity_claims(identity: str) -> None:
    assert claimed_name(identity) == NAMES[identity]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[[bytes | None], str]]:
    """A socket that gives one fixed answer to everybody; None: it never answers."""
    stop: list[socket.socket] = []

    def serve(answer: bytes | None) -> str:
        path = tmp_path / f"w{len(stop)}.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(16)
        stop.append(listener)
        held: list[socket.socket] = stop

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    held.append(connection)
                    if answer is not None:
                        connection.recv(4096)
                        connection.sendall(answer)
                        connection.close()

        threading.Thread(target=run, daemon=True).start()
        return str(path)

    yield serve
    for item in stop:
        with contextlib.suppress(OSError):
            item.shutdown(socket.SHUT_RDWR)
        item.close()


def hinter(path: str, **limits: float) -> Hinter:
    return Hinter(path, HintLimits(**{"wait": 0.1, **limits}), lambda name: name.startswith("held"))


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (b'{"ok": true, "state": "found", "reason": "installed"}\n', HintResult.FOUND),
        (b'{"ok": true, "state": "refused", "reason": "tlsa_absent"}\n', HintResult.REFUSED),
        (b'{"ok": true, "state": "surprise"}\n', HintResult.UNAVAILABLE),
        (b'{"ok": true}\n', HintResult.UNAVAILABLE),
        (b'{"ok": false, "error": "x"}\n', HintResult.UNAVAILABLE),
        (b"garbage\n", HintResult.UNAVAILABLE),
        (b"", HintResult.UNAVAILABLE),
        (b"x" * 200_000 + b"\n", HintResult.UNAVAILABLE),
        (None, HintResult.PENDING),
    ],
)
async def test_a_hint_survives_any_worker(
    worker: Callable[[bytes | None], str], answer: bytes | None, result: HintResult
) -> None:
    found = await hinter(worker(answer)).send("a1._device.example.net")
    assert found is result or (answer and len(answer) > 100_000 and found is HintResult.PENDING)


async def test_what_needs_no_hint_sends_none(tmp_path: Path) -> None:
    quiet = hinter(str(tmp_path / "nobody.sock"))
    assert quiet.choose("x", POLICY) is HintResult.NO_NAME
    assert quiet.choose("a1._device.example.org", POLICY) is HintResult.NO_POLICY
    assert quiet.choose("a1.bad._device.example.net", POLICY) is HintResult.NO_POLICY
    assert quiet.choose("held._device.example.net", POLICY) is HintResult.HELD
    assert quiet.choose("a1._device.example.net", POLICY) == "a1._device.example.net"
    assert await quiet.send("a1._device.example.net") is HintResult.UNAVAILABLE
    # Not again so soon.
    assert quiet.choose("a1._device.example.net", POLICY) is HintResult.LIMITED


async def test_a_flood_of_hints_is_limited_and_a_silent_worker_is_not_waited_for(
    worker: Callable[[bytes | None], str],
) -> None:
    limits = HintLimits(wait=0.05, rate=1000, rate_per_domain=10)
    flooded = Hinter(worker(None), limits, lambda name: False, clock=lambda: 0.0)
    chosen = [flooded.choose(f"a{n}._device.example.net", POLICY) for n in range(100)]
    assert chosen.count(HintResult.LIMITED) == 90
    async with asyncio.timeout(10):
        assert await flooded.send("a1._device.example.net") is HintResult.PENDING


# requests to NASes


def test_what_identifies_a_session_is_what_hostapd_takes() -> None:
    for way in identifications(SESSION):
        assert set(way) <= {"Acct-Session-Id", "NAS-IP-Address", "NAS-IPv6-Address", "Calling-Station-Id"}
        octets = build_request(40, way, b"s", 1_700_000_000).octets
        types, offset = [], 20
        while offset < len(octets):
            types.append(octets[offset])
            offset += octets[offset + 1]
        # RFC 5176: identification, Event-Timestamp, Message-Authenticator, and nothing else.
        assert set(types) <= {4, 31, 44, 55, 80, 95}
        assert {55, 80} <= set(types)


@pytest.mark.parametrize(
    ("replies", "result", "requests"),
    [
        ([None], Result.ACK, 1),
        ([503], Result.GONE, 1),
        ([403, None], Result.ACK, 2),
        ([401, 401, None], Result.ACK, 3),
        ([401], Result.NAK, 3),
        ([501], Result.NAK, 1),
        ([504], Result.NAK, 1),
    ],
)
async def test_what_the_nas_says_is_understood(replies: list[int | None], result: Result, requests: int) -> None:
    with Nas(replies) as nas:
        reply = await nas.disconnector().end(SESSION)
    assert reply.result is result
    assert len(nas.requests) == requests


async def test_retransmissions_are_the_same_octets() -> None:
    with Nas([None], drop=2) as nas:
        reply = await nas.disconnector().end(SESSION)
    assert reply.result is Result.ACK
    assert len(nas.requests) == 3
    assert len(set(nas.requests)) == 1


async def test_silence_and_wrong_secrets_are_silence() -> None:
    with Nas([None], drop=99) as nas:
        assert (await nas.disconnector().end(SESSION)).result is Result.SILENT
    # The NAS signs with another secret: its answer is no answer.
    with Nas([None], secret=b"other") as nas:
        assert (await nas.disconnector().end(SESSION)).result is Result.SILENT


async def test_a_nas_without_a_secret_is_said_so() -> None:
    reply = await Disconnector(NasDirectory([]), 0.1, 1, lambda: 0.0).end(SESSION)
    assert reply.result is Result.UNKNOWN_NAS
    assert not reply.result.over


def test_the_longest_prefix_has_the_secret() -> None:
    entries = [NasConfig(address=a, secret=a) for a in ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3")]
    directory = NasDirectory.from_config(entries, [("10.1.2.4", "row"), ("nas.example", "x")])
    found = [directory.find(a) for a in ("10.1.2.3", "10.1.2.4", "10.1.9.9", "10.9.9.9", "11.0.0.1", "nas.example")]
    assert [nas.secret.decode() if nas else None for nas in found] == [
        "10.1.2.3", "row", "10.1.0.0/16", "10.0.0.0/8", None, None,
    ]  # fmt: skip
    assert "row" not in repr(found)


# fetching


async def test_a_name_that_changes_its_mind_gains_nothing(tmp_path: Path) -> None:
    """DNS rebinding: the addresses that are connected to are the ones that were checked, from one look-up."""
    allowed = Config.model_validate({"discovery": {"allow_networks": ["127.0.0.2/32"]}}).discovery.allowed
    answers = [["127.0.0.2"], ["127.0.0.1"]]
    asked: list[str] = []

    async def lookup(host: str) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    with WebServer(tmp_path / "web", ["host.example"], {"/f": b"public"}, address="127.0.0.2") as server:
        fetcher = Fetcher(lookup, tls_context(str(server.ca_file)), 5.0, 1000, allowed, server.port)
        assert (await fetcher.get("host.example", "/f")).body == b"public"
        assert asked == ["host.example"]
        # It now points inwards: nothing is connected to.
        with pytest.raises(FetchFailed) as caught:
            await fetcher.get("host.example", "/f")
        assert caught.value.problem is FetchProblem.ADDRESS_REFUSED
        assert server.requests == ["/f"]


async def test_what_has_not_changed_is_not_sent_again(tmp_path: Path) -> None:
    """RFC 9110 section 13.1.2: asked for by its entity tag; a new one, or none, means the whole file."""
    tag, seen = ['"one"'], []

    async def serve(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("If-None-Match"))
        headers = {"ETag": tag[0], "Cache-Control": f"max-age={len(seen)}"} if tag[0] else {}
        if tag[0] and request.headers.get("If-None-Match") == tag[0]:
            return web.Response(status=304, headers=headers)
        return web.Response(body=f"body of {tag[0]}".encode(), headers=headers)

    async def lookup(host: str) -> list[str]:
        return ["127.0.0.1"]

    allowed = Config.model_validate({"discovery": {"allow_networks": ["127.0.0.0/8"]}}).discovery.allowed
    with WebServer(tmp_path / "web", ["host.example"], {"/f": serve}) as server:
        fetcher = Fetcher(lookup, tls_context(str(server.ca_file)), 5.0, 1000, allowed, server.port)
        for _ in range(2):
            assert (await fetcher.get("host.example", "/f")).body == b'body of "one"'
        assert (await fetcher.get("host.example", "/f")).max_age == 3
        for new in ('"two"', ""):
            tag[0] = new
            for _ in range(2):
                assert (await fetcher.get("host.example", "/f")).body == f"body of {new}".encode()
    assert seen == [None, '"one"', '"one"', '"one"', '"two"', '"two"', None]
    # A 304 that nobody asked for is no answer.
    with WebServer(tmp_path / "odd", ["host.example"], {"/f": _not_modified}) as server:
        fetcher = Fetcher(lookup, tls_context(str(server.ca_file)), 5.0, 1000, allowed, server.port)
        with pytest.raises(FetchFailed) as caught:
            await fetcher.get("host.example", "/f")
        assert caught.value.problem is FetchProblem.REDIRECT


async def _not_modified(request: web.Request) -> web.StreamResponse:
    return web.Response(status=304)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "[::1]", "2130706433", "0x7f000001", "8.8.8.8"])
async def test_an_address_instead_of_a_name_is_refused(host: str) -> None:
    async def lookup(host: str) -> list[str]:
        raise AssertionError("an address must not be looked up")

    fetcher = Fetcher(lookup, tls_context(None), 1.0, 1000)
    with pytest.raises(FetchFailed) as caught:
        await fetcher.get(host, "/")
    assert caught.value.problem is FetchProblem.ADDRESS_REFUSED


def test_the_documented_configuration_is_a_good_one() -> None:
    text = (REPOSITORY / "docs" / "trust-sync.md").read_text().split("```toml\n")[1].split("```")[0]
    config = check(tomllib.loads(text), "docs/trust-sync.md")
    assert config.registry[0].domains == ["example.net"]
    # What stands there behind a # is the default, where it is a value at all.
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[] ").split("]")[0]
        match = re.match(r"# (\w+) = ([^#]+?)\s*(#.*)?$", line)
        if not match or match[1] in ("ca_file", "control_socket"):
            continue
        part: Any = {"registry": config.registry, "nas": config.nas}.get(section, [getattr(config, section, None)])[0]
        assert getattr(part, match[1]) == tomllib.loads(f"x = {match[2]}")["x"], line
