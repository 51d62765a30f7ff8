"""`iot-registry doctor` on a real registry: faults of its server, its name servers, and of what networks see."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.knot import Knot, Zone
from tests.harness.pki import authority
from tests.harness.process import Daemon, free_port, start, wait_for
from tests.harness.unbound import Unbound
from tests.integration.iot_registry.doctor_place import (
    DEADLINE_SECONDS,
    DOMAIN,
    PARENT,
    Examined,
    Place,
    delegation,
    enroll,
    examined,
    running_place,
)
from tests.integration.iot_registry.parts import KnotServer, Registry

OTHER = "3 1 1 " + "ab" * 32


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running_place(tmp_path_factory.mktemp("doctor-network")) as found:
        yield found


@contextlib.contextmanager
def resolver(place: Place, folder: Path, records: str, *, trusted: bool = True) -> Iterator[str]:
    """A validating resolver with another parent zone."""
    with Knot(folder / "parent", [Zone(PARENT, records)]) as parent:
        stubs = {DOMAIN: ("127.0.0.1", place.registry.dns_port), PARENT: ("127.0.0.1", parent.port)}
        anchors = parent.trust_anchors(PARENT) if trusted else ""
        with Unbound(folder / "unbound", stubs, anchors) as unbound:
            yield f"127.0.0.1:{unbound.port}"


def test_a_revoked_device_that_is_still_in_the_dns(place: Place) -> None:
    place.update_dns(f"zone-set {place.revoked}. 2 TLSA {OTHER}")
    try:
        found = place.examine()
    finally:
        place.update_dns(f"zone-unset {place.revoked}. TLSA")
    assert found.problems == {("dns.records", "error")}
    (finding,) = found.of("dns.records", "error")
    assert place.revoked in finding["found"]
    assert finding["expected"] == "no TLSA record"


def test_a_device_whose_record_is_missing_or_lasts_too_long(place: Place) -> None:
    (record,) = place.registry.knot.tlsa(place.active)
    place.update_dns(f"zone-unset {place.active}. TLSA")
    missing = place.examine()
    place.update_dns(f"zone-set {place.active}. 3600 TLSA {record}")
    lasting = place.examine()
    place.update_dns(f"zone-unset {place.active}. TLSA", f"zone-set {place.active}. 2 TLSA {record}")
    assert missing.problems == {("dns.records", "error")}
    assert lasting.problems == {("dns.ttl", "warning")}
    assert place.examine().problems == set()


def test_a_key_that_the_name_server_does_not_accept(place: Place) -> None:
    text = (place.registry.state / "tsig.key").read_text()
    other = place.registry.folder / "other.key"
    for pattern, new in ((r"secret: \S+", f"secret: {'A' * 43}="), (r"id: \S+", "id: nobody")):
        other.write_text(re.sub(pattern, new, text))
        other.chmod(0o600)
        found = place.examine(publication={"tsig_key_file": str(other)})
        assert found.problems == {("dns.update", "error")}
        assert "TSIG key" in found.of("dns.update", "error")[0]["found"]
    other.write_text("no key")
    found = place.examine(publication={"tsig_key_file": str(other)})
    assert ("files.tsig_key", "error") in found.problems


def test_a_key_that_may_not_update(place: Place) -> None:
    knot = place.registry.knot
    text = knot.config.read_text()
    knot.config.write_text(text.replace("action: update\n", "action: query\n"))
    try:
        knot.stop()
        knot.start()
        found = place.examine()
    finally:
        knot.config.write_text(text)
        knot.stop()
        knot.start()
    assert found.ids("error") == {"dns.update"}


def test_no_ds_record_another_one_and_no_validation(place: Place, tmp_path: Path) -> None:
    unsigned = "home NS ns.home\nns.home A 127.0.0.1\n"
    with resolver(place, tmp_path / "a", unsigned) as at:
        insecure = place.examine(resolver=at)
    with resolver(place, tmp_path / "b", delegation(place.registry, "00" * 32)) as at:
        bogus = place.examine(resolver=at)
    with resolver(place, tmp_path / "c", delegation(place.registry), trusted=False) as at:
        careless = place.examine(resolver=at)
    assert insecure.problems == {("dns.validation", "error"), ("dns.delegation", "error")}
    assert "insecure" in insecure.of("dns.validation", "error")[0]["found"]
    assert bogus.problems == {("dns.validation", "error"), ("dns.delegation", "error")}
    assert "EDE" in bogus.of("dns.validation", "error")[0]["found"]
    assert careless.problems == {("dns.validation", "error")}
    dead = place.examine(resolver=f"127.0.0.1:{free_port()}")
    assert dead.problems == {("dns.validation", "warning")}


def test_a_zone_that_is_not_signed_and_a_key_that_waits_for_its_ds_record(place: Place, tmp_path: Path) -> None:
    with Knot(tmp_path / "knot", [Zone(DOMAIN, f"@ CDS 4711 13 2 {'ab' * 32}", signed=False)]) as knot:
        found = place.examine(publication={"server": f"127.0.0.1:{knot.port}"})
    assert {"dns.signed", "dns.update", "dns.records"} <= found.ids("error")
    (finding,) = found.of("dns.key_rollover", "warning")
    assert "4711 13 2" in finding["fix"]


def test_secondaries_and_servers_of_confirm(place: Place, tmp_path: Path) -> None:
    with Knot(tmp_path / "knot", [Zone(DOMAIN, signed=False)]) as knot:
        at = f"127.0.0.1:{knot.port}"
        behind = place.examine(publication={"notify": [at]})
        confirming = place.examine(publication={"confirm": [f"127.0.0.1:{place.registry.dns_port}", at]})
    assert behind.problems == {("dns.secondaries", "warning")}
    assert "serial 1" in behind.of("dns.secondaries", "warning")[0]["found"]
    assert confirming.problems == {("dns.secondaries", "warning"), ("dns.records", "error")}
    at_resolver = place.examine(publication={"notify": [f"127.0.0.1:{place.resolver.port}"]})
    assert at_resolver.problems == set()
    silent = place.examine(publication={"notify": [f"127.0.0.1:{free_port()}"]})
    assert silent.problems == {("dns.secondaries", "warning")}


def test_a_certificate_that_clients_refuse(place: Place, tmp_path: Path) -> None:
    ca = authority("Another CA")
    certificate, key = ca.issue("registry.example", eku=None).save(tmp_path, "tls")
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    Path(key).chmod(0o600)
    files = {"certificate": str(certificate), "key": str(key), "anchor": str(tmp_path / "ca.pem")}
    found = place.examine(tls=files)
    assert found.problems == {("server.chain", "error")}
    assert "Another CA" in found.of("server.chain", "error")[0]["expected"]


def test_a_dead_name_server_and_what_waits_for_it(place: Place) -> None:
    place.registry.knot.stop()
    try:
        place.registry.api("POST", f"/v1/devices/{place.revoked}/restore", place.registry.admin, {})
        wait_for(lambda: place.registry.json("status")["outbox_last_error"], "the first failed attempt", timeout=30)
        with place.altered("outbox", "created_at", "now() - interval '2 hours'", "true"):
            found = place.examine()
    finally:
        place.registry.knot.start()
    assert {"dns.primary", "outbox.waiting"} <= found.ids("error")
    assert {"server.health", "signer.control"} <= found.ids("warning")
    assert "last error" in found.of("outbox.waiting", "error")[0]["found"]
    wait_for(lambda: place.registry.json("status")["outbox_pending"] == 0, "the change to be published", timeout=60)
    place.registry.revoke(place.revoked)


def test_it_ends_although_everything_is_silent(place: Place) -> None:
    """A database, a server, a name server and a resolver that take questions and never answer."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(4):
            port = free_port()
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                item = stack.enter_context(socket.socket(type=kind))
                item.bind(("127.0.0.1", port))
                if kind == socket.SOCK_STREAM:
                    item.listen()
            ports.append(port)
        database, https, dns, resolving = ports
        command = place.command(
            "--json",
            "--resolver",
            f"127.0.0.1:{resolving}",
            registry={
                "database_url": f"postgresql://registry@127.0.0.1:{database}/postgres",
                "public_url": f"https://127.0.0.1:{https}",
                "domain": DOMAIN,
            },
            publication={"server": f"127.0.0.1:{dns}"},
        )
        found = examined(subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS))
    assert {"database.reachable", "server.health", "dns.primary"} <= found.ids("error")


def test_bind_as_the_name_server(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry", options={"signer": {"kind": "none"}})
    registry.run("init")
    registry.run("dns-config", "--server", "bind", "--output", str(registry.folder / "bind"))
    server, config = KnotServer(registry.folder / "bind", registry.dns_port), registry.folder / "bind" / "named.conf"

    def examine() -> Examined:
        done = registry.run("doctor", "--json", check=False)
        return examined(done)

    def named() -> Daemon:
        return start(
            "named",
            ["named", "-c", config, "-g", "-4", "-n", "1"],
            log=registry.folder / "named.log",
            ready=lambda: server.answers(DOMAIN),
        )

    with named():
        registry.start()
        try:
            enroll(registry, "bind")
            healthy = examine()
            # The key may update records of another type only.
            config.write_text(config.read_text().replace("zonesub TLSA", "zonesub TXT"))
        except BaseException:
            registry.stop()
            raise
    with named():
        try:
            refused = examine()
        finally:
            registry.stop()
    assert healthy.problems == set()
    assert {"dns.update", "dns.records", "dns.ttl", "dns.signed", "dns.signatures"} <= healthy.ids("ok")
    assert refused.ids("error") == {"dns.update"}
    assert "REFUSED" in refused.of("dns.update", "error")[0]["found"]


# The last test: it ends the server.
def test_a_stopped_server(place: Place) -> None:
    place.registry.stop()
    found = place.examine()
    assert found.ids("error") == {"server.health", "database.publisher"}
    assert "systemctl start iot-registry" in found.of("server.health", "error")[0]["fix"]
