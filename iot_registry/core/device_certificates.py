"""Device certificates, made from vetted requests. Pure."""

from __future__ import annotations

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from iot_registry.core.ca_certificates import BACKDATE, MAX_COMMON_NAME, key_usage

# RFC 8520 section 11: id-pe-mud-url, an IA5String, never critical.
MUD_URL_OID = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.25")
MAX_MUD_URL = 255


def _ia5_string(text: str) -> bytes:
    data = text.encode("ascii")
    if len(data) < 0x80:
        return bytes((0x16, len(data))) + data
    if len(data) > MAX_MUD_URL:
        raise ValueError(f"a MUD URL has at most {MAX_MUD_URL} characters, found {len(data)}")
    return bytes((0x16, 0x81, len(data))) + data


def device_certificate(
    key: ec.EllipticCurvePublicKey,
    name: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate,
    now: dt.datetime,
    days: int,
    mud_url: str | None = None,
) -> x509.Certificate:
    """A TLS client certificate for device `name`. It never outlives its issuer."""
    # RFC 5280 section 4.1.2.6: subjectAltName must be critical if the subject is empty.
    short = len(name) <= MAX_COMMON_NAME
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if short else [])
    not_after = min(now + dt.timedelta(days=days), issuer.not_valid_after_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=not short)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if mud_url:
        builder = builder.add_extension(x509.UnrecognizedExtension(MUD_URL_OID, _ia5_string(mud_url)), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
