"""What the enrollment tests share: the command, a check of the card, and ways to a card that break."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from iot_safe_sim.card import Card
from iot_safe_sim.device import dns_name, public_point
from iot_safe_sim.interface import containers
from iot_safe_sim.middleware import IoTSafeClient

NAME = "a1b2c3.camera._device.example.net"


def command(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run `iot-safe-sim` as a process."""
    return subprocess.run(
        [sys.executable, "-m", "iot_safe_sim.cli", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def identity_faults(client: IoTSafeClient, name: str = NAME) -> list[str]:
    """What a device application checks before it trusts the card. An empty list means that the identity is whole."""
    certificate, root, issuing = (
        x509.load_der_x509_certificate(client.read_file(file))
        for file in (containers.CLIENT_CERTIFICATE, containers.ROOT_CA, containers.ISSUING_CA)
    )
    url_blob, server = client.read_file(containers.URL_BLOB), client.read_file(containers.SERVER_CERTIFICATE)
    server_signature = client.read_file(containers.SERVER_CERTIFICATE_SIGNATURE)
    checks = {
        "root CA signature": lambda: root.verify_directly_issued_by(root),
        "issuing CA signature": lambda: issuing.verify_directly_issued_by(root),
        "device certificate signature": lambda: certificate.verify_directly_issued_by(issuing),
        "URL blob signature": lambda: _verify(issuing, client.read_file(containers.URL_SIGNATURE), url_blob),
        "server certificate signature": lambda: _verify(issuing, server_signature, server),
        "device key": lambda: _verify(certificate, client.sign(containers.DEVICE_KEY, b"proof"), b"proof"),
    }
    faults = [check for check, verify in checks.items() if not _passes(verify)]
    if dns_name(certificate) != name:
        faults.append(f"name {dns_name(certificate)}")
    if public_point(certificate) != client.public_key(containers.DEVICE_KEY):
        faults.append("public key")
    if url_blob[:1] != b"{" or len(url_blob) > 100:
        faults.append("URL blob")
    return faults


def _verify(signer: x509.Certificate, signature: bytes, data: bytes) -> None:
    key = signer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError(f"expected an elliptic curve key, found {type(key).__name__}")
    key.verify(signature, data, ec.ECDSA(hashes.SHA256()))


def _passes(check: Callable[[], None]) -> bool:
    try:
        check()
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def tlsa_of(certificate: x509.Certificate) -> str:
    """The record `3 1 1` of a certificate."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"3 1 1 {hashlib.sha256(spki).hexdigest()}"


class Interrupted(Exception):
    """The power fails."""


class Unreliable:
    """A way to the card that breaks before command number `limit`."""

    def __init__(self, card: Card, limit: int) -> None:
        self._card = card
        self.left = limit

    def transmit(self, apdu: bytes) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise Interrupted
        return self._card.applet.process(apdu)


class PublicOnly:
    """Stands in for a private key where only its public half is used: to issue a certificate."""

    def __init__(self, public: object) -> None:
        self._public = public

    def public_key(self) -> object:
        return self._public
