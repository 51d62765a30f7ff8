"""The certificates of the conformance cases: chains described as data, made once, at a fixed point in time."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from dane_radius.core import der
from dane_radius.core.anchor_record import Anchor, AnchorRecord, AnchorSource
from tests.harness.pki import Identity
from tests.unit.dane_radius.test_der import tlv

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
NAME = "a1.camera._device.example.net"
DOMAIN = "_device.example.net"
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE


@dataclass(frozen=True)
class Spec:
    """One certificate. Dates are days from NOW; `by` names its issuer's role in the chain (None: itself)."""

    role: str
    by: str | None
    subject: str
    key: str = "p256"
    start: float = -10.0
    end: float = 100.0
    ca: bool | None = False
    path_length: int | None = None
    usages: tuple[str, ...] = ()
    eku: tuple[ObjectIdentifier, ...] = ()
    names: tuple[str, ...] = ()
    more_names: tuple[x509.GeneralName, ...] = ()
    permitted: tuple[x509.GeneralName, ...] = ()
    excluded: tuple[x509.GeneralName, ...] = ()
    sha1: bool = False
    key_of: str | None = None
    wrong_key: bool = False
    key_ids: bool = True
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    hash: Any = field(default_factory=hashes.SHA256)


def ca(role: str, by: str | None = None, **options: Any) -> Spec:
    """A CA certificate; self-signed without `by`."""
    options.setdefault("subject", f"CA {role}")
    return Spec(role, by, **{"ca": True, **options})


def leaf(by: str | None = "root", *, role: str = "leaf", **options: Any) -> Spec:
    """The device's certificate."""
    options.setdefault("subject", "device")
    return Spec(role, by, **{"eku": (CLIENT,), "names": (NAME,), **options})


@lru_cache(maxsize=64)
def shared_key(kind: str) -> Any:
    """RSA and DSA keys take long to make. One of each kind is enough where only the kind matters."""
    if kind.startswith("dsa"):
        return dsa.generate_private_key(int(kind.removeprefix("dsa")))
    return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))


def make_key(kind: str) -> Any:
    if kind.startswith(("rsa", "dsa")):
        return shared_key(kind)
    return {
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "p192": lambda: ec.generate_private_key(ec.SECP192R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }[kind]()


def build(specs: tuple[Spec, ...]) -> dict[str, Identity]:
    """The certificates of a chain by role."""
    made: dict[str, Identity] = {}
    for spec in specs:
        key = made[spec.key_of].key if spec.key_of else make_key(spec.key)
        issuer = made[spec.by] if spec.by else None
        made[spec.role] = _certificate(spec, key, issuer)
    return made


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def _certificate(spec: Spec, key: Any, issuer: Identity | None) -> Identity:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(spec.subject))
        .issuer_name(issuer.certificate.subject if issuer else _name(spec.subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=spec.start))
        .not_valid_after(NOW + timedelta(days=spec.end))
    )
    signer = issuer.key if issuer else key
    extensions = _extensions(spec)
    if spec.key_ids:
        extensions += [
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
        ]
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    if spec.wrong_key:
        signer = make_key("p256")
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else spec.hash
    identity = Identity(builder.sign(signer, algorithm), key)
    return Identity(x509.load_der_x509_certificate(_sha1_signed(identity.der, signer)), key) if spec.sha1 else identity


def _extensions(spec: Spec) -> list[tuple[x509.ExtensionType, bool]]:
    found: list[tuple[x509.ExtensionType, bool]] = list(spec.extra)
    if spec.ca is not None:
        found.append((x509.BasicConstraints(spec.ca, spec.path_length), True))
    if spec.usages:
        fields = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                  "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
        found.append((x509.KeyUsage(**{name: name in spec.usages for name in fields}), True))
    if spec.eku:
        found.append((x509.ExtendedKeyUsage(spec.eku), False))
    names = [*(x509.DNSName(name) for name in spec.names), *spec.more_names]
    if names:
        found.append((x509.SubjectAlternativeName(names), not spec.subject))
    if spec.permitted or spec.excluded:
        found.append((x509.NameConstraints(list(spec.permitted) or None, list(spec.excluded) or None), True))
    return found


def _sha1_signed(certificate: bytes, key: Any) -> bytes:
    """The same certificate with ecdsa-with-SHA1, which cryptography no longer makes."""
    from tests.conformance.openssl import sign_sha1

    algorithm = tlv(der.SEQUENCE, bytes.fromhex("06072a8648ce3d0401"))
    outer = der.only(certificate, der.SEQUENCE, "Certificate")
    tbs = next(der.children(certificate, outer))
    fields = [child.whole(certificate) for child in der.children(certificate, tbs)]
    fields[2] = algorithm
    body = tlv(der.SEQUENCE, b"".join(fields))
    return tlv(der.SEQUENCE, body + algorithm + tlv(der.BIT_STRING, b"\0" + sign_sha1(body, key)))


def anchor(identity: Identity, domain: str = DOMAIN, source: AnchorSource = AnchorSource.REGISTRY) -> Anchor:
    """The form in which the anchor directory holds it."""
    certificate = identity.certificate
    return Anchor(
        AnchorRecord(
            fingerprint=identity.fingerprint,
            file="00000000.0",
            subject=certificate.subject.rfc4514_string(),
            ski="",
            domains=(domain,),
            source=source,
            fetched=NOW,
            not_after=certificate.not_valid_after_utc,
        ),
        identity.der,
    )


def dns(name: str) -> x509.DNSName:
    return x509.DNSName(name)


def ip(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_network(text) if "/" in text else ipaddress.ip_address(text))


def directory(text: str) -> x509.DirectoryName:
    return x509.DirectoryName(_name(text))
