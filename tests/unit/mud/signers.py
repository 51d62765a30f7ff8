"""A CA for MUD signers, and signatures of every kind, made by OpenSSL: honest ones and ones that must be refused."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
MUDTYPE = "1.2.840.113549.1.9.16.1.41"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Signer:
    """A certificate with its key, in files as OpenSSL wants them."""

    certificate: x509.Certificate
    key: Any
    folder: Path
    label: str

    @property
    def subject(self) -> bytes:
        return self.certificate.subject.public_bytes()

    @property
    def pem(self) -> Path:
        return self.folder / f"{self.label}.pem"

    @property
    def key_file(self) -> Path:
        return self.folder / f"{self.label}.key"


def key_usage(*, digital_signature: bool, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=not digital_signature,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def certificate(
    folder: Path,
    label: str,
    issuer: Signer | None = None,
    *,
    ca: bool = False,
    key: Any = None,
    days: tuple[int, int] = (-100, 100),
    usage: bool | None = True,
    purposes: Sequence[ObjectIdentifier] = (),
    extra: Sequence[x509.ExtensionType] = (),
    path_length: int | None = None,
    critical: bool = True,
) -> Signer:
    """A certificate. `days`: its validity from NOW.

    `usage`: the right one for a CA or a signer (True), the other one (False), no extension (None).
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Maker"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"MUD {label}"),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + days[0] * DAY)
        .not_valid_after(NOW + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=critical)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer.key if issuer else key).public_key()),
            critical=False,
        )
    )
    if usage is not None:
        builder = builder.add_extension(key_usage(digital_signature=usage is not ca, ca=usage is ca), critical=True)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
    for extension in extra:
        builder = builder.add_extension(extension, critical=False)
    made = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    signer = Signer(made, key, folder, label)
    signer.pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    encoding = serialization.PrivateFormat.PKCS8
    signer.key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, encoding, serialization.NoEncryption()))
    return signer


def sign(content: bytes, *signers: Signer, chain: Sequence[Signer] = (), options: Sequence[str] = ()) -> bytes:
    """A CMS message in DER by `openssl cms -sign`, detached unless an option says otherwise."""
    folder = signers[0].folder
    (folder / "content").write_bytes(content)
    command = ["openssl", "cms", "-sign", "-in", "content", "-outform", "DER", "-out", "made.p7s", "-nosmimecap"]
    for signer in signers:
        command += ["-signer", signer.pem.name, "-inkey", signer.key_file.name]
    if chain:
        (folder / "chain.pem").write_bytes(b"".join(one.pem.read_bytes() for one in chain))
        command += ["-certfile", "chain.pem"]
    options = ["-binary", *options] if "text-mode" not in options else [one for one in options if one != "text-mode"]
    subprocess.run([*command, *options], cwd=folder, check=True, capture_output=True)
    return (folder / "made.p7s").read_bytes()


def openssl_accepts(content: bytes, signature: bytes, root: Path, folder: Path, *options: str) -> bool:
    """The second opinion."""
    (folder / "content").write_bytes(content)
    (folder / "to-verify.p7s").write_bytes(signature)
    done = subprocess.run(
        ["openssl", "cms", "-verify", "-binary", "-in", "to-verify.p7s", "-inform", "DER", "-content", "content",
         "-CAfile", str(root), "-attime", str(int(NOW.timestamp())), "-out", "/dev/null", *options],
        cwd=folder, capture_output=True,
    )  # fmt: skip
    return done.returncode == 0


def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


EMAIL, TLS_SERVER, CODE = (
    ExtendedKeyUsageOID.EMAIL_PROTECTION,
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.CODE_SIGNING,
)
