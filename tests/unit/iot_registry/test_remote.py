"""The client of the JSON API with answers of a newer registry, of other servers, and truncated ones."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server

import pytest

from iot_registry.cli.remote_administration import RemoteAdministration
from iot_registry.service.schemas import StatusView
from tests.harness.pki import authority
from web_service.cli import RemoteError
from web_service.core import Reason, Refused

KEY = "irk_000000000000_" + "A" * 43
STATUS = {
    "devices": {"active": 1},
    "outbox_pending": 0,
    "outbox_oldest_seconds": 0.0,
    "outbox_last_error": None,
    "feed_sequence": 7,
    "authorities": [],
}


def answer(status: int, body: bytes, kind: str = "application/json", *more: str) -> bytes:
    head = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close", *more]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@contextmanager
def server(folder: Path, reply: bytes, *, key_usage: bool = True) -> Iterator[tuple[RemoteAdministration, list[bytes]]]:
    """A TLS server that answers every request with `reply`; yields a client of it, and the received requests.

    key_usage: whether the server's CA has that extension.
    """
    ca = authority("CA", key_usage=key_usage)
    certificate, key = ca.issue("localhost", eku=None).save(folder, "server")
    (folder / "ca.pem").write_bytes(ca.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    requests: list[bytes] = []
    with create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    plain, _address = listener.accept()
                except OSError:
                    return
                with plain, context.wrap_socket(plain, server_side=True) as tls:
                    requests.append(tls.recv(65536))
                    tls.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"https://localhost:{listener.getsockname()[1]}"
        try:
            yield RemoteAdministration(url, KEY, folder / "ca.pem"), requests
        finally:
            listener.shutdown(2)
            thread.join(5)


@pytest.mark.parametrize("key_usage", [True, False])
def test_a_newer_registry_may_say_more(tmp_path: Path, key_usage: bool) -> None:
    newer = STATUS | {"weather": "fine"}
    with server(tmp_path, answer(200, json.dumps(newer).encode()), key_usage=key_usage) as (client, requests):
        assert client.status() == StatusView(**STATUS)  # type: ignore[arg-type]  # pydantic checks them
    assert requests[0].startswith(b"GET /v1/status HTTP/1.1\r\n")
    assert f"Authorization: Bearer {KEY}\r\n".encode() in requests[0]


def problem(reason: str) -> bytes:
    body = {"type": "t", "title": "T", "status": 409, "detail": "because", "reason": reason, "field": "name"}
    return answer(409, json.dumps(body).encode(), "application/problem+json")


def test_a_refusal_is_the_same_as_at_the_registry(tmp_path: Path) -> None:
    with server(tmp_path, problem("conflict")) as (client, _), pytest.raises(Refused) as caught:
        client.status()
    assert (caught.value.reason, caught.value.detail, caught.value.field) == (Reason.CONFLICT, "because", "name")
    with server(tmp_path, problem("too-sunny")) as (client, _), pytest.raises(RemoteError, match="too-sunny: because"):
        client.status()


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (answer(502, b"<h1>Bad gateway</h1>", "text/html"), r"found status 502 \(text/html\): is this an IoT registry"),
        # The API key must not be sent to another host.
        (answer(302, b"", "text/html", "Location: https://elsewhere.example/"), "found status 302"),
        (answer(200, b"{"), "not an answer that this version understands"),
        (answer(200, b"[]"), "not an answer that this version understands"),
        (answer(200, b"{}"), "not an answer that this version understands"),
        (answer(500, b"{}", "application/problem+json"), "not an answer that this version understands"),
        (answer(200, b"x" * 100)[:-50], "the answer is truncated"),
        (b"", "Remote end closed connection"),
        (b"SSH-2.0-x\r\n", "SSH-2.0-x"),
    ],
)
def test_what_is_no_registry(tmp_path: Path, reply: bytes, message: str) -> None:
    with server(tmp_path, reply) as (client, _), pytest.raises(RemoteError, match=message):
        client.status()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        (b'8\r\n{"a":1}\n\r\n', "is truncated"),
        (b'8\r\n{"a":1}\n\r\n7\r\n{"a"', "is truncated"),
        (b'8\r\n{"a":1}\n\r\n3\r\n{"b\r\n0\r\n\r\n', "in the middle of a line"),
        (b'8\r\n{"a":1}\n\r\n3\r\n{x\n\r\n0\r\n\r\n', "not a line of JSON"),
    ],
)
def test_half_an_export_is_not_taken_for_a_whole_one(tmp_path: Path, chunks: bytes, message: str) -> None:
    with server(tmp_path, HEAD + chunks) as (client, _):
        lines = client.export_devices(None)
        assert next(lines) == {"a": 1}
        with pytest.raises(RemoteError, match=message):
            next(lines)


def test_names_stay_in_their_place_of_the_path(tmp_path: Path) -> None:
    calls: list[Callable[[RemoteAdministration], object]] = [
        lambda client: client.show_device("../keys?x=1#"),
        lambda client: client.revoke_key("a/b\r\nX: y"),
    ]
    with server(tmp_path, problem("not-found")) as (client, requests):
        for call in calls:
            with pytest.raises(Refused):
                call(client)
    assert [request.split(b"\r\n")[0] for request in requests] == [
        b"GET /v1/devices/..%2Fkeys%3Fx%3D1%23 HTTP/1.1",
        b"DELETE /v1/keys/a%2Fb%0D%0AX%3A%20y HTTP/1.1",
    ]
