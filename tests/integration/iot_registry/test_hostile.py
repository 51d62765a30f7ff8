"""Bad input over HTTP: refused with an RFC 7807 body that has the reason, and nothing is written."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.harness.process import wait_for
from tests.integration.iot_registry.parts import Answer, DeviceKey, Registry, csr_text, decode_bundle


def state(registry: Registry, name: str) -> Any:
    """What a refused request could have changed: device, records, audit log, outbox."""
    audit = registry.api("GET", "/v1/audit?limit=1000", registry.admin).json["entries"]
    status = registry.api("GET", "/v1/status", registry.admin).json
    return registry.device(name), registry.knot.tlsa(name), audit, status


FIELDS = {"type", "title", "status", "detail", "reason", "field"}


def problem(answer: Answer) -> tuple[int, str, str | None]:
    """Status, reason and field of a refusal. Raises ValueError if the answer is not a proper problem body."""
    kind = answer.headers["content-type"].partition(";")[0]
    if kind != "application/problem+json" or not set(answer.json) <= FIELDS or not answer.json["detail"]:
        raise ValueError(f"not a problem body: {answer}")
    if answer.json["status"] != answer.status:
        raise ValueError(f"status {answer.status} with a body of status {answer.json['status']}")
    return answer.status, answer.json["reason"], answer.json.get("field")


def build(name: str, *extensions: tuple[x509.ExtensionType, bool], key: Any = None, digest: Any = None) -> bytes:
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else (digest or hashes.SHA256())
    return base64.b64encode(builder.sign(key, algorithm).public_bytes(Encoding.DER))


def san(*names: x509.GeneralName) -> tuple[x509.ExtensionType, bool]:
    return x509.SubjectAlternativeName(names), False


def tampered(name: str) -> bytes:
    der = bytearray(base64.b64decode(build(name)))
    der[-1] ^= 1
    return base64.b64encode(bytes(der))


def ca_request(name: str) -> bytes:
    return build(name, (x509.BasicConstraints(ca=True, path_length=None), True))


def cert_sign_request(name: str) -> bytes:
    usage = dict.fromkeys(
        ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"], False
    )
    return build(
        name,
        (x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False), True),
    )


WEAK_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505 - the registry must refuse it
OTHER = "other.camera._device.home.example"
EXTRA = x509.DNSName(OTHER)
CSRS: list[tuple[str, Callable[[str], bytes], str, str]] = [
    ("foreign SAN", lambda n: build("", san(EXTRA)), "csr-foreign-name", "csr.subjectAltName"),
    ("foreign common name", lambda n: build(OTHER, san(x509.DNSName(n))), "csr-foreign-name", "csr.subject"),
    ("extra SAN", lambda n: build(n, san(x509.DNSName(n), EXTRA)), "csr-foreign-name", "csr.subjectAltName"),
    ("SAN twice", lambda n: build(n, san(*[x509.DNSName(n)] * 2)), "csr-foreign-name", "csr.subjectAltName"),
    ("wildcard", lambda n: build("", san(x509.DNSName(f"*.{n}"))), "csr-foreign-name", "csr.subjectAltName"),
    ("e-mail SAN", lambda n: build(n, san(x509.RFC822Name("a@b.example"))), "csr-foreign-name", "csr.subjectAltName"),
    ("trailing NUL", lambda n: build("", san(x509.DNSName(n + "\0"))), "csr-foreign-name", "csr.subjectAltName"),
    ("no name", lambda n: build(""), "csr-foreign-name", "csr.subjectAltName"),
    ("CA:TRUE", ca_request, "csr-wants-ca", "csr.basicConstraints"),
    ("keyCertSign", cert_sign_request, "csr-wants-ca", "csr.keyUsage"),
    (
        "serverAuth",
        lambda n: build(n, (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)),
        "csr-extension",
        "csr.extendedKeyUsage",
    ),
    ("other extension", lambda n: build(n, (x509.OCSPNoCheck(), False)), "csr-extension", "csr.extensions"),
    ("bad signature", tampered, "csr-bad-signature", "csr.signature"),
    (
        "RSA 1024",
        lambda n: build(n, key=WEAK_RSA),
        "csr-weak-key",
        "csr.subjectPublicKeyInfo",
    ),
    (
        "RSA 2048",
        lambda n: build(n, key=rsa.generate_private_key(65537, 2048)),
        "csr-weak-key",
        "csr.subjectPublicKeyInfo",
    ),
    (
        "P-192",
        lambda n: build(n, key=ec.generate_private_key(ec.SECP192R1())),
        "csr-weak-key",
        "csr.subjectPublicKeyInfo",
    ),
    (
        "Ed25519",
        lambda n: build(n, key=ed25519.Ed25519PrivateKey.generate()),
        "csr-weak-key",
        "csr.subjectPublicKeyInfo",
    ),
    ("not DER", lambda n: base64.b64encode(b"not a request"), "csr-malformed", "csr"),
    ("bytes after it", lambda n: base64.b64encode(base64.b64decode(build(n)) + b"\0"), "csr-malformed", "csr"),
    ("PEM armour", lambda n: b"-----BEGIN CERTIFICATE REQUEST-----\n" + build(n), "bad-encoding", "csr"),
    ("broken base64", lambda n: build(n)[:-3] + b"*", "bad-encoding", "csr"),
    ("empty", lambda n: b" \r\n", "bad-encoding", "csr"),
]


def send(registry: Registry, bundle: str, body: bytes, media: str = "application/pkcs10") -> Answer:
    data = decode_bundle(bundle)
    return registry.curl(
        f"{data['est']}/simpleenroll",
        "-u",
        f"{data['name']}:{data['token']}",
        "-H",
        f"Content-Type: {media}",
        body=body,
    )


def test_no_bad_request_for_a_certificate_is_granted(sqlite_registry: Registry, device_key: DeviceKey) -> None:
    registry = sqlite_registry
    name, bundle = registry.add("hostile")
    before = state(registry, name)
    for title, make, reason, field in CSRS:
        answer = send(registry, bundle, make(name))
        print(f"{title}: {answer.json.get('detail')}")
        assert problem(answer) == (400, reason, field)
    assert problem(send(registry, bundle, build(name), "application/json")) == (415, "bad-media-type", None)
    assert problem(send(registry, bundle, build(name), "text/plain")) == (415, "bad-media-type", None)
    assert problem(send(registry, bundle, base64.b64encode(b"\x30" * 12_000))) == (413, "too-large", "csr")
    assert problem(send(registry, bundle, b"A" * 1_000_000)) == (413, "too-large", None)
    assert state(registry, name) == before
    # No refused request has spent the token.
    assert send(registry, bundle, device_key.csr(name)).status == 200
    assert registry.knot.tlsa(name) == {f"3 1 1 {device_key.spki_sha256()}"}


def test_a_key_of_another_device_is_refused(sqlite_registry: Registry, device_key: DeviceKey) -> None:
    registry = sqlite_registry
    first, first_bundle = registry.add("owner")
    second, second_bundle = registry.add("borrower")
    assert send(registry, first_bundle, device_key.csr(first)).status == 200
    before = state(registry, second)
    assert problem(send(registry, second_bundle, device_key.csr(second))) == (
        409,
        "key-reused",
        "csr.subjectPublicKeyInfo",
    )
    assert state(registry, second) == before


def test_wrong_credentials_look_all_alike(registry: Registry) -> None:
    name, bundle = registry.add("credentials")
    data = decode_bundle(bundle)
    csr = csr_text(name).encode()
    before = state(registry, name)
    bodies = set()
    for user, token in [
        (name, "wrong"),
        (name, data["token"][:-1]),
        (name, ""),
        ("nobody.camera._device.home.example", data["token"]),
        ("", ""),
        ("%00", "x"),
        (name + "\0", data["token"]),
        (name, data["token"] + "\0"),
        ("*", data["token"]),
        ("n" * 5000, "x"),
    ]:
        # In an Authorization field, because curl's -u accepts no NUL.
        basic = base64.b64encode(f"{user}:{token}".encode()).decode()
        header = ("-H", f"Authorization: Basic {basic}", "-H", "Content-Type: application/pkcs10")
        answer = registry.curl(f"{data['est']}/simpleenroll", *header, body=csr)
        assert answer.status == 401, (user, answer.body)
        assert answer.headers["www-authenticate"] == 'Basic realm="enrollment"'
        bodies.add(answer.body)
    assert len(bodies) == 1
    for header in ("Basic !!!", "Basic bm9jb2xvbg==", "Bearer x", "Basic"):
        answer = registry.curl(
            f"{data['est']}/simpleenroll",
            "-H",
            f"Authorization: {header}",
            "-H",
            "Content-Type: application/pkcs10",
            body=csr,
        )
        assert answer.status == 401, header
    assert state(registry, name) == before


def test_an_expired_token_is_refused(tmp_path: Path) -> None:
    options = {"enrollment": {"token_hours": 0.0001, "failures_per_minute": 3}}
    with Registry(tmp_path / "registry", options=options).running() as registry:
        name, bundle = registry.add("late")
        expires = dt.datetime.fromisoformat(decode_bundle(bundle)["expires"])
        wait_for(lambda: dt.datetime.now(dt.UTC) > expires, "the token to expire")
        answers = [send(registry, bundle, csr_text(name).encode()) for _ in range(5)]
        assert [answer.status for answer in answers] == [401, 401, 401, 429, 429]
        assert int(answers[-1].headers["retry-after"]) > 0
        # An administrator at the same address is not limited.
        assert registry.device(name)["status"] == "registered"
        assert answers[-1].json["reason"] == "rate-limited"


API_CASES: list[tuple[str, str, Any, int, str, str | None]] = [
    ("POST", "/v1/devices", {"label": "a", "type": "camera", "color": "red"}, 400, "unknown-field", "color"),
    ("POST", "/v1/devices", {"label": "*", "type": "camera"}, 400, "invalid-name", "label"),
    ("POST", "/v1/devices", {"label": "a.b", "type": "camera"}, 400, "invalid-name", "label"),
    ("POST", "/v1/devices", {"label": "_a", "type": "camera"}, 400, "invalid-name", "label"),
    ("POST", "/v1/devices", {"label": "ä", "type": "camera"}, 400, "invalid-name", "label"),
    ("POST", "/v1/devices", {"label": "a" * 64, "type": "camera"}, 400, "invalid-field", "label"),
    ("POST", "/v1/devices", {"label": 7, "type": "camera"}, 400, "invalid-field", "label"),
    ("POST", "/v1/devices", {"label": "a"}, 400, "invalid-field", "type"),
    (
        "POST",
        "/v1/devices",
        {"label": "a", "type": "t", "mud_url": "http://x.example/"},
        400,
        "invalid-field",
        "mud_url",
    ),
    ("POST", "/v1/devices", {"label": "a", "type": "t", "mud_url": "https://x/\n"}, 400, "invalid-field", "mud_url"),
    ("POST", "/v1/devices", {"label": "a", "type": "t", "profile": "3 1 9"}, 400, "invalid-field", "profile"),
    ("POST", "/v1/devices", {"label": "a", "type": "t", "domain": "no.such.example"}, 404, "not-found", "domain"),
    ("POST", "/v1/devices", ["a"], 400, "invalid-field", None),
    ("GET", "/v1/devices?limit=0", None, 400, "invalid-field", "limit"),
    ("GET", "/v1/devices?limit=1e3", None, 400, "invalid-field", "limit"),
    ("GET", "/v1/devices?status=lost", None, 400, "invalid-field", "status"),
    ("GET", "/v1/devices?colour=red", None, 400, "unknown-field", "colour"),
    ("GET", "/v1/devices?limit=1&limit=2", None, 400, "invalid-field", "limit"),
    ("GET", "/v1/devices?search=%00", None, 400, "invalid-field", "search"),
    ("GET", "/v1/devices/none.camera._device.home.example", None, 404, "not-found", "name"),
    ("GET", "/v1/devices/not-a-device", None, 400, "invalid-name", "name"),
    ("GET", "/v1/changes?since=-1", None, 400, "invalid-field", "since"),
    ("GET", "/v1/changes?since=99999999", None, 410, "history-gone", "since"),
    ("GET", "/v1/changes?since=1&since=2", None, 400, "invalid-field", "since"),
    ("GET", "/v1/changes?wait=61", None, 400, "invalid-field", "wait"),
    ("GET", "/v1/changes?wait=-1", None, 400, "invalid-field", "wait"),
    ("GET", "/v1/changes?wait=1.5", None, 400, "invalid-field", "wait"),
    ("GET", "/v1/changes?from=1", None, 400, "unknown-field", "from"),
    ("GET", "/v1/snapshot?since=1", None, 400, "unknown-field", "since"),
    ("GET", "/v1/domains?name=home.example", None, 400, "unknown-field", "name"),
    ("GET", "/v1/domains/localhost", None, 400, "invalid-name", "domain"),
    ("GET", "/v1/domains/no.such.example", None, 404, "not-found", "domain"),
    ("DELETE", "/v1/devices", None, 405, "method-not-allowed", None),
    ("GET", "/v1/nothing", None, 404, "not-found", None),
    ("POST", "/v1/domains", {"name": "localhost"}, 400, "invalid-name", "name"),
    ("POST", "/v1/domains", {"name": "a.example", "zone": "b.example"}, 400, "invalid-field", "zone"),
    ("POST", "/v1/domains", {"name": "a.example", "ttl": "60"}, 400, "invalid-field", "ttl"),
    ("POST", "/v1/domains", {"name": "a.example", "ttl": -1}, 400, "invalid-field", "ttl"),
    ("POST", "/v1/domains", {"name": "a.example", "profile": "3 1 9"}, 400, "invalid-field", "profile"),
    ("POST", "/v1/domains", {"name": "a.example", "admin": True}, 400, "unknown-field", "admin"),
    ("POST", "/v1/domains", {}, 400, "invalid-field", "name"),
    ("POST", "/v1/domains", {"name": "home.example"}, 409, "conflict", "name"),
    ("POST", "/v1/keys", {"label": "k", "scopes": ["root"]}, 400, "invalid-field", "scopes.0"),
    ("POST", "/v1/keys", {"label": "k", "scopes": []}, 400, "invalid-field", "scopes"),
    ("DELETE", "/v1/keys/zzz", None, 404, "not-found", None),
    ("DELETE", "/v1/keys/%00", None, 404, "not-found", None),
    ("GET", "/v1/devices/%00", None, 400, "invalid-name", "name"),
    ("GET", "/v1/domains/%00", None, 400, "invalid-name", "domain"),
    ("GET", "/.well-known/ca/%00.pem", None, 404, "not-found", None),
    ("GET", "/.well-known/est/%00/cacerts", None, 400, "invalid-name", "domain"),
    ("POST", "/v1/devices", {"label": "a\0", "type": "camera"}, 400, "invalid-name", "label"),
    ("POST", "/v1/devices", {"label": "a", "type": "t", "domain": "home\0.example"}, 400, "invalid-name", "domain"),
    ("POST", "/v1/keys", {"label": "a\0", "scopes": ["feed:read"]}, 400, "invalid-field", "label"),
]


def test_no_bad_api_request_changes_anything(registry: Registry) -> None:
    name, _bundle = registry.add("api")
    before = state(registry, name)
    for method, path, data, status, reason, field in API_CASES:
        answer = registry.api(method, path, registry.admin, data)
        print(f"{method} {path} {data}: {answer.body.decode()[:120]}")
        assert problem(answer) == (status, reason, field)
    json_header = [
        "-X",
        "POST",
        "-H",
        f"Authorization: Bearer {registry.admin}",
        "-H",
        "Content-Type: application/json",
    ]
    for body in (b"{", b"\xff\xfe", b"NaN", b"[" * 60_000, b'{"label": "a"', b""):
        answer = registry.curl("/v1/devices", *json_header, body=body)
        assert answer.status == 400, body[:20]
        assert answer.json["reason"] in ("malformed", "invalid-field")
    for header in ("-1", "x", "9" * 40, "٣"):
        who = f"Authorization: Bearer {registry.admin}"
        stream = ("-H", who, "-H", "Accept: text/event-stream", "-H", f"Last-Event-ID: {header}")
        assert problem(registry.curl("/v1/changes", *stream)) == (400, "invalid-field", "Last-Event-ID")
    gone = registry.curl("/v1/changes?since=99999999", "-H", who, "-H", "Accept: text/event-stream")
    assert problem(gone) == (410, "history-gone", "since")
    text = registry.curl("/v1/devices", *json_header[:4], "-H", "Content-Type: text/plain", body=b"{}")
    assert problem(text) == (415, "bad-media-type", None)
    assert problem(registry.curl("/v1/devices", *json_header, body=b" " * 1_000_000)) == (413, "too-large", None)
    assert state(registry, name) == before


def test_every_private_path_wants_a_key_and_the_right_scope(sqlite_registry: Registry) -> None:
    registry = sqlite_registry
    document = registry.api("GET", "/v1/openapi.json", None).json
    weak = registry.key("feed:read")
    checked = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            # EST's operations take other credentials, and public ones none.
            if {"key": []} not in operation.get("security", []):
                continue
            target = path.replace("{name}", "a.b._device.home.example").replace("{id}", "0" * 12)
            target = target.replace("{domain}", "home.example")
            data = {} if method == "post" else None
            for key in (None, "irk_000000000000_" + "A" * 43):
                assert problem(registry.api(method.upper(), target, key, data)) == (401, "unauthenticated", None)
            if "feed:read" not in operation["description"]:
                assert problem(registry.api(method.upper(), target, weak, data)) == (403, "forbidden", None)
            checked += 1
    assert checked >= 17
    registry.run("key", "revoke", weak.split("_")[1])
    assert problem(registry.api("GET", "/v1/snapshot", weak)) == (401, "unauthenticated", None)
