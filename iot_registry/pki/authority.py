"""The registry's own certificates: the root, a domain's issuing CA, and the TLS server's anchor and
leaf. Pure.

An issuing CA is confined to its domain by a name constraint (RFC 5280 section 4.2.1.10): whoever steals
its key
cannot name another domain's devices, even where the common root is trusted.
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

from iot_registry import names

# Clocks of devices and networks differ; a certificate that is not yet valid there would be refused.
BACKDATE = dt.timedelta(hours=1)


# X.520's bound.
MAX_COMMON_NAME = 64


def _subject(common_name: str) -> x509.Name:
    if len(common_name) > MAX_COMMON_NAME:
        # Cut, two CAs could have one subject, and networks refuse an anchor that shadows another.
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
    """A self-signed CA certificate: the root, or the TLS server's trust anchor."""
    subject = _subject(common_name)
    public = key.public_key()
    return (
        _builder(subject, subject, public, now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(ca=True), critical=True)
        # RFC 5280 lets a self-signed certificate omit it; PKIX-CD clients walk chains by it.
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

    generation: counts the domain's issuing CAs, so that no two of them share a subject.
    """
    # Beyond the root's end it would be good for nothing.
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


def server_leaf(
    key: ec.EllipticCurvePublicKey,
    hosts: Iterable[str],
    anchor_key: ec.EllipticCurvePrivateKey,
    anchor: x509.Certificate,
    now: dt.datetime,
    days: int,
) -> x509.Certificate:
    """The TLS server's certificate for `hosts` (DNS names and IP addresses)."""
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
    """The certificate's SKI as PKIX-CD writes it in URLs: lower-case hex pairs joined by dashes."""
    extension = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return extension.value.digest.hex("-")


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER, lower-case hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()
