"""Refusals: guessed tokens, content codings, malformed bodies, missing scopes."""

from __future__ import annotations

import itertools
import socket
import ssl
import zlib

import pytest

from tests.integration.iot_registry.parts import DeviceKey, Registry, csr_text, decode_bundle, encode_bundle
from tests.integration.iot_registry.test_hostile import problem, send

_SERIAL = itertools.count()


def test_wrong_guesses_do_not_keep_the_true_device_out(fresh_registry: Registry, device_key: DeviceKey) -> None:
    """Guesses for a name from the device's own address, far above every limit: the right token is accepted."""
    registry = fresh_registry
    name, bundle = registry.add("guessed")
    data = decode_bundle(bundle)
    wrong = encode_bundle({**data, "token": "A" * 43})
    answers = [send(registry, wrong, csr_text(name).encode()) for _ in range(115)]
    assert {answer.status for answer in answers[:10]} == {401}
    assert {answer.status for answer in answers[10:]} == {429}
    assert int(answers[-1].headers["retry-after"]) > 0
    # Neither the limit of the name nor that of the address applies to the right token.
    assert send(registry, bundle, device_key.csr(name)).status == 200
    # The same request again, as if the answer was lost.
    assert send(registry, bundle, device_key.csr(name)).status == 200
    assert send(registry, wrong, csr_text(name).encode()).status == 429
    # A spent token with another key is refused like a wrong one.
    assert send(registry, bundle, csr_text(name).encode()).status == 401
    # The limit reveals nothing: a name that does not exist gets the same answer.
    nobody = encode_bundle({**data, "name": "nobody.camera._device.home.example", "token": "A" * 43})
    others = [send(registry, nobody, csr_text(name).encode()) for _ in range(11)]
    assert [answer.status for answer in others] == [401] * 10 + [429]
    assert others[-1].json["reason"] == "rate-limited"
    assert others[0].body == answers[0].body


@pytest.mark.parametrize("coding", ["deflate", "gzip", "br", "zstd", "deflate, gzip", "no-such"])
@pytest.mark.parametrize("content", [b"\x00not compressed", zlib.compress(b"x" * 100_000)])
def test_a_content_coding_is_refused(sqlite_registry: Registry, coding: str, content: bytes) -> None:
    registry = sqlite_registry
    name, bundle = registry.add(f"coded{next(_SERIAL)}")
    encoding = ("-H", f"Content-Encoding: {coding}")
    data = decode_bundle(bundle)
    user = ("-u", f"{data['name']}:{data['token']}", "-H", "Content-Type: application/pkcs10")
    assert problem(registry.curl(f"{data['est']}/simpleenroll", *user, *encoding, body=content)) == (
        415,
        "bad-media-type",
        "Content-Encoding",
    )
    json_body = ("-H", f"Authorization: Bearer {registry.admin}", "-H", "Content-Type: application/json")
    answer = registry.curl("/v1/devices", *json_body, *encoding, body=content)
    assert problem(answer) == (415, "bad-media-type", "Content-Encoding")
    # A second field adds to the first (RFC 9110 section 5.3).
    answer = registry.curl("/v1/devices", *json_body, "-H", "Content-Encoding: identity", *encoding, body=content)
    assert problem(answer) == (415, "bad-media-type", "Content-Encoding")
    assert "server" not in answer.headers
    plain = registry.curl("/v1/devices", *json_body, "-H", "Content-Encoding: identity", body=b"{}")
    assert problem(plain) == (400, "invalid-field", "label")
    assert registry.device(name)["status"] == "registered"
    assert "Traceback" not in (registry.folder / "serve.log").read_text()


def test_a_body_that_is_not_what_its_head_announces(sqlite_registry: Registry) -> None:
    registry = sqlite_registry
    head = (
        "POST /v1/devices HTTP/1.1\r\nHost: r\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {registry.admin}\r\n"
    )
    context = ssl.create_default_context(cafile=str(registry.anchor))
    for rest, status in (
        ("Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", b" 400 "),
        ("Content-Length: 50\r\n\r\n{", None),
    ):
        with (
            socket.create_connection(("127.0.0.1", registry.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
        ):
            sock.sendall((head + rest).encode())
            if status:
                answer = sock.recv(4096)
                assert status in answer.partition(b"\r\n")[0] + b" ", answer
                assert b"\r\nserver:" not in answer.lower()
    assert registry.curl("/health").status == 200
    assert "Traceback" not in (registry.folder / "serve.log").read_text()


def test_domain_write_alone_adds_a_domain(sqlite_registry: Registry) -> None:
    registry = sqlite_registry
    key = registry.key("domain:write")
    answer = registry.api("POST", "/v1/domains", key, {"name": "alone.example", "zone": "home.example"})
    assert problem(answer) == (400, "invalid-field", "zone")
    answer = registry.api("POST", "/v1/domains", key, {"name": "alone.home.example", "zone": "home.example"})
    assert answer.status == 201, answer.body
    administrator = answer.json["admin_key"]
    assert registry.api("GET", "/v1/domains", administrator).json["domains"][0]["name"] == "alone.home.example"
    assert problem(registry.api("POST", "/v1/keys", key, {"label": "k", "scopes": ["domain:write"]})) == (
        403,
        "forbidden",
        None,
    )


def test_each_scope_is_enough_for_what_the_document_says_it_is_for(sqlite_registry: Registry) -> None:
    registry = sqlite_registry
    document = registry.api("GET", "/v1/openapi.json", None).json
    keys: dict[str, str] = {}
    checked = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            # EST's operations take other credentials, and public ones none.
            if {"key": []} not in operation.get("security", []):
                continue
            scope = operation["description"].split("`")[1]
            key = keys.setdefault(scope, registry.key(scope))
            target = path.replace("{name}", "a.b._device.home.example").replace("{id}", "0" * 12)
            target = target.replace("{domain}", "home.example")
            answer = registry.api(method.upper(), target, key, {} if method == "post" else None)
            assert answer.status not in (401, 403, 500), (method, path, scope, answer.body)
            checked += 1
    assert checked >= 17
