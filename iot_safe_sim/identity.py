"""The device's identity as the card holds it."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from iot_safe_sim import layout
from iot_safe_sim.client import CardError, IoTSafeClient


def read_certificate(card: IoTSafeClient, file: bytes = layout.CLIENT_CERTIFICATE) -> x509.Certificate | None:
    """The certificate in `file`, or None when the container is empty. Raises CardError when it is not one."""
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
    """The certificate's public key as an uncompressed point. Raises ValueError when it is of another kind."""
    try:
        return certificate.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"the certificate's key is not an elliptic curve key: {error}") from error


def describe_certificate(card: IoTSafeClient) -> dict[str, Any] | None:
    """The current certificate for `status`, or None when the device is not enrolled."""
    certificate = read_certificate(card)
    if certificate is None:
        return None
    return {
        "name": dns_name(certificate),
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "serial": f"{certificate.serial_number:x}",
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
        "key_matches": public_point(certificate) == card.public_key(layout.DEVICE_KEY),
    }
