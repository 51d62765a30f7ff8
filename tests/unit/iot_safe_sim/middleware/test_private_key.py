"""A card's key where the library `cryptography` expects a private key."""

from __future__ import annotations

import copy
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from iot_safe_sim.interface import containers, point_of
from iot_safe_sim.middleware import CardError, CardPrivateKey, IoTSafeClient


@pytest.fixture
def key(provisioned: IoTSafeClient) -> CardPrivateKey:
    return CardPrivateKey(provisioned, containers.DEVICE_KEY)


@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_its_signatures_verify_with_its_public_key(key: CardPrivateKey, algorithm: hashes.HashAlgorithm) -> None:
    key.public_key().verify(key.sign(b"data", ec.ECDSA(algorithm)), b"data", ec.ECDSA(algorithm))


def test_it_is_the_key_on_the_card(key: CardPrivateKey, provisioned: IoTSafeClient) -> None:
    assert point_of(key.public_key()) == provisioned.public_key(containers.DEVICE_KEY)
    assert (key.curve.name, key.key_size) == ("secp256r1", 256)
    signature = key.sign(b"data", ec.ECDSA(hashes.SHA256()))
    assert provisioned.verify_digest(containers.DEVICE_KEY, hashlib.sha256(b"data").digest(), signature)


def test_the_builder_of_certificates_takes_it(key: CardPrivateKey) -> None:
    name, now = x509.Name([]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    certificate.verify_directly_issued_by(certificate)


def test_it_cannot_be_exported(key: CardPrivateKey) -> None:
    with pytest.raises(TypeError, match="stays on the card"):
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(TypeError, match="stays on the card"):
        key.private_numbers()


def test_a_copy_is_the_same_key(key: CardPrivateKey) -> None:
    assert copy.copy(key) is key
    assert copy.deepcopy(key) is key


def test_what_the_card_does_not_do_is_refused(key: CardPrivateKey) -> None:
    with pytest.raises(UnsupportedAlgorithm, match="not sha1"):
        key.sign(b"data", ec.ECDSA(hashes.SHA1()))  # noqa: S303  # refused
    with pytest.raises(UnsupportedAlgorithm, match="sign_digest"):
        key.sign(bytes(32), ec.ECDSA(Prehashed(hashes.SHA256())))
    with pytest.raises(UnsupportedAlgorithm, match="signs only"):
        key.exchange(ec.ECDH(), key.public_key())


def test_an_empty_container_is_no_key(client: IoTSafeClient) -> None:
    with pytest.raises(CardError, match="6985"):
        CardPrivateKey(client, containers.DEVICE_KEY)


def test_a_card_that_fails_while_signing_is_an_error(key: CardPrivateKey, provisioned: IoTSafeClient) -> None:
    provisioned.store_data(bytes.fromhex("E103840101"))
    with pytest.raises(CardError, match="6A82"):
        key.sign(b"data", ec.ECDSA(hashes.SHA256()))
