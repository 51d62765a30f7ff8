"""The life cycle of a device, with Knot, curl and openssl, on SQLite and on PostgreSQL."""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import dns.rcode
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.harness.process import wait_for
from tests.integration.iot_registry.parts import DeviceKey, Registry, csr_text, decode_bundle, wait_tlsa


def enroll(registry: Registry, label: str, key: DeviceKey, **fields: str) -> tuple[str, x509.Certificate]:
    name, bundle = registry.add(label, **fields)
    answer = registry.enroll(bundle, key.csr(name))
    if answer.status != 200:
        raise RuntimeError(f"enrolling {name}: {answer.body.decode()}")
    return name, answer.certificates()[0]


def reenroll(registry: Registry, name: str, certificate: x509.Certificate, old: DeviceKey, new: DeviceKey):  # type: ignore[no-untyped-def]
    path = old.path.with_suffix(".pem")
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    domain = name.partition("_device.")[2]
    return registry.curl(
        f"/.well-known/est/{domain}/simplereenroll",
        "--cert",
        str(path),
        "--key",
        str(old.path),
        "-H",
        "Content-Type: application/pkcs10",
        body=new.csr(name),
    )


def test_a_device_enrolls_and_the_dns_vouches_for_its_key(registry: Registry, device_key: DeviceKey) -> None:
    name, certificate = enroll(registry, "first", device_key)
    # When the certificate arrives, its record is already served.
    assert registry.knot.tlsa(name) == {f"3 1 1 {device_key.spki_sha256()}"}
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName(name)]


def test_openssl_accepts_the_chain_and_refuses_it_under_another_domains_ca(
    registry: Registry, device_key: DeviceKey, tmp_path: Path
) -> None:
    _name, certificate = enroll(registry, "chain", device_key)
    leaf, bundle = tmp_path / "leaf.pem", tmp_path / "ca.pem"
    leaf.write_bytes(certificate.public_bytes(Encoding.PEM))
    cas = registry.curl("/.well-known/est/cacerts").certificates()
    bundle.write_bytes(b"".join(ca.public_bytes(Encoding.PEM) for ca in cas))
    verify = ["openssl", "verify", "-purpose", "sslclient", "-x509_strict", "-CAfile"]
    assert subprocess.run([*verify, str(bundle), str(leaf)], capture_output=True).returncode == 0
    foreign = tmp_path / "foreign.pem"
    foreign.write_bytes(registry.anchor.read_bytes())
    assert subprocess.run([*verify, str(foreign), str(leaf)], capture_output=True).returncode != 0


def test_pkix_cd_serves_both_cas_by_key_identifier(registry: Registry, device_key: DeviceKey) -> None:
    _name, certificate = enroll(registry, "pkixcd", device_key)
    current = certificate
    seen = []
    for _hop in range(2):
        aki = current.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        assert aki is not None
        answer = registry.curl(f"/.well-known/ca/{aki.hex('-')}.pem", "-H", "Host: device.home.example")
        assert answer.status == 200
        (ca,) = x509.load_pem_x509_certificates(answer.body)
        current.verify_directly_issued_by(ca)
        seen.append(ca.subject.rfc4514_string())
        current = ca
    assert seen == ["CN=Device CA 1 of home.example", "CN=IoT registry root CA"]
    assert current.issuer == current.subject
    missing = registry.curl(f"/.well-known/ca/{'00-' * 19}00.pem")
    assert (missing.status, missing.json["reason"]) == (404, "not-found")


def test_an_answer_that_was_lost_comes_again_to_the_same_key_and_to_no_other(
    registry: Registry, device_key: DeviceKey, tmp_path: Path
) -> None:
    name, bundle = registry.add("replay")
    data, request = decode_bundle(bundle), device_key.csr(name)
    credentials = base64.b64encode(f"{data['name']}:{data['token']}".encode()).decode()
    head = f"POST {urlsplit(data['est']).path}/simpleenroll HTTP/1.1\r\nHost: registry\r\n"
    head += f"Authorization: Basic {credentials}\r\nContent-Type: application/pkcs10\r\n"
    tls = ssl.create_default_context(cafile=str(registry.anchor))
    with (
        socket.create_connection(("127.0.0.1", registry.port)) as plain,
        tls.wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        client.sendall(f"{head}Content-Length: {len(request)}\r\n\r\n".encode() + request)
    # The connection ended after the request; the registry issues the certificate all the same.
    wait_for(lambda: [c["status"] for c in registry.device(name)["certificates"]] == ["current"], "the certificate")
    before = registry.device(name)
    again = registry.enroll(bundle, device_key.csr(name))
    assert again.status == 200, again.body
    (certificate,) = again.certificates()
    assert [entry["fingerprint"] for entry in before["certificates"]] == [certificate.fingerprint(SHA256()).hex()]
    other = registry.enroll(bundle, DeviceKey.make(tmp_path, "other").csr(name))
    assert (other.status, other.json["reason"]) == (401, "unauthenticated")
    assert other.headers["content-type"].startswith("application/problem+json")
    assert registry.device(name) == before
    audit = registry.api("GET", "/v1/audit?limit=1000", registry.admin).json["entries"]
    told = [entry["action"] for entry in audit if entry["target"] == name]
    assert told == ["device.add", "device.token", "certificate.issue", "certificate.again"]


def test_revocation_leaves_the_dns_before_the_feed_tells(registry: Registry, device_key: DeviceKey) -> None:
    name, _certificate = enroll(registry, "revoked", device_key)
    admin, feed = registry.key("device:write"), registry.key("feed:read")
    since = registry.api("GET", "/v1/snapshot", feed).json["seq"]
    started = time.monotonic()
    answer = registry.api("POST", f"/v1/devices/{name}/revoke", admin, {"reason": "stolen"})
    assert (answer.status, answer.json["status"]) == (200, "revoked")
    changes = registry.api("GET", f"/v1/changes?since={since}&wait=20", feed).json["changes"]
    seconds = time.monotonic() - started
    assert [(c["type"], c["name"]) for c in changes] == [("device.revoked", name)]
    assert registry.knot.ask(name).rcode() == dns.rcode.NXDOMAIN
    print(f"revocation by the API to the feed's event, three curl processes included: {seconds * 1000:.0f} ms")
    assert registry.json("device", "restore", name)["status"] == "active"
    assert registry.knot.tlsa(name) == {f"3 1 1 {device_key.spki_sha256()}"}


def test_how_fast_revocations_are(registry: Registry) -> None:
    """Printed, not asserted: the time from the request to the event, which follows publication."""
    feed, seconds = registry.key("feed:read"), []
    names = [registry.add(f"fast{number}") for number in range(20)]
    for name, bundle in names:
        assert registry.enroll(bundle, csr_text(name).encode()).status == 200
    for name, _bundle in names:
        since = registry.api("GET", "/v1/snapshot", feed).json["seq"]
        started = time.monotonic()
        registry.api("POST", f"/v1/devices/{name}/revoke", registry.admin, {})
        changes = registry.api("GET", f"/v1/changes?since={since}&wait=30", feed).json["changes"]
        seconds.append(time.monotonic() - started)
        assert [(c["type"], c["name"]) for c in changes] == [("device.revoked", name)]
        assert registry.knot.tlsa(name) == set()
    seconds.sort()
    print(f"20 revocations: median {seconds[10] * 1000:.0f} ms, worst {seconds[-1] * 1000:.0f} ms")


def test_a_revoked_device_cannot_renew_or_enroll(registry: Registry, device_key: DeviceKey, tmp_path: Path) -> None:
    name, bundle = registry.add("gone")
    answer = registry.enroll(bundle, device_key.csr(name))
    token = registry.api("POST", f"/v1/devices/{name}/token", registry.admin, {}).json["bundle"]
    registry.revoke(name)
    other = DeviceKey.make(tmp_path, "other")
    assert registry.enroll(token, other.csr(name)).status == 401
    refused = reenroll(registry, name, answer.certificates()[0], device_key, other)
    assert (refused.status, refused.json["reason"]) == (401, "unauthenticated")
    assert registry.knot.tlsa(name) == set()


def test_a_new_key_is_published_a_ttl_before_it_is_handed_out_and_the_old_one_leaves_after(
    registry: Registry, device_key: DeviceKey, tmp_path: Path
) -> None:
    name, certificate = enroll(registry, "renewed", device_key)
    new = DeviceKey.make(tmp_path, "new")
    old_record, new_record = (f"3 1 1 {key.spki_sha256()}" for key in (device_key, new))
    first = reenroll(registry, name, certificate, device_key, new)
    if first.status == 202:
        assert int(first.headers["retry-after"]) > 0
    # In either case, both keys are published until the device has the new certificate.
    assert {old_record, new_record} <= registry.knot.tlsa(name)
    answers = [first]

    def delivered() -> bool:
        if answers[-1].status == 202:
            answers.append(reenroll(registry, name, certificate, device_key, new))
        return answers[-1].status != 202

    wait_for(delivered, "the renewed certificate", timeout=20, interval=0.2)
    answer = answers[-1]
    assert answer.status == 200, answer.body
    (renewed,) = answer.certificates()
    spki = renewed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert hashlib.sha256(spki).hexdigest() == new.spki_sha256()
    wait_tlsa(registry.knot, name, {new_record})
    # The old certificate is withdrawn: the registry refuses it, too.
    refused = reenroll(registry, name, certificate, device_key, DeviceKey.make(tmp_path, "third"))
    assert refused.status == 401


def test_renewal_without_a_client_certificate_is_refused(registry: Registry, device_key: DeviceKey) -> None:
    _name, bundle = registry.add("nocert")
    data = decode_bundle(bundle)
    answer = registry.curl(
        f"{data['est']}/simplereenroll",
        "-u",
        f"{data['name']}:{data['token']}",
        "-H",
        "Content-Type: application/pkcs10",
        body=device_key.csr(data["name"]),
    )
    assert (answer.status, answer.json["reason"]) == (401, "unauthenticated")


@pytest.mark.parametrize("profile", ["3 0 1", "2 1 1", "4 0 0"])
def test_each_profile_publishes_what_it_says(registry: Registry, device_key: DeviceKey, profile: str) -> None:
    label = f"profile-{profile.replace(' ', '')}"
    name, certificate = enroll(registry, label, device_key, profile=profile)
    der = certificate.public_bytes(Encoding.DER)
    cas = registry.curl("/.well-known/est/cacerts").certificates()
    issuing = next(ca for ca in cas if ca.issuer != ca.subject)
    issuing_spki = issuing.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    expected = {
        "3 0 1": hashlib.sha256(der).hexdigest(),
        "2 1 1": hashlib.sha256(issuing_spki).hexdigest(),
        "4 0 0": der.hex(),
    }
    assert registry.knot.tlsa(name) == {f"{profile} {expected[profile]}"}


def test_the_mud_url_stands_in_the_certificate(registry: Registry, device_key: DeviceKey) -> None:
    url = "https://maker.example/camera.json"
    _name, certificate = enroll(registry, "mud", device_key, mud_url=url)
    extension = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.25"))
    value = extension.value
    assert isinstance(value, x509.UnrecognizedExtension)
    assert (value.value, extension.critical) == (bytes([0x16, len(url)]) + url.encode(), False)


def test_provisioning_is_signed_by_the_issuing_ca(registry: Registry, tmp_path: Path) -> None:
    data = registry.curl("/v1/domains/home.example/provisioning").json
    issuing = x509.load_pem_x509_certificate(data["issuing_ca"].encode())
    issuing.verify_directly_issued_by(x509.load_pem_x509_certificate(data["root_ca"].encode()))
    blob = base64.b64decode(data["url_blob"])
    assert blob == f'{{"url":"127.0.0.1","port":{registry.port}}}'.encode()
    anchor = x509.load_pem_x509_certificate(data["server_certificate"].encode()).public_bytes(Encoding.DER)
    public = tmp_path / "issuing.pub"
    public.write_bytes(issuing.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    def verifies(content: bytes, signature: str) -> bool:
        (tmp_path / "content").write_bytes(content)
        (tmp_path / "signature").write_bytes(base64.b64decode(signature))
        command = ["openssl", "dgst", "-sha256", "-verify", str(public), "-signature", str(tmp_path / "signature")]
        return subprocess.run([*command, str(tmp_path / "content")], capture_output=True).returncode == 0

    assert verifies(blob, data["url_signature"])
    assert verifies(anchor, data["server_certificate_signature"])
    assert not verifies(blob + b" ", data["url_signature"])


def test_csrattrs_is_what_openssl_can_read(registry: Registry) -> None:
    answer = registry.curl("/.well-known/est/home.example/csrattrs")
    assert answer.headers["content-type"] == "application/csrattrs"
    der = base64.b64decode(answer.body)
    text = subprocess.run(["openssl", "asn1parse", "-inform", "DER"], input=der, capture_output=True, check=True)
    for expected in (b"id-ecPublicKey", b"prime256v1", b"ecdsa-with-SHA256"):
        assert expected in text.stdout
