"""A PKCS#10 certification request (RFC 2986) for a device, signed by its card."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from iot_safe_sim.middleware import CardPrivateKey, IoTSafeClient

#: RFC 5280 appendix A: ub-common-name.
MAX_COMMON_NAME = 64


def build_request(card: IoTSafeClient, key: bytes, name: str) -> bytes:
    """A request in DER for the device `name`, with the key pair in the container `key`. Raises CardError.

    The subject alternative name is the one dNSName. The common name is the same, or is left out when it is too long.
    """
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if len(name) <= MAX_COMMON_NAME else []
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name(attributes))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    return builder.sign(CardPrivateKey(card, key), hashes.SHA256()).public_bytes(Encoding.DER)
