"""The Fetcher: only permitted addresses, only whole answers, and revalidation by entity tag."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from dane_radius.dns import tls_context
from tests.harness.trust_sync import WebServer
from trust_sync.discovery.fetch import Fetcher, FetchFailed, max_age
from trust_sync.discovery.reasons import FetchProblem
from trust_sync.shared import Config


async def test_a_name_that_changes_its_mind_gains_nothing(tmp_path: Path) -> None:
    """DNS rebinding: connections go to the addresses that were checked, which come from a single lookup."""
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
        # The name now leads to a refused address. No connection is made.
        with pytest.raises(FetchFailed) as caught:
            await fetcher.get("host.example", "/f")
        assert caught.value.problem is FetchProblem.ADDRESS_REFUSED
        assert server.requests == ["/f"]


async def test_what_has_not_changed_is_not_sent_again(tmp_path: Path) -> None:
    """RFC 9110 section 13.1.2: the request has the entity tag. With another tag, or none, the whole file is sent."""
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
    # A 304 without a conditional request is refused.
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


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", None), ("max-age=300", 300), ('public, Max-Age="60"', 60), ("no-store", 0), ("no-cache, max-age=9", 0),
     ("max-age=-1", None), ("max-age=99999999999", None), ("s-maxage=5", None)],
)  # fmt: skip
def test_cache_control(header: str, seconds: float | None) -> None:
    assert max_age(header) == seconds
