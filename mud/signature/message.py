"""Read a detached CMS signature (RFC 5652) of a MUD file: one signer, whose certificate is inside."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any

from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mud.limits import MAX_SIGNATURE_CERTIFICATES, MAX_SIGNATURE_OCTETS
from mud.signature.reasons import SignatureReason, SignatureRefused

ID_DATA = "1.2.840.113549.1.7.1"
# RFC 8520 section 13.1. `openssl cms -sign` writes id-data unless it is told otherwise.
ID_CT_MUDTYPE = "1.2.840.113549.1.9.16.1.41"
_DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """What a CMS message claims. Nothing in it is verified but the digest of the content."""

    signer: x509.Certificate
    others: tuple[x509.Certificate, ...]
    digest: hashes.HashAlgorithm
    digest_name: str
    # asn1crypto's names: the algorithm, and its digest or None.
    algorithm: str
    algorithm_digest: str | None
    # The octets that are signed, and their signature.
    signed: bytes
    signature: bytes


def read_message(der: bytes, content: bytes) -> SignedMessage:
    """The message in `der` about `content`. Raises SignatureRefused."""
    if len(der) > MAX_SIGNATURE_OCTETS:
        raise SignatureRefused(
            SignatureReason.TOO_LARGE, f"{len(der)} octets, at most {MAX_SIGNATURE_OCTETS} are expected"
        )
    try:
        return _read(der, content)
    except SignatureRefused:
        raise
    except Exception as error:
        # asn1crypto parses lazily, and cryptography reads the certificates. On malformed input they have raised
        # ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm, InvalidVersion and DuplicateExtension.
        raise SignatureRefused(SignatureReason.MALFORMED, f"no CMS message: {type(error).__name__}: {error}") from error


def _read(der: bytes, content: bytes) -> SignedMessage:
    outer = cms.ContentInfo.load(der, strict=True)
    if outer["content_type"].native != "signed_data":
        raise SignatureRefused(SignatureReason.CONTENT_TYPE, f"{outer['content_type'].native} is no signed-data")
    data = outer["content"]
    content_type = data["encap_content_info"]["content_type"].dotted
    if data["encap_content_info"]["content"].native is not None:
        raise SignatureRefused(
            SignatureReason.ATTACHED, "the message has a content of its own; a detached one is expected"
        )
    if content_type not in (ID_DATA, ID_CT_MUDTYPE):
        raise SignatureRefused(SignatureReason.CONTENT_TYPE, f"{content_type} is no MUD file")
    if len(data["signer_infos"]) != 1:
        raise SignatureRefused(SignatureReason.SIGNERS, f"{len(data['signer_infos'])} signers, one is expected")
    info = data["signer_infos"][0]
    signer, others = _certificates(data["certificates"], info["sid"])
    digest_name = info["digest_algorithm"]["algorithm"].native
    digest = _DIGESTS.get(digest_name)
    if digest is None:
        raise SignatureRefused(SignatureReason.DIGEST, f"{digest_name}; sha256, sha384 or sha512 is expected")
    algorithm, algorithm_digest = _algorithm(info["signature_algorithm"])
    return SignedMessage(
        signer=signer,
        others=others,
        digest=digest,
        digest_name=digest_name,
        algorithm=algorithm,
        algorithm_digest=algorithm_digest,
        signed=_signed_octets(info, content, content_type, digest),
        signature=info["signature"].native,
    )


def _certificates(certificates: Any, sid: Any) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    """The signer's certificate, by issuer and serial number or by key identifier, and all others."""
    if len(certificates) > MAX_SIGNATURE_CERTIFICATES:
        raise SignatureRefused(
            SignatureReason.TOO_LARGE,
            f"{len(certificates)} certificates, at most {MAX_SIGNATURE_CERTIFICATES} are expected",
        )
    signer: list[bytes] = []
    others: list[bytes] = []
    for choice in certificates:
        if choice.name != "certificate":
            raise SignatureRefused(SignatureReason.MALFORMED, f"a certificate of the form {choice.name}")
        certificate = choice.chosen
        if sid.name == "issuer_and_serial_number":
            wanted = sid.chosen
            is_signer = (
                certificate.serial_number == wanted["serial_number"].native and certificate.issuer == wanted["issuer"]
            )
        else:
            is_signer = certificate.key_identifier is not None and certificate.key_identifier == sid.chosen.native
        (signer if is_signer and not signer else others).append(certificate.dump())
    if not signer:
        raise SignatureRefused(SignatureReason.NO_CERTIFICATE, "the signer's certificate is not in the message")
    return _load(signer[0]), tuple(_load(der) for der in others)


def _load(der: bytes) -> x509.Certificate:
    certificate = x509.load_der_x509_certificate(der)
    # Parsed lazily, too.
    _ = certificate.subject, certificate.issuer, certificate.extensions, certificate.not_valid_after_utc
    return certificate


def _algorithm(identifier: Any) -> tuple[str, str | None]:
    """The signature algorithm, and the digest that it names. `rsaEncryption` names none."""
    algorithm = identifier.signature_algo
    if algorithm not in ("ecdsa", "rsassa_pkcs1v15"):
        raise SignatureRefused(SignatureReason.ALGORITHM, f"{algorithm}; ECDSA or RSA with PKCS #1 v1.5 is expected")
    if identifier["algorithm"].native == "rsassa_pkcs1v15":
        return algorithm, None
    return algorithm, identifier.hash_algo


def _signed_octets(info: Any, content: bytes, content_type: str, digest: hashes.HashAlgorithm) -> bytes:
    """RFC 5652 section 5.4: the attributes as a SET, or without attributes the content itself."""
    attributes = info["signed_attrs"]
    if attributes.native is None:
        return content
    values: dict[str, Any] = {}
    for attribute in attributes:
        name = attribute["type"].dotted
        if name in values or len(attribute["values"]) != 1:
            raise SignatureRefused(SignatureReason.ATTRIBUTES, f"attribute {name}: one value is expected")
        values[name] = attribute["values"][0]
    message_digest = values.get("1.2.840.113549.1.9.4")
    said_type = values.get("1.2.840.113549.1.9.3")
    if message_digest is None or said_type is None:
        raise SignatureRefused(SignatureReason.ATTRIBUTES, "messageDigest and contentType are expected")
    if said_type.dotted != content_type:
        raise SignatureRefused(SignatureReason.ATTRIBUTES, f"contentType {said_type.dotted} beside {content_type}")
    context = hashes.Hash(digest)
    context.update(content)
    if not hmac.compare_digest(message_digest.native, context.finalize()):
        raise SignatureRefused(SignatureReason.CONTENT_CHANGED, "the file is not the one that was signed")
    # The tag [0] of the message is not part of what is signed.
    return bytes(attributes.untag().dump(force=True))
