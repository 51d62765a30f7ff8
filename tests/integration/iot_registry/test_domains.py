"""Several domains in one registry: zone, CA and administrator of each; re-homing devices between them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.harness.process import wait_for
from tests.integration.iot_registry.parts import DeviceKey, Registry, wait_tlsa
from tests.integration.iot_registry.test_life import reenroll


def test_a_domain_gets_a_signed_zone_a_ca_and_an_administrator(registry: Registry, device_key: DeviceKey) -> None:
    created = registry.json("domain", "add", "smith.homes.example")
    assert registry.knot.ask("smith.homes.example", "DNSKEY").answer
    assert len(created["ds"]) == 1
    assert created["ds"][0].startswith("smith.homes.example. DS ")
    # Its PKIX-CD host is in the zone and in the server's certificate, without a restart.
    assert registry.knot.ask("device.smith.homes.example", "A").answer

    def reachable() -> bool:
        resolve = f"device.smith.homes.example:{registry.port}:127.0.0.1"
        url = f"https://device.smith.homes.example:{registry.port}/health"
        command = ["curl", "-sS", "--cacert", str(registry.anchor), "--resolve", resolve, url]
        return subprocess.run(command, capture_output=True).returncode == 0

    wait_for(reachable, "TLS for the new domain's host")
    fields = {"label": "lock1", "type": "lock"}
    answer = registry.api("POST", "/v1/devices", created["admin_key"], fields)
    name = answer.json["device"]["name"]
    assert name == "lock1.lock._device.smith.homes.example"
    certificate = registry.enroll(answer.json["bundle"], device_key.csr(name)).certificates()[0]
    assert certificate.issuer.rfc4514_string() == "CN=Device CA 1 of smith.homes.example"
    assert registry.knot.tlsa(name) == {f"3 1 1 {device_key.spki_sha256()}"}


def test_an_administrator_sees_and_changes_nothing_of_another_domain(registry: Registry) -> None:
    one = registry.json("domain", "add", "one.homes.example")["admin_key"]
    two = registry.json("domain", "add", "two.homes.example")["admin_key"]
    registry.api("POST", "/v1/devices", one, {"label": "a", "type": "lock"})
    name = "a.lock._device.one.homes.example"
    since = registry.api("GET", "/v1/snapshot", two).json["seq"]
    before = registry.device(name)
    attempts = [
        ("GET", f"/v1/devices/{name}", None),
        ("POST", f"/v1/devices/{name}/revoke", {}),
        ("POST", f"/v1/devices/{name}/restore", {}),
        ("POST", f"/v1/devices/{name}/token", {}),
        ("POST", f"/v1/devices/{name}/rehome", {"domain": "two.homes.example"}),
        ("POST", "/v1/devices", {"label": "b", "type": "lock", "domain": "one.homes.example"}),
        ("GET", "/v1/devices?domain=one.homes.example", None),
        ("GET", "/v1/export?domain=one.homes.example", None),
        ("GET", "/v1/domains/one.homes.example", None),
        ("POST", "/v1/keys", {"label": "k", "scopes": ["device:read"], "domain": "one.homes.example"}),
        ("DELETE", f"/v1/keys/{one.split('_')[1]}", None),
    ]
    for method, path, data in attempts:
        answer = registry.api(method, path, two, data)
        # The answer does not reveal that it exists.
        assert (answer.status, answer.json["reason"]) == (404, "not-found"), (method, path, answer.body)
    refused = [
        ("POST", "/v1/domains", {"name": "three.homes.example"}),
        ("POST", "/v1/keys", {"label": "k", "scopes": ["admin"]}),
        ("POST", "/v1/keys", {"label": "k", "scopes": ["domain:write"]}),
    ]
    for method, path, data in refused:
        answer = registry.api(method, path, two, data)
        assert (answer.status, answer.json["reason"]) == (403, "forbidden"), (method, path, answer.body)
    assert registry.device(name) == before
    assert registry.api("GET", "/v1/devices", two).json["devices"] == []
    assert [d["name"] for d in registry.api("GET", "/v1/domains", two).json["domains"]] == ["two.homes.example"]
    assert registry.api("GET", "/v1/status", two).json["devices"]["registered"] == 0
    audit = registry.api("GET", "/v1/audit", two).json["entries"]
    assert {entry["domain"] for entry in audit} == {"two.homes.example"}
    registry.api("POST", f"/v1/devices/{name}/revoke?wait=20", one, {})
    assert registry.api("GET", f"/v1/changes?since={since}", two).json["changes"] == []
    assert [c["name"] for c in registry.api("GET", f"/v1/changes?since={since}", one).json["changes"]] == [name]
    snapshot = registry.api("GET", "/v1/snapshot", two).json
    assert [anchor["domain"] for anchor in snapshot["anchors"]] == ["two.homes.example"]


def test_an_issuing_ca_cannot_name_another_domains_devices(sqlite_registry: Registry, tmp_path: Path) -> None:
    """With a stolen issuing key, openssl signs for another domain's name; the name constraint invalidates it."""
    registry = sqlite_registry
    cas = registry.curl("/.well-known/est/cacerts").certificates()
    issuing = next(ca for ca in cas if ca.issuer != ca.subject)
    root = next(ca for ca in cas if ca.issuer == ca.subject)
    for label, cert in (("issuing", issuing), ("root", root)):
        (tmp_path / f"{label}.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    stolen = next(
        path
        for path in (registry.state / "ca").glob("*.key")
        if serialization.load_pem_private_key(path.read_bytes(), None).public_key() == issuing.public_key()
    )

    def forged(name: str) -> subprocess.CompletedProcess[bytes]:
        key, leaf = tmp_path / "forged.key", tmp_path / "forged.pem"
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True)
        command = ["openssl", "req", "-x509", "-new", "-key", key, "-subj", f"/CN={name}", "-out", leaf]
        command += ["-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=critical,CA:FALSE"]
        command += ["-CA", tmp_path / "issuing.pem", "-CAkey", stolen, "-days", "1"]
        subprocess.run(command, check=True, capture_output=True)
        verify = ["openssl", "verify", "-CAfile", tmp_path / "root.pem", "-untrusted", tmp_path / "issuing.pem", leaf]
        return subprocess.run(verify, capture_output=True)

    assert forged("x.lock._device.home.example").returncode == 0
    refused = forged("x.lock._device.smith.example")
    assert refused.returncode != 0
    assert b"permitted subtree violation" in refused.stderr + refused.stdout


def test_a_device_moves_home_and_its_old_name_goes_once_it_has_the_new_one(
    registry: Registry, device_key: DeviceKey
) -> None:
    registry.json("domain", "add", "new.homes.example")
    feed = registry.key("feed:read")
    name, bundle = registry.add("mover", "sensor")
    assert registry.enroll(bundle, device_key.csr(name)).status == 200
    since = registry.api("GET", "/v1/snapshot", feed).json["seq"]
    moved = registry.api("POST", f"/v1/devices/{name}/rehome", registry.admin, {"domain": "new.homes.example"})
    new_name = moved.json["device"]["name"]
    assert new_name == "mover.sensor._device.new.homes.example"
    # Until the device has enrolled under the new name, the old one is valid.
    assert registry.knot.tlsa(name)
    # The same key, which would be refused for another device.
    assert registry.enroll(moved.json["bundle"], device_key.csr(new_name)).status == 200
    assert registry.knot.tlsa(new_name) == {f"3 1 1 {device_key.spki_sha256()}"}
    wait_tlsa(registry.knot, name, set(), seconds=30)

    def told() -> list[tuple[str, str]]:
        changes = registry.api("GET", f"/v1/changes?since={since}", feed).json["changes"]
        return [(c["type"], c["name"]) for c in changes]

    wait_for(lambda: len(told()) == 2, "both events")
    assert told() == [("device.added", new_name), ("device.rehomed", name)]
    assert registry.device(name)["status"] == "rehomed"
    for action in ("restore", "revoke", "token"):
        answer = registry.api("POST", f"/v1/devices/{name}/{action}", registry.admin, {})
        assert (answer.status, answer.json["reason"]) == (409, "conflict")


@pytest.mark.parametrize("fresh_registry", ["sqlite"], indirect=True)
def test_an_issuing_ca_is_succeeded_without_locking_anyone_out(fresh_registry: Registry, device_key: DeviceKey) -> None:
    registry = fresh_registry
    name, bundle = registry.add("stays")
    (certificate,) = registry.enroll(bundle, device_key.csr(name)).certificates()
    feed = registry.key("feed:read")
    since = registry.api("GET", "/v1/snapshot", feed).json["seq"]
    early = registry.run("ca", "renew", "home.example", check=False)
    assert (early.returncode, "no successor is due" in early.stderr) == (1, True)
    made = registry.json("ca", "renew", "home.example", "--force")["authorities"]
    old, new = (view["aki"] for view in made)
    assert [(view["issuing"], view["certificates"]) for view in made] == [(False, 1), (True, 0)]
    # The feed announces the new CA, and PKIX-CD serves both.
    changes = registry.api("GET", f"/v1/changes?since={since}&wait=10", feed).json["changes"]
    assert [change["type"] for change in changes] == ["anchor.added"]
    for aki in (old, new):
        assert registry.curl(f"/.well-known/ca/{aki}.pem").status == 200
    subjects = {ca.subject.rfc4514_string() for ca in registry.curl("/.well-known/est/cacerts").certificates()}
    assert {"CN=Device CA 1 of home.example", "CN=Device CA 2 of home.example"} < subjects
    assert registry.knot.tlsa(name) == {f"3 1 1 {device_key.spki_sha256()}"}

    # The running server accepts the old certificate, and issues under the new CA.
    answer = reenroll(registry, name, certificate, device_key, device_key)
    assert answer.status == 200, answer.body
    assert answer.certificates()[0].issuer.rfc4514_string() == "CN=Device CA 2 of home.example"
    wait_for(lambda: registry.json("ca", "list")["authorities"][1]["certificates"] == 0, "the overlap to end", 30)
    key_file = registry.state / "ca" / f"{old}.key"
    assert key_file.exists()
    # The hourly check, which is made at start, too.
    registry.stop()
    registry.start()
    assert not key_file.exists()
    assert registry.curl(f"/.well-known/ca/{old}.pem").status == 404
    removed = registry.api("GET", f"/v1/changes?since={changes[-1]['seq']}", feed).json["changes"][-1]
    assert (removed["type"], removed["anchor"]["aki"]) == ("anchor.removed", old)
    assert registry.knot.tlsa(name) == {f"3 1 1 {device_key.spki_sha256()}"}
