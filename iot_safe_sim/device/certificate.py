"""Certificates on the card, and what a device reads from a certificate."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from iot_safe_sim.interface import containers, point_of
from iot_safe_sim.middleware import CardError, IoTSafeClient


def read_certificate(card: IoTSafeClient, file: bytes = containers.CLIENT_CERTIFICATE) -> x509.Certificate | None:
    """The certificate in `file`, or None when the file is empty. Raises CardError when it holds something else."""
    content = card.read_file(file)
    if not content:
        return None
    try:
        return x509.load_der_x509_certificate(content)
    except ValueError as error:
        raise CardError(f"file {file.hex()}: not a certificate: {error}") from error


def dns_name(certificate: x509.Certificate) -> str | None:
    """The one dNSName of a certificate, or None when there is none or more than one."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None
    names = extension.value.get_values_for_type(x509.DNSName)
    return names[0] if len(names) == 1 else None


def public_point(certificate: x509.Certificate) -> bytes:
    """The certificate's public key as an uncompressed point. Raises ValueError when it is not an EC key."""
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError(f"the certificate's key is not an elliptic curve key: {type(key).__name__}")
    return point_of(key)


def describe_certificate(card: IoTSafeClient) -> dict[str, Any] | None:
    """The current certificate as JSON values, or None when the device is not enrolled. Raises CardError."""
    certificate = read_certificate(card)
    if certificate is None:
        return None
    return {
        "name": dns_name(certificate),
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "serial": f"{certificate.serial_number:x}",
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
        "key_matches": public_point(certificate) == card.public_key(containers.DEVICE_KEY),
    }
