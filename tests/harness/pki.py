"""Certificates for tests: honest ones, and dishonest ones of every kind."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dane_radius.core.certificate import parse_leaf
from dane_radius.core.tlsa import TlsaRecord, association

DAY = timedelta(days=1)
Key = Any

_CA_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Identity:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: Key

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    @property
    def ski(self) -> bytes:
        extension = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return bytes(extension.value.digest)

    def tlsa(self, usage: int = 3, selector: int = 1, matching_type: int = 1) -> TlsaRecord:
        """The record that vouches for this certificate."""
        data = association(self.der, parse_leaf(self.der).spki, selector, matching_type)
        return TlsaRecord(usage, selector, matching_type, data)

    def save(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write NAME.pem and NAME.key; returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.pem)
        key.write_bytes(self.key_pem)
        return certificate, key


@dataclass(frozen=True)
class Authority(Identity):
    """A CA."""

    def issue(
        self,
        *names: str,
        key: Key | None = None,
        days: float = 30,
        not_before: datetime | None = None,
        san: x509.SubjectAlternativeName | str | None = "from names",
        eku: Sequence[x509.ObjectIdentifier] | None = (ExtendedKeyUsageOID.CLIENT_AUTH,),
        common_name: str = "device",
        ca: bool = False,
        path_length: int | None = None,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
        aki: x509.AuthorityKeyIdentifier | None = None,
        ski: bytes | None = None,
    ) -> Identity:
        """A certificate for `names` (dNSNames)."""
        key = key or new_key()
        start = not_before or datetime.now(UTC) - timedelta(hours=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier(ski) if ski else x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
                critical=False,
            )
            .add_extension(
                aki or x509.AuthorityKeyIdentifier.from_issuer_public_key(self.certificate.public_key()),
                critical=False,
            )
        )
        if san == "from names":
            san = x509.SubjectAlternativeName([x509.DNSName(name) for name in names]) if names else None
        if isinstance(san, x509.SubjectAlternativeName):
            builder = builder.add_extension(san, critical=False)
        if eku:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(eku)), critical=False)
        if ca and not _has_usage(extensions):
            builder = builder.add_extension(_CA_USAGE, critical=True)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return Identity(builder.sign(self.key, hashes.SHA256()), key)

    def full_aki(self, key_identifier: bytes | None = None) -> x509.AuthorityKeyIdentifier:
        """An AKI that also names this CA by serial number, to tell it from a CA with the same DN and SKI."""
        issuer = [x509.DirectoryName(self.certificate.subject)]
        return x509.AuthorityKeyIdentifier(key_identifier or self.ski, issuer, self.certificate.serial_number)

    def sub_authority(self, subject: str, *, path_length: int | None = None, **options: Any) -> Authority:
        """An intermediate CA below this one."""
        issued = self.issue(
            common_name=subject, ca=True, path_length=path_length, eku=options.pop("eku", None), **options
        )
        return Authority(issued.certificate, issued.key)


def _has_usage(extensions: Sequence[tuple[x509.ExtensionType, bool]]) -> bool:
    return any(extension.oid == x509.KeyUsage.oid for extension, _ in extensions)


def authority(
    subject: str = "Test CA",
    *,
    key: Key | None = None,
    days: float = 365,
    ski: bytes | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ca: bool = True,
    key_usage: bool = True,
) -> Authority:
    """A self-signed CA. key_usage: whether it has that extension, as RFC 5280 section 4.2.1.3 demands."""
    key = key or new_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    start = datetime.now(UTC) - timedelta(hours=2)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier(ski) if ski else x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
            critical=False,
        )
    )
    if ca and key_usage and not _has_usage(extensions):
        builder = builder.add_extension(_CA_USAGE, critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return Authority(builder.sign(key, hashes.SHA256()), key)


def self_signed(name: str, *, key: Key | None = None, days: float = 30) -> Identity:
    """A device certificate that no CA issued."""
    key = key or new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.now(UTC) - timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Identity(certificate, key)
