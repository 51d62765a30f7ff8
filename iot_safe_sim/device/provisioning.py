"""Provisioning data: what a registry stores on the card besides the certificate. Pure.

The data are checked here as the users of the card will check them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from iot_safe_sim.device.certificate import dns_name, public_point
from iot_safe_sim.interface import containers

#: Bytes of the URL blob. A client reads it by one READ FILE, and takes no more.
MAX_URL_BLOB = 100


class ProvisioningError(ValueError):
    """The provisioning data or a certificate are wrong; the text says which check failed."""


@dataclass(frozen=True)
class Provisioning:
    """The contents of files 03 and 06 to 0A."""

    root_ca: x509.Certificate
    issuing_ca: x509.Certificate
    server_certificate: x509.Certificate
    url_blob: bytes
    url_signature: bytes
    server_certificate_signature: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Provisioning:
        """From the registry's JSON. Raises ProvisioningError, which names the field."""
        try:
            document = json.loads(raw)
        except ValueError:
            raise ProvisioningError("provisioning data: not JSON") from None
        if not isinstance(document, dict):
            raise ProvisioningError("provisioning data: not a JSON object")
        return cls(
            root_ca=_certificate(document, "root_ca"),
            issuing_ca=_certificate(document, "issuing_ca"),
            server_certificate=_certificate(document, "server_certificate"),
            url_blob=_bytes(document, "url_blob"),
            url_signature=_bytes(document, "url_signature"),
            server_certificate_signature=_bytes(document, "server_certificate_signature"),
        )

    def check(self, now: datetime) -> None:
        """Check chain, dates and signatures. Raises ProvisioningError."""
        _issued_by("root CA", self.root_ca, self.root_ca)
        _issued_by("issuing CA", self.issuing_ca, self.root_ca)
        for name, certificate in (
            ("root CA", self.root_ca),
            ("issuing CA", self.issuing_ca),
            ("server certificate", self.server_certificate),
        ):
            check_dates(name, certificate, now)
        if len(self.url_blob) > MAX_URL_BLOB or self.url_blob[:1] != b"{":
            raise ProvisioningError(f"url_blob: expected a JSON object of at most {MAX_URL_BLOB} bytes")
        self._check_signature("url_signature", self.url_signature, self.url_blob)
        server = self.server_certificate.public_bytes(Encoding.DER)
        self._check_signature("server_certificate_signature", self.server_certificate_signature, server)

    def check_certificate(
        self,
        certificate: x509.Certificate,
        name: str,
        point: bytes,
        now: datetime,
        predecessors: Sequence[x509.Certificate] = (),
    ) -> None:
        """Check a device certificate. Raises ProvisioningError.

        It must be for `name` and the key `point`, and be valid now. Its issuer must be the issuing CA or one of its
        `predecessors`, which are CA certificates too.
        """
        found = dns_name(certificate)
        if found is None or found.lower() != name:
            raise ProvisioningError(f"the certificate is for {found or 'no single DNS name'}, expected {name}")
        try:
            right_key = public_point(certificate) == point
        except ValueError as error:
            raise ProvisioningError(str(error)) from error
        if not right_key:
            raise ProvisioningError("the certificate is for another key than the card's")
        issuers = (issuer for issuer in predecessors if issuer.subject == certificate.issuer)
        _issued_by("device certificate", certificate, next(issuers, self.issuing_ca))
        check_dates("device certificate", certificate, now)

    def files(self) -> dict[bytes, bytes]:
        """The content of each file, by its identifier."""
        return {
            containers.SERVER_CERTIFICATE: self.server_certificate.public_bytes(Encoding.DER),
            containers.ROOT_CA: self.root_ca.public_bytes(Encoding.DER),
            containers.ISSUING_CA: self.issuing_ca.public_bytes(Encoding.DER),
            containers.URL_BLOB: self.url_blob,
            containers.URL_SIGNATURE: self.url_signature,
            containers.SERVER_CERTIFICATE_SIGNATURE: self.server_certificate_signature,
        }

    def _check_signature(self, field: str, signature: bytes, data: bytes) -> None:
        key = self.issuing_ca.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ProvisioningError("issuing_ca: its key is not an elliptic curve key")
        try:
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise ProvisioningError(f"{field}: not the issuing CA's signature") from None


def check_dates(name: str, certificate: x509.Certificate, now: datetime) -> None:
    """Raises ProvisioningError when `now` is outside the certificate's validity."""
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise ProvisioningError(
            f"{name}: valid from {certificate.not_valid_before_utc.isoformat()} "
            f"to {certificate.not_valid_after_utc.isoformat()}, and it is {now.isoformat()}"
        )


def _issued_by(name: str, certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature) as error:
        subject = issuer.subject.rfc4514_string() or "its issuer"
        raise ProvisioningError(f"{name}: not issued by {subject}: {error or 'wrong signature'}") from error


def _certificate(document: dict[str, object], field: str) -> x509.Certificate:
    value = document.get(field)
    try:
        return x509.load_pem_x509_certificate(str(value).encode())
    except ValueError:
        raise ProvisioningError(f"provisioning data: {field}: expected a certificate in PEM") from None


def _bytes(document: dict[str, object], field: str) -> bytes:
    value = document.get(field)
    try:
        return base64.b64decode(str(value) if value is not None else "!", validate=True)
    except ValueError:
        raise ProvisioningError(f"provisioning data: {field}: expected base64") from None
