"""GENERATE CSR (STORE DATA E2): the card builds a request from the subject and attributes that it receives in DER."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from iot_safe_sim.card import Applet
from iot_safe_sim.interface import containers, parse_tlv, point_of
from iot_safe_sim.middleware import CommandFailedError, IoTSafeClient

NAME = "a1b2c3.camera._device.example.net"


def subject(name: str) -> bytes:
    """A Name in DER."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]).public_bytes()


def attributes(name: str) -> bytes:
    """The Attributes in DER, cut out of a request that the library makes with another key."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    (element,) = parse_tlv(request.tbs_certrequest_bytes.partition(spki)[2])
    return element.value


def test_the_request_has_the_parts_that_were_sent_and_is_signed_by_the_key(
    client: IoTSafeClient, applet: Applet
) -> None:
    point = client.create_key(containers.DEVICE_KEY)
    request = x509.load_der_x509_csr(client.generate_csr(containers.DEVICE_KEY, subject(NAME), attributes(NAME)))
    assert request.is_signature_valid
    assert request.subject.public_bytes() == subject(NAME)
    san = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(san) == [x509.DNSName(NAME)]
    key = request.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert point_of(key) == point
    assert applet.store.files[containers.CSR_FILE].label == "CertificateSigningRequest"


def test_openssl_verifies_the_request(client: IoTSafeClient, tmp_path: Path) -> None:
    client.create_key(containers.DEVICE_KEY)
    path = tmp_path / "request.der"
    path.write_bytes(client.generate_csr(containers.DEVICE_KEY, subject(NAME), attributes(NAME)))
    command = ["openssl", "req", "-verify", "-inform", "DER", "-in", str(path), "-noout", "-text"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "verify OK" in done.stdout + done.stderr
    assert f"DNS:{NAME}" in done.stdout


def test_a_request_without_attributes(client: IoTSafeClient) -> None:
    client.create_key(containers.DEVICE_KEY)
    request = x509.load_der_x509_csr(client.generate_csr(containers.DEVICE_KEY, subject(NAME), b""))
    assert request.is_signature_valid
    assert not list(request.extensions)


def test_an_empty_subject_is_allowed(client: IoTSafeClient) -> None:
    """A name that is too long for a common name is in the subject alternative name only."""
    name = ".".join(["a" * 30] * 3) + ".example.net"
    client.create_key(containers.DEVICE_KEY)
    der = client.generate_csr(containers.DEVICE_KEY, x509.Name([]).public_bytes(), attributes(name))
    request = x509.load_der_x509_csr(der)
    assert request.is_signature_valid
    assert not list(request.subject)
    san = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(san) == [x509.DNSName(name)]


def test_parts_that_are_no_request_leave_no_file(client: IoTSafeClient, applet: Applet) -> None:
    client.create_key(containers.DEVICE_KEY)
    with pytest.raises(CommandFailedError, match="6A80"):
        client.generate_csr(containers.DEVICE_KEY, subject(NAME) + b"\x00", attributes(NAME))
    with pytest.raises(CommandFailedError, match="6A80"):
        client.generate_csr(containers.DEVICE_KEY, subject(NAME), attributes(NAME)[:-1])
    assert containers.CSR_FILE not in applet.store.files
