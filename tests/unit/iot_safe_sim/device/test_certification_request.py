"""The device's certification request: what is in it, and that others can verify it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from iot_safe_sim.card import Card
from iot_safe_sim.device import build_request
from iot_safe_sim.interface import containers, point_of
from iot_safe_sim.middleware import CardError, IoTSafeClient, MemoryTransport

NAME = "a1b2c3.camera._device.example.net"
LONG_NAME = ".".join(["a" * 30] * 3) + ".example.net"


def dns_names(request: x509.CertificateSigningRequest) -> list[str]:
    san = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert len(san) == 1
    return san.get_values_for_type(x509.DNSName)


def openssl_verify(path: Path) -> subprocess.CompletedProcess[str]:
    command = ["openssl", "req", "-verify", "-inform", "DER", "-in", str(path), "-noout", "-text"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_is_for_the_name_and_the_key_on_the_card(card: Card) -> None:
    client = IoTSafeClient(MemoryTransport(card.applet))
    point = client.create_key(containers.DEVICE_KEY)
    request = x509.load_der_x509_csr(build_request(client, containers.DEVICE_KEY, NAME))
    assert request.is_signature_valid
    assert request.subject == x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    assert dns_names(request) == [NAME]
    key = request.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert point_of(key) == point


def test_a_name_too_long_for_a_common_name_is_in_the_san_only(provisioned: IoTSafeClient) -> None:
    request = x509.load_der_x509_csr(build_request(provisioned, containers.DEVICE_KEY, LONG_NAME))
    assert request.is_signature_valid
    assert not list(request.subject)
    assert dns_names(request) == [LONG_NAME]


@pytest.mark.parametrize("name", [NAME, LONG_NAME])
def test_openssl_verifies_it(provisioned: IoTSafeClient, tmp_path: Path, name: str) -> None:
    path = tmp_path / "request.der"
    path.write_bytes(build_request(provisioned, containers.DEVICE_KEY, name))
    done = openssl_verify(path)
    assert done.returncode == 0, done.stderr
    assert "verify OK" in done.stdout + done.stderr
    assert f"DNS:{name}" in done.stdout


def test_openssl_refuses_it_once_the_name_is_changed(provisioned: IoTSafeClient, tmp_path: Path) -> None:
    request = build_request(provisioned, containers.DEVICE_KEY, NAME)
    path = tmp_path / "request.der"
    path.write_bytes(request.replace(NAME.encode(), NAME.encode().replace(b"a1", b"b1")))
    done = openssl_verify(path)
    assert "verify failure" in done.stdout + done.stderr


def test_there_is_none_without_a_key(client: IoTSafeClient) -> None:
    with pytest.raises(CardError, match="6985"):
        build_request(client, containers.DEVICE_KEY, NAME)
