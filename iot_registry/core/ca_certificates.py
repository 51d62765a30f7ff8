"""The registry's own certificates: root CA, issuing CAs, and the HTTPS server's CA and certificate. Pure.

A name constraint (RFC 5280 section 4.2.1.10) confines an issuing CA to its domain. A stolen issuing key therefore
cannot certify another domain's devices, even where the common root is trusted.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from iot_registry.core import names

# Validity starts this long before issue: a network whose clock is behind would refuse the certificate otherwise.
BACKDATE = dt.timedelta(hours=1)
# ub-common-name, RFC 5280 appendix A.1.
MAX_COMMON_NAME = 64


def _subject(common_name: str) -> x509.Name:
    if len(common_name) > MAX_COMMON_NAME:
        # A hash keeps shortened names apart: networks refuse an anchor that has the subject of another.
        mark = "-" + hashlib.sha256(common_name.encode()).hexdigest()[:8]
        common_name = common_name[: MAX_COMMON_NAME - len(mark)] + mark
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def self_signed(
    key: ec.EllipticCurvePrivateKey, common_name: str, now: dt.datetime, days: int, path_length: int
) -> x509.Certificate:
    """A self-signed CA certificate: the root CA, or the CA of the HTTPS server."""
    subject = _subject(common_name)
    public = key.public_key()
    return (
        _builder(subject, subject, public, now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(ca=True), critical=True)
        # RFC 5280 lets a self-signed certificate omit it. PKIX-CD clients use it to build the chain.
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )


def issuing(
    key: ec.EllipticCurvePublicKey,
    domain: str,
    generation: int,
    root_key: ec.EllipticCurvePrivateKey,
    root: x509.Certificate,
    now: dt.datetime,
    days: int,
) -> x509.Certificate:
    """The issuing CA of one domain, signed by the root.

    generation: number of this issuing CA within its domain; it is part of the subject, so that no two share one.
    """
    # A certificate that outlives its issuer cannot be verified.
    days = min(days, (root.not_valid_after_utc - now).days)
    return (
        _builder(_subject(f"Device CA {generation} of {domain}"), root.subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(ca=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .add_extension(
            x509.NameConstraints(
                permitted_subtrees=[x509.DNSName(names.identity_root(domain))], excluded_subtrees=None
            ),
            critical=True,
        )
        .sign(root_key, hashes.SHA256())
    )


def server_certificate(
    key: ec.EllipticCurvePublicKey,
    hosts: Iterable[str],
    anchor_key: ec.EllipticCurvePrivateKey,
    anchor: x509.Certificate,
    now: dt.datetime,
    days: int,
) -> x509.Certificate:
    """The HTTPS server's certificate for `hosts` (DNS names and IP addresses)."""
    alternatives: list[x509.GeneralName] = []
    for host in dict.fromkeys(hosts):
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            alternatives.append(x509.DNSName(host))
    return (
        _builder(_subject("IoT registry"), anchor.subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(anchor_key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(anchor_key, hashes.SHA256())
    )


def key_identifier(certificate: x509.Certificate) -> str:
    """The certificate's subject key identifier as in PKIX-CD URLs: lower-case hex pairs joined by dashes."""
    extension = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return extension.value.digest.hex("-")


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate in DER, lower-case hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()
