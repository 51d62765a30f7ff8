"""Vetting certificate requests (PKCS #10, RFC 2986). Pure.

A request may ask for one thing only: an end-entity certificate for the name that was assigned to its sender.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, ExtensionOID, NameOID

from iot_registry.core.errors import CsrReason
from web_service.core import Reason, Refused

# A P-256 request with one name has about 300 octets of DER. The bound also limits the work of the parser.
MAX_CSR_DER = 8 * 1024

# pkcs-9-at-extensionRequest, RFC 2985 section 5.4.2.
_EXTENSION_REQUEST = x509.ObjectIdentifier("1.2.840.113549.1.9.14")
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_PARSE_ERRORS = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True)
class VettedRequest:
    """The public key of a request that passed. The signature proved that its sender holds the private key."""

    public_key: ec.EllipticCurvePublicKey
    spki: bytes


def vet(der: bytes, device_name: str) -> VettedRequest:
    """Check a request for `device_name`. Raises Refused with the first fault that is found."""
    if len(der) > MAX_CSR_DER:
        raise Refused(
            Reason.TOO_LARGE,
            f"found a request of {len(der)} octets, expected at most {MAX_CSR_DER}",
            field="csr",
        )
    try:
        csr = x509.load_der_x509_csr(der)
        if csr.public_bytes(serialization.Encoding.DER) != der:
            raise ValueError("not canonical DER")
        key = csr.public_key()
        extensions = csr.extensions
        subject = csr.subject
        attributes = list(csr.attributes)
    except _PARSE_ERRORS as error:
        raise Refused(CsrReason.CSR_MALFORMED, f"not a PKCS #10 request in DER: {error}", field="csr") from None
    public = _check_key(key)
    _check_signature(csr)
    _check_subject(subject, device_name)
    _check_attributes(attributes)
    names = _check_extensions(extensions, device_name)
    if not names and not subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        raise Refused(
            CsrReason.CSR_FOREIGN_NAME,
            f"found a request without a name, expected the dNSName {device_name}: make the request again with it",
            field="csr.subjectAltName",
        )
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return VettedRequest(public, spki)


def _check_key(key: object) -> ec.EllipticCurvePublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    found = type(key).__name__
    if isinstance(key, ec.EllipticCurvePublicKey):
        found = f"an EC key on {key.curve.name}"
    elif isinstance(key, rsa.RSAPublicKey):
        found = f"an RSA key of {key.key_size} bits"
    raise Refused(
        CsrReason.CSR_WEAK_KEY,
        f"found {found}, expected an EC key on P-256 or P-384: make a new key",
        field="csr.subjectPublicKeyInfo",
    )


def _check_signature(csr: x509.CertificateSigningRequest) -> None:
    try:
        algorithm = csr.signature_hash_algorithm
        valid = csr.is_signature_valid
    except _PARSE_ERRORS:
        algorithm, valid = None, False
    if not isinstance(algorithm, _HASHES):
        found = algorithm.name if algorithm else "of an unknown kind"
        raise Refused(
            CsrReason.CSR_BAD_SIGNATURE,
            f"found a signature with hash {found}, expected SHA-256, SHA-384 or SHA-512",
            field="csr.signatureAlgorithm",
        )
    if not valid:
        raise Refused(
            CsrReason.CSR_BAD_SIGNATURE,
            "the signature does not verify with the key in the request: sign the request with that key",
            field="csr.signature",
        )


def _foreign_name(found: str, device_name: str, field: str) -> Refused:
    return Refused(CsrReason.CSR_FOREIGN_NAME, f"found {found[:120]}, expected only {device_name}", field=field)


def _same_name(found: object, device_name: str) -> bool:
    return isinstance(found, str) and found.isascii() and found.lower() == device_name


def _check_subject(subject: x509.Name, device_name: str) -> None:
    for attribute in subject:
        if attribute.oid != NameOID.COMMON_NAME or not _same_name(attribute.value, device_name):
            raise _foreign_name(attribute.rfc4514_string(), device_name, "csr.subject")
    if len(list(subject)) > 1:
        raise _foreign_name("several common names", device_name, "csr.subject")


def _check_attributes(attributes: list[x509.Attribute]) -> None:
    # EST clients may send challengePassword for channel binding (RFC 7030 section 3.5). It is ignored.
    allowed = {AttributeOID.CHALLENGE_PASSWORD, _EXTENSION_REQUEST}
    for attribute in attributes:
        if attribute.oid not in allowed:
            raise Refused(
                CsrReason.CSR_EXTENSION,
                f"found attribute {attribute.oid.dotted_string}, expected only an extension request",
                field="csr.attributes",
            )


def _check_extensions(extensions: x509.Extensions, device_name: str) -> list[str]:
    names: list[str] = []
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            names += _check_alternative_names(value, device_name)
        elif isinstance(value, x509.BasicConstraints):
            if value.ca:
                raise Refused(
                    CsrReason.CSR_WANTS_CA,
                    "found basicConstraints CA:TRUE, expected an end entity: leave it out of the request",
                    field="csr.basicConstraints",
                )
        elif isinstance(value, x509.KeyUsage):
            if value.key_cert_sign or value.crl_sign:
                raise Refused(
                    CsrReason.CSR_WANTS_CA,
                    "found keyUsage keyCertSign or cRLSign, expected digitalSignature only",
                    field="csr.keyUsage",
                )
        elif isinstance(value, x509.ExtendedKeyUsage):
            if set(value) - {ExtendedKeyUsageOID.CLIENT_AUTH}:
                found = ", ".join(oid.dotted_string for oid in value)
                raise Refused(
                    CsrReason.CSR_EXTENSION,
                    f"found extended key usage {found}, expected clientAuth only",
                    field="csr.extendedKeyUsage",
                )
        elif extension.oid != ExtensionOID.SUBJECT_KEY_IDENTIFIER:
            raise Refused(
                CsrReason.CSR_EXTENSION,
                f"found a request for extension {extension.oid.dotted_string}, expected only subjectAltName, "
                "basicConstraints, keyUsage and extendedKeyUsage",
                field="csr.extensions",
            )
    return names


def _check_alternative_names(value: x509.SubjectAlternativeName, device_name: str) -> list[str]:
    found = list(value)
    for general in found:
        if not isinstance(general, x509.DNSName) or not _same_name(general.value, device_name):
            raise _foreign_name(f"{type(general).__name__} {general.value!s}", device_name, "csr.subjectAltName")
    if len(found) != 1:
        raise _foreign_name(f"{len(found)} alternative names", device_name, "csr.subjectAltName")
    return [device_name]
