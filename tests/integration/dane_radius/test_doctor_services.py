"""`dane-radius doctor`: faults of the resolver, the server's certificate, trust-sync and accounting."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.harness.freeradius import SERVER_NAME, FreeRadius
from tests.harness.pki import authority
from tests.harness.process import free_port, wait_for
from tests.harness.trust_sync import TrustSync
from tests.harness.unbound import Unbound
from tests.integration.dane_radius.doctor_place import (
    DEADLINE_SECONDS,
    POLICY,
    PROGRAM,
    ZONE,
    Examined,
    Place,
    changed,
    running_place,
)

pytestmark = pytest.mark.daemons


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with running_place() as found:
        yield found


def test_default_names_on_a_closed_network(place: Place) -> None:
    done = subprocess.run(
        [PROGRAM, "doctor", "--raddb", place.radius.raddb, "--json"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    examined = Examined(0, json.loads(done.stdout)["findings"])
    for check in ("resolver.good_name", "resolver.bad_name"):
        (finding,) = examined.of(check, "info")
        assert "could not be tried" in finding["found"]
        assert "--good-name" in finding["fix"]


def test_a_dead_resolver(place: Place) -> None:
    with changed(place.radius.config_file, f"port = {place.unbound.port}", f"port = {free_port()}"):
        examined = place.examine()
    assert examined.code == 1
    assert examined.errors == ["resolver.reachable"]


def test_a_resolver_that_does_not_validate(place: Place, tmp_path: Path) -> None:
    stubs = {zone.name: ("127.0.0.1", place.knot.port) for zone in place.knot.zones}
    with Unbound(tmp_path / "unbound", stubs, "") as careless, contextlib.ExitStack() as stack:
        old, new = f"port = {place.unbound.port}", f"port = {careless.port}"
        stack.enter_context(changed(place.radius.config_file, old, new))
        examined = place.examine()
    assert examined.code == 1
    assert examined.errors == ["resolver.bad_name", "resolver.good_name"]
    assert "without the AD flag" in examined.of("resolver.good_name", "error")[0]["found"]


def test_a_resolver_whose_settings_are_unsafe(place: Place, tmp_path: Path) -> None:
    stubs = {zone.name: ("127.0.0.1", place.knot.port) for zone in place.knot.zones}
    extra = "    val-permissive-mode: yes\n    serve-expired: yes\n    ede: no\n"
    sync = tmp_path / "trust-sync.toml"
    with Unbound(
        tmp_path / "unbound", stubs, (place.unbound.folder / "anchors.key").read_text(), extra=extra
    ) as careless:
        sync.write_text(f'[unbound]\ncontrol_socket = "{careless.control_socket}"\n')
        with changed(place.radius.config_file, f"port = {place.unbound.port}", f"port = {careless.port}"):
            examined = place.examine("--trust-sync-config", sync)
    assert {"resolver.bad_name", "resolver.expired_answers", "resolver.settings"} <= set(examined.errors)


def test_an_expired_server_certificate(place: Place) -> None:
    file = place.radius.folder / "pki" / "server.pem"
    before = file.read_bytes()
    start = datetime.now(UTC) - timedelta(days=40)
    expired = place.radius.server_ca.issue(SERVER_NAME, eku=None, key=place.radius.server.key, not_before=start)
    file.write_bytes(expired.pem)
    try:
        examined = place.examine()
    finally:
        file.write_bytes(before)
    assert examined.code == 1
    assert examined.errors == ["certificate.expiry"]


def test_a_certificate_for_another_name_and_key(place: Place) -> None:
    file = place.radius.folder / "pki" / "server.pem"
    before = file.read_bytes()
    file.write_bytes(place.radius.server_ca.issue("other.example.net", eku=None).pem)
    try:
        examined = place.examine()
    finally:
        file.write_bytes(before)
    # The server refuses to start with the key of another certificate.
    assert {"certificate.key", "certificate.name", "server.configuration"} <= set(examined.errors)


def test_the_servers_own_record(place: Place) -> None:
    name = f"radius.{ZONE}"
    certificate = place.radius.folder / "pki" / "server.pem"
    before = certificate.read_bytes()
    ours = place.radius.server_ca.issue(name, eku=None, key=place.radius.server.key)
    certificate.write_bytes(ours.pem)
    place.knot.add_tlsa(ZONE, name, str(ours.tlsa()))
    place.unbound.flush(name)
    try:
        right = place.examine("--server-name", name)
        place.knot.delete_tlsa(ZONE, name)
        place.knot.add_tlsa(ZONE, name, f"3 1 1 {'00' * 32}")
        place.unbound.flush(name)
        wrong = place.examine("--server-name", name)
    finally:
        certificate.write_bytes(before)
        place.knot.delete_tlsa(ZONE, name)
    assert right.of("certificate.record", "ok")
    assert right.code == 0
    assert wrong.errors == ["certificate.record"]


def test_trust_sync_with_hints_and_accounting(place: Place) -> None:
    folder = place.radius.folder.parent / "complete"
    sync = TrustSync(folder / "sync", folder / "radius" / "etc" / "dane-radius.toml")
    radius = FreeRadius(
        folder / "radius",
        place.unbound.port,
        POLICY,
        [authority("CA of more devices")],
        hint_socket=sync.socket,
        accounting="sqlite",
    )
    sync.settings = f'[sessions]\ndatabase = "sqlite:///{radius.accounting_db}"\n'
    complete = Place(place.knot, place.unbound, radius)
    with radius:
        with sync:
            examined = complete.examine("--trust-sync-config", sync.config)
            assert examined.errors == []
            for check in ("sync.hint_socket", "sync.state", "sync.sessions", "accounting.module", "accounting.table"):
                assert examined.of(check, "ok"), check
        examined = complete.examine("--trust-sync-config", sync.config)
        assert examined.errors == ["sync.hint_socket", "sync.worker"]
        (folder / "sync" / "api.key").write_text("key")
        (folder / "sync" / "api.key").chmod(0o600)
        sync.settings += (
            f'[[registry]]\nname = "home"\nurl = "https://127.0.0.1:{free_port()}"\n'
            f'api_key_file = "{folder}/sync/api.key"\ndomains = ["{ZONE}"]\n'
        )
        with sync:
            wait_for(lambda: sync.status()["registries"]["home"]["error"], "the first failure", timeout=30)
            examined = complete.examine("--trust-sync-config", sync.config)
        assert examined.errors == ["sync.registry"]


def test_a_resolver_over_tls(place: Place, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    ca = authority("CA of resolvers")
    certificate, key = ca.issue("resolver.example", eku=None).save(tmp_path, "resolver")
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    stubs = {zone.name: ("127.0.0.1", place.knot.port) for zone in place.knot.zones}
    anchors = (place.unbound.folder / "anchors.key").read_text()
    port = free_port()
    with (
        Unbound(tmp_path / "unbound", stubs, anchors, tls_port=port, tls_key=key, tls_certificate=certificate),
        contextlib.ExitStack() as stack,
    ):
        section = f'[resolver]\ntransport = "tls"\nca_file = "{tmp_path}/ca.pem"\nserver_name = "NAME"'
        stack.enter_context(changed(place.radius.config_file, f"port = {place.unbound.port}", f"port = {port}"))
        with changed(place.radius.config_file, "[resolver]", section.replace("NAME", "resolver.example")):
            examined = place.examine()
        with changed(place.radius.config_file, "[resolver]", section.replace("NAME", "other.example")):
            impostor = place.examine()
    # The server's user may not read pytest's folder.
    assert set(examined.errors) <= {"server.configuration"}
    assert examined.of("resolver.good_name", "ok")
    assert examined.of("resolver.bad_name", "ok")
    assert "resolver.reachable" in impostor.errors


def test_trust_sync_and_accounting_that_are_missing(place: Place, tmp_path: Path) -> None:
    sync = tmp_path / "trust-sync.toml"
    sync.write_text(f'socket = "{tmp_path}/nobody.sock"\n[sessions]\ndatabase = "sqlite:///{tmp_path}/radacct.db"\n')
    examined = place.examine("--trust-sync-config", sync)
    assert {"sync.worker", "accounting.module", "accounting.table"} == set(examined.errors)
    examined = place.examine("--trust-sync-config", tmp_path / "missing.toml")
    assert examined.errors == ["sync.configuration"]


def test_it_ends_although_everything_is_silent(place: Place, tmp_path: Path) -> None:
    """A resolver, the module and trust-sync that take questions and never answer."""
    sync = tmp_path / "trust-sync.toml"
    sync.write_text(f'socket = "{tmp_path}/sync.sock"\n')
    silent = [socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX), socket.socket(type=socket.SOCK_DGRAM)]
    with contextlib.ExitStack() as stack:
        for item in silent:
            stack.enter_context(item)
        for item, name in zip(silent, ("module.sock", "sync.sock"), strict=False):
            item.bind(str(tmp_path / name))
            item.listen()
        silent[2].bind(("127.0.0.1", 0))
        old, new = f"port = {place.unbound.port}", f"port = {silent[2].getsockname()[1]}"
        stack.enter_context(changed(place.radius.config_file, old, new))
        old, new = f'control_socket = "{place.radius.control_socket}"', f'control_socket = "{tmp_path}/module.sock"'
        stack.enter_context(changed(place.radius.config_file, old, new))
        examined = place.examine("--trust-sync-config", sync)
    assert {"resolver.reachable", "running.server", "sync.worker"} <= set(examined.errors)
