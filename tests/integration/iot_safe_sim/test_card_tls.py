"""TLS with the card's key against a real OpenSSL server, which may be the wrong one or silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from iot_safe_sim.card import Applet, unprovisioned_store
from iot_safe_sim.device import public_point
from iot_safe_sim.interface import containers
from iot_safe_sim.keystore import SoftwareKeyStore
from iot_safe_sim.middleware import (
    CardError,
    CardIdentity,
    CardPrivateKey,
    CardTlsError,
    CardTlsSocket,
    IoTSafeClient,
    MemoryTransport,
)
from tests.harness.pki import Identity, authority, new_key
from tests.integration.iot_safe_sim.tls_server import CA, SERVER, Serve


@pytest.fixture
def identity(tmp_path: Path) -> CardIdentity:
    card = IoTSafeClient(
        MemoryTransport(Applet(unprovisioned_store(), SoftwareKeyStore(tmp_path / "keys"), lambda store: None))
    )
    point = card.create_key(containers.DEVICE_KEY)

    certificate = CA.issue("device.example.net", key=CardPrivateKey(card, containers.DEVICE_KEY))
    return CardIdentity(
        certificate.der, (CA.der,), point, lambda digest: card.sign_digest(containers.DEVICE_KEY, digest)
    )


def exchange(port: int, identity: CardIdentity) -> None:
    """A whole exchange: in TLS 1.3, the server refuses after the client's part of the handshake."""
    with CardTlsSocket("localhost", port, [CA.der], identity, 10) as tls:
        tls.sendall(b"x")
        tls.recv(1)


def test_mutual_authentication_and_data_both_ways(serve: Serve, identity: CardIdentity) -> None:
    with CardTlsSocket("localhost", serve(), [CA.der], identity, 10) as tls:
        tls.sendall(b"hello")
        assert tls.recv(100) == b"hello"
        # The server closes without a closing alert, so the data may be incomplete.
        with pytest.raises(CardTlsError, match="unexpected eof"):
            tls.recv(100)
        tls.close()
        tls.close()


@pytest.mark.parametrize(
    ("server", "anchors", "message"),
    [
        (SERVER, [authority("Another CA").der], "certificate is refused: (self-signed|unable to get)"),
        (SERVER, [], "certificate is refused: (self-signed|unable to get)"),
        (CA.issue("elsewhere.example", eku=None), [CA.der], "certificate is refused: hostname mismatch"),
        (CA.issue("localhost", eku=None, days=0.01), [CA.der], "certificate is refused: certificate has expired"),
    ],
)
def test_servers_that_are_not_the_right_one(
    serve: Serve, identity: CardIdentity, server: Identity, anchors: list[bytes], message: str
) -> None:
    with pytest.raises(CardTlsError, match=message):
        CardTlsSocket("localhost", serve(server), anchors, identity, 10)


def test_the_server_certificate_itself_may_be_pinned(serve: Serve, identity: CardIdentity) -> None:
    with CardTlsSocket("localhost", serve(), [SERVER.der], identity, 10) as tls:
        tls.sendall(b"x")
        assert tls.recv(10) == b"x"


def test_a_server_that_does_not_know_the_device(serve: Serve, identity: CardIdentity) -> None:
    with pytest.raises(CardTlsError, match=r"unknown ca|closed by the server|reset by peer"):
        exchange(serve(clients=authority("Others")), identity)


def test_a_silent_server_does_not_hold_the_device(serve: Serve, identity: CardIdentity) -> None:
    with pytest.raises(CardTlsError, match="no answer in time"):
        CardTlsSocket("localhost", serve(silent=True), [CA.der], identity, 0.5)


def test_a_card_that_fails_or_lies_is_reported(serve: Serve, identity: CardIdentity) -> None:
    def fail(digest: bytes) -> bytes:
        raise CardError("the card was pulled out")

    broken = CardIdentity(identity.certificate, (), identity.point, fail)
    with pytest.raises(CardTlsError, match="the card did not sign: the card was pulled out"):
        CardTlsSocket("localhost", serve(), [CA.der], broken, 10)
    lying = CardIdentity(identity.certificate, (), identity.point, lambda digest: identity.sign(bytes(32)))
    with pytest.raises(CardTlsError, match=r"decrypt error|bad signature|closed by the server|reset by peer"):
        exchange(serve(), lying)


def test_a_certificate_of_another_key_is_refused_before_connecting_further(
    serve: Serve, identity: CardIdentity
) -> None:
    other = CardIdentity(CA.issue("device.example.net", key=new_key()).der, (), identity.point, identity.sign)
    with pytest.raises(CardTlsError, match="not for the card's key"):
        CardTlsSocket("localhost", serve(), [CA.der], other, 10)
    assert public_point(CA.certificate) != identity.point


def test_what_is_not_a_certificate(serve: Serve, identity: CardIdentity) -> None:
    with pytest.raises(CardTlsError, match="not a certificate"):
        CardTlsSocket("localhost", serve(), [b"\x30\x03abc"], identity, 10)
