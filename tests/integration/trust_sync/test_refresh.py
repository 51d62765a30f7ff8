"""A running worker refreshes discovered anchors over real DNS and HTTPS, and removes them with their records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.harness.knot import Knot
from tests.harness.pki import authority, self_signed
from tests.harness.process import wait_for
from tests.harness.trust_sync import TrustSync, WebServer, authority_path
from tests.harness.unbound import Unbound
from tests.integration.trust_sync.test_command_line import ZONE, Desk, parts

__all__ = ["parts"]
pytestmark = pytest.mark.daemons


@pytest.fixture
def desk(parts: tuple[Knot, Unbound], tmp_path: Path) -> Iterator[Desk]:
    with WebServer(tmp_path / "web", ["localhost", f"device.{ZONE}"]) as server:
        desk = Desk(tmp_path, *parts, server)
        desk.sync.settings = desk.sync.settings.replace("retire_after = 3600.0", "retire_after = 1.0")
        yield desk


def anchors(sync: TrustSync) -> set[str]:
    return {anchor["fingerprint"] for anchor in sync.status()["anchors"]}


def test_a_fetched_ca_is_fetched_again_and_no_failure_takes_it_away(desk: Desk) -> None:
    ca = authority("Refreshed CA")
    name = f"r1._device.{ZONE}"
    desk.publish(name, ca.issue(name).tlsa(4, 0, 0), ttl=1)
    answers = {"status": 0}
    validators: list[str | None] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        validators.append(request.headers.get("If-None-Match"))
        headers = {"ETag": '"v1"', "Cache-Control": "max-age=1"}
        if answers["status"]:
            return web.Response(status=answers["status"])
        if validators[-1] == '"v1"':
            return web.Response(status=304, headers=headers)
        return web.Response(body=ca.pem, headers=headers)

    desk.web.files[authority_path(ca)] = serve
    with desk.sync as sync:
        assert sync.ask("discover", name=name, wait=10, timeout=15)["state"] == "found"
        wait_for(lambda: validators.count('"v1"') >= 2, "two more looks", timeout=15)
        assert sync.status()["discovered"][name]["failures"] == 0
        # The web server answers 410. The record in the zone still names that CA, and decides.
        answers["status"] = 410
        wait_for(lambda: "status 410" in str(sync.status()["discovered"][name]["error"]), "the failure", timeout=15)
        desk.unbound.stop()
        try:
            wait_for(
                lambda: "dns_unavailable" in str(sync.status()["discovered"][name]["error"]), "the outage", timeout=20
            )
        finally:
            desk.unbound.start()
        assert anchors(sync) == {ca.fingerprint}
        answers["status"] = 0
        wait_for(lambda: sync.status()["discovered"][name]["error"] is None, "a success", timeout=15)
        # Now the zone proves that the record is gone.
        desk.knot.delete_tlsa(ZONE, name)
        wait_for(lambda: anchors(sync) == set(), "the CA to go", timeout=20)
        assert name not in sync.status()["discovered"]
        assert not list((desk.sync.folder.parent / "anchors" / "ca").iterdir())


def test_a_device_certificate_goes_with_its_record_and_comes_back_with_it(desk: Desk) -> None:
    name = f"r2._device.{ZONE}"
    first, second = self_signed(name), self_signed(name)
    desk.publish(name, first.tlsa(3, 0, 0), ttl=1)
    with desk.sync as sync:
        assert sync.ask("discover", name=name, wait=10, timeout=15)["state"] == "found"
        # With a new key, the name has one certificate in force.
        desk.knot.delete_tlsa(ZONE, name)
        desk.publish(name, second.tlsa(3, 0, 0), ttl=1)
        wait_for(lambda: anchors(sync) == {second.fingerprint}, "the new certificate alone", timeout=15)
        # A digest replaces the certificate in the DNS.
        desk.knot.delete_tlsa(ZONE, name)
        desk.publish(name, second.tlsa(3, 1, 1), ttl=1)
        wait_for(lambda: anchors(sync) == set(), "the certificate to go", timeout=15)
        desk.publish(name, second.tlsa(3, 0, 0), ttl=1)
        assert sync.ask("discover", name=name, wait=10, timeout=15)["state"] == "found"
        assert anchors(sync) == {second.fingerprint}
