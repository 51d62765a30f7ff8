"""What untrusted hints can make the worker do, with real DNS, TLS and sockets."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from aiohttp import web

from dane_radius.local import ask
from tests.harness.pki import Authority, Identity, authority, self_signed
from tests.harness.process import wait_for
from tests.harness.trust_sync import authority_path
from tests.integration.trust_sync.conftest import ZONE, Site

pytestmark = pytest.mark.daemons


def discover(site: Site, name: str) -> dict[str, object]:
    return site.sync.ask("discover", name=name, wait=10, timeout=15)


def device_of(site: Site, domain: str, ca: Authority, **options: object) -> tuple[str, Identity]:
    """A device whose certificate the DNS has as `4 0 0`, in an identity domain of the zone."""
    name = site.name(f"_{domain}")
    device = ca.issue(name, **options)  # type: ignore[arg-type]
    site.publish(name, device.tlsa(4, 0, 0))
    return name, device


@pytest.mark.parametrize("host", ["private", "linklocal", "loopsix", "mapped", "nat", "unique", "both"])
def test_a_host_that_is_not_public_is_not_connected_to(site: Site, host: str) -> None:
    ca = authority(f"CA of {host}")
    name, _ = device_of(site, host, ca)
    requests = len(site.web.requests)
    found = discover(site, name)
    assert (found["state"], found["reason"]) == ("refused", "address_refused")
    assert len(site.web.requests) == requests


def test_a_host_that_does_not_exist(site: Site) -> None:
    name, _ = device_of(site, "nohost", authority("CA of nowhere"))
    assert discover(site, name)["reason"] == "address_unavailable"


def test_redirects_are_not_followed(site: Site) -> None:
    ca = authority("Redirected CA")
    name, _ = device_of(site, "moved", ca)

    async def redirect(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": f"https://device.{ZONE}:{site.web.port}/elsewhere.pem"})

    site.web.files[authority_path(ca)] = redirect
    site.web.files["/elsewhere.pem"] = ca.pem
    assert discover(site, name)["reason"] == "redirect"
    assert "/elsewhere.pem" not in site.web.requests


def test_a_server_that_drips_is_left(site: Site) -> None:
    ca = authority("Slow CA")
    name, _ = device_of(site, "slow", ca)

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for octet in ca.pem:
            await response.write(bytes([octet]))
            await asyncio.sleep(0.05)
        return response

    site.web.files[authority_path(ca)] = drip
    began = time.monotonic()
    found = discover(site, name)
    print(f"left after {time.monotonic() - began:.2f} s")
    assert found["reason"] == "timeout"


@pytest.mark.parametrize("announced", [True, False])
def test_a_hundred_megabytes_are_not_read(site: Site, announced: bool) -> None:
    ca = authority(f"Big CA {announced}")
    name, _ = device_of(site, "big", ca)
    sent = 0

    async def big(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        if announced:
            response.content_length = 100_000_000
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b"A" * 100_000)
            sent += 100_000
            # Until the event loop notices that the connection is closed, writes are dropped.
            await asyncio.sleep(0)
        return response

    site.web.files[authority_path(ca)] = big
    # Failures of URLs and names are remembered, so each case has its own.
    assert discover(site, name)["reason"] == "too_large"
    assert sent < 10_000_000


def other_key() -> bytes:
    return authority("Somebody else").pem


WRONG = {
    "not a certificate": (lambda ca: b"<html>welcome</html>", "not_a_certificate"),
    "two certificates": (lambda ca: ca.pem * 2, "not_a_certificate"),
    "nothing": (lambda ca: b"", "not_a_certificate"),
    "somebody else's CA": (lambda ca: other_key(), "wrong_key_identifier"),
    "same key identifier, other key": (
        lambda ca: authority("Impostor", ski=ca.ski).pem,
        "wrong_signature",
    ),
    "CA:FALSE": (lambda ca: authority("No CA", key=ca.key, ca=False).pem, "not_a_ca"),
    "expired": (lambda ca: authority("Old", key=ca.key, days=0.01).pem, "expired"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_content_is_not_installed(site: Site, case: str) -> None:
    make, reason = WRONG[case]
    ca = authority(f"CA with {case}")
    name, _ = device_of(site, "wrong", ca)
    anchors = site.sync.status()["anchor_count"]
    site.web.files[authority_path(ca)] = make(ca)
    assert discover(site, name)["reason"] == reason
    assert site.sync.status()["anchor_count"] == anchors


def test_a_server_without_a_good_certificate_is_not_believed(site: Site) -> None:
    # The web server's certificate does not name this host.
    ca = authority("CA behind bad TLS")
    site.knot.send(_add(site, f"badtls.{ZONE}", "A", "127.0.0.1"))
    name, _ = device_of(site, "badtls", ca)
    site.web.publish_ca(ca)
    assert discover(site, name)["reason"] == "tls_failed"


def _add(site: Site, owner: str, rdtype: str, rdata: str) -> object:
    update = site.knot.update(ZONE)
    update.add(owner + ".", 60, rdtype, rdata)
    return update


@pytest.mark.parametrize("usage", [3, 4])
def test_a_certificate_for_another_name_is_not_installed(site: Site, usage: int) -> None:
    ca = authority(f"CA outside {usage}")
    site.web.publish_ca(ca)
    name = site.name("_device")
    other = ca.issue(f"victim._device.{ZONE}")
    name = site.name("_outside")
    site.publish(name, other.tlsa(usage, 0, 0))
    assert discover(site, name)["reason"] == "wrong_name"


def test_an_anchor_serves_its_own_domain_only(site: Site) -> None:
    ca = authority("Ambitious CA")
    name = site.name("_ambitious")
    site.publish(name, ca.tlsa(2, 0, 0))
    assert discover(site, name)["state"] == "found"
    records = [a for a in site.sync.status()["anchors"] if a["subject"] == "CN=Ambitious CA"]
    assert [record["domains"] for record in records] == [[f"_ambitious.{ZONE}"]]


def test_a_ca_false_certificate_as_usage_2_is_refused(site: Site) -> None:
    name = site.name("_cafalse")
    site.publish(name, authority("Not a CA", ca=False).tlsa(2, 0, 0))
    assert discover(site, name)["reason"] == "not_a_ca"


def test_a_ca_whose_name_another_domain_has_is_refused(site: Site) -> None:
    first, second = site.name("_first"), site.name("_second")
    site.publish(first, authority("Popular CA").tlsa(2, 0, 0))
    site.publish(second, authority("popular  CA").tlsa(2, 0, 0))
    assert discover(site, first)["state"] == "found"
    assert discover(site, second)["reason"] == "shadows"
    assert discover(site, first)["state"] == "known"


def test_a_failure_is_remembered_for_a_while_and_then_not(site: Site) -> None:
    name = site.name("_later")
    assert discover(site, name)["reason"] == "tlsa_absent"
    queries = site.unbound.queries_for(name)
    for _ in range(5):
        assert discover(site, name)["reason"] == "failed_recently"
    assert site.unbound.queries_for(name) == queries
    site.publish(name, self_signed(name).tlsa(3, 0, 0))
    wait_for(lambda: discover(site, name)["state"] == "found", "the name to be tried again", timeout=10, interval=0.3)


def test_a_flood_of_random_identities_is_bounded_and_others_are_unaffected(site: Site) -> None:
    """Many clients at once claim more names than the limits allow. A device of another domain is admitted meanwhile."""
    before = len(site.unbound.log.read_text().splitlines())
    results: list[str] = []
    lock = threading.Lock()

    def flood(client: int) -> None:
        for number in range(50):
            reply = ask(str(site.sync.socket), "discover", name=f"x{client}-{number}._flood.{ZONE}", wait=0)
            with lock:
                results.append(str(reply["reason"]))

    ca = authority("Healthy CA")
    name = site.name("_healthy")
    device = ca.issue(name)
    site.publish(name, ca.tlsa(2, 0, 0))
    threads = [threading.Thread(target=flood, args=(n,)) for n in range(6)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    wait_for(lambda: len(results) > 30, "the flood")
    result = site.authenticate(device, name)
    for thread in threads:
        thread.join(30)
    seconds = time.monotonic() - began
    assert result.accepted
    assert len(results) == 300
    started = sum(reason == "still_looking" for reason in results)
    print(f"{len(results)} hints in {seconds:.2f} s: {started} lookups, device admitted in {result.seconds:.3f} s")
    # The limit is 20 at once, and 20 more for each second.
    assert 0 < started <= 20 + 20 * (seconds + 1)
    assert {"rate_limited", "overloaded"} & set(results)
    # Each lookup is one query. Nothing was fetched.
    text = site.unbound.log.read_text().splitlines()[before:]
    asked = sum("_flood.iot.example. tlsa in" in line.lower() for line in text)
    assert asked <= started + 1
    assert not any("_flood" in path for path in site.web.requests)


def test_a_flood_through_the_radius_server_is_bounded_too(site: Site) -> None:
    """Real EAP peers claim random identities. The module's own limits apply before the socket."""
    device = self_signed("nobody._device.elsewhere.example")
    known = authority("Steady CA")
    name = site.name("_steady")
    healthy = known.issue(name)
    site.publish(name, known.tlsa(2, 0, 0))
    assert site.authenticate(healthy, name).accepted
    hints = {
        r: site.radius.metric(f'dane_radius_hints_total{{result="{r}"}}') for r in ("limited", "refused", "pending")
    }
    for number in range(30):
        assert not site.authenticate(device, f"r{number}._random.{ZONE}").accepted
    result = site.authenticate(healthy, name)
    assert result.accepted
    print(f"known device admitted in {result.seconds:.3f} s")
    after = {r: site.radius.metric(f'dane_radius_hints_total{{result="{r}"}}') for r in hints}
    assert sum(after.values()) - sum(hints.values()) == 30
    assert after["limited"] > hints["limited"]
