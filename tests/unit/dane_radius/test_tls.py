"""What a server's certificate must be for our TLS clients, with every version of Python."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from dane_radius.dns import tls_context
from tests.harness.pki import Authority, authority

NAME = "resolver.example"


def handshake(client: ssl.SSLContext, chain: bytes, key: Path, name: str = NAME) -> str | None:
    """A handshake in memory: why the client refuses the server, None if it does not."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = key.with_suffix(".chain")
    certificate.write_bytes(chain)
    server.load_cert_chain(certificate, key)
    ways = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(ways[0], ways[1], server_hostname=name),
        server.wrap_bio(ways[1], ways[0], server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
    return None


@pytest.mark.parametrize("key_usage", [True, False])
@pytest.mark.parametrize("below", [False, True])
def test_who_is_believed(tmp_path: Path, key_usage: bool, below: bool) -> None:
    """RFC 5280 section 4.2.1.3 demands keyUsage of a CA; many private CAs lack it, and OpenSSL does not insist."""
    root = authority("Root", key_usage=key_usage)
    issuer: Authority = root.sub_authority("Issuer", san=None) if below else root
    server = issuer.issue(NAME, eku=None)
    _, key = server.save(tmp_path, "server")
    chain = server.pem + (issuer.pem if below else b"")

    def believing(ca: Authority) -> ssl.SSLContext:
        path = tmp_path / "ca.pem"
        path.write_bytes(ca.pem)
        return tls_context(str(path))

    assert handshake(believing(root), chain, key) is None
    assert "Hostname mismatch" in str(handshake(believing(root), chain, key, "other.example"))
    assert handshake(believing(authority("Root")), chain, key) is not None
    if below:
        assert handshake(believing(issuer), chain, key) is not None, "an intermediate CA is no root"


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    for name in ("ca.pem", "absent.pem"):
        with pytest.raises(OSError):  # noqa: PT011  # ssl.SSLError is one, and has no message of its own
            tls_context(str(tmp_path / name))
