"""Verify the detached signature of a MUD file (RFC 8520 section 13)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from mud.limits import MAX_CHAIN_DEPTH
from mud.signature.certificate_extensions import MudExtensionError, read_name
from mud.signature.message import SignedMessage, read_message
from mud.signature.reasons import SignatureReason, SignatureRefused

_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 8192
# RFC 8520 defines no purpose for signers. One that is limited to TLS belongs to a web server or a device.
_PURPOSES = (
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    ExtendedKeyUsageOID.EMAIL_PROTECTION,
    ExtendedKeyUsageOID.CODE_SIGNING,
    # RFC 9336: documentSigning.
    x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36"),
)


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A valid signature. `signer`: its certificate, whose subject a person may recognize."""

    signer: x509.Certificate
    # The end of the first certificate in the chain that expires.
    expires: dt.datetime


def verify_signature(
    content: bytes,
    signature: bytes,
    roots: Sequence[x509.Certificate],
    now: dt.datetime,
    mudsigner: bytes | None = None,
) -> VerifiedSignature:
    """Verify that `signature` (CMS, DER) is one of `content`, by a signer that one of `roots` vouches for.

    `roots` must be anchors for MUD signers only: with a CA of device certificates, each device could sign. A signer's
    own certificate among them is trusted as it is. `mudsigner` is the subject (DER) that the device's certificate
    demands. Raises SignatureRefused; its reason EXPIRED means that nothing is wrong except the time.
    """
    message = read_message(signature, content)
    _check_signature(message)
    _check_usage(message.signer)
    _check_subject(message.signer, mudsigner)
    return VerifiedSignature(message.signer, _verify_chain(message, roots, now))


def _check_signature(message: SignedMessage) -> None:
    if message.algorithm_digest not in (None, message.digest_name):
        raise SignatureRefused(
            SignatureReason.ALGORITHM,
            f"{message.algorithm_digest} beside {message.digest_name}; one digest is expected",
        )
    try:
        key = message.signer.public_key()
        if message.algorithm == "ecdsa" and isinstance(key, ec.EllipticCurvePublicKey):
            if not isinstance(key.curve, _CURVES):
                raise SignatureRefused(SignatureReason.ALGORITHM, f"the curve {key.curve.name} is not accepted")
            key.verify(message.signature, message.signed, ec.ECDSA(message.digest))
        elif message.algorithm == "rsassa_pkcs1v15" and isinstance(key, rsa.RSAPublicKey):
            if not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
                raise SignatureRefused(
                    SignatureReason.ALGORITHM,
                    f"an RSA key of {key.key_size} bits, {_MIN_RSA_BITS} to {_MAX_RSA_BITS} are expected",
                )
            key.verify(message.signature, message.signed, padding.PKCS1v15(), message.digest)
        else:
            raise SignatureRefused(
                SignatureReason.ALGORITHM, f"{message.algorithm} does not fit the key of the signer's certificate"
            )
    except InvalidSignature as error:
        raise SignatureRefused(SignatureReason.SIGNATURE, "the signature is not one by the signer's key") from error
    except SignatureRefused:
        raise
    except (UnsupportedAlgorithm, ValueError) as error:
        raise SignatureRefused(SignatureReason.MALFORMED, f"the signer's key: {error}") from error


def _check_usage(signer: x509.Certificate) -> None:
    try:
        usage = signer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if usage is None or not usage.digital_signature:
        # RFC 8520 section 13.2.
        raise SignatureRefused(SignatureReason.KEY_USAGE, "the key usage digitalSignature is expected")
    try:
        purposes = list(signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return
    if not any(purpose in _PURPOSES for purpose in purposes):
        named = ", ".join(purpose.dotted_string for purpose in purposes)
        raise SignatureRefused(
            SignatureReason.PURPOSE, f"the extended key usage has no purpose of signing, only {named}"
        )


def _check_subject(signer: x509.Certificate, mudsigner: bytes | None) -> None:
    """RFC 5280 section 7.1 compares names: case, spaces and the type of a string do not count."""
    if mudsigner is None:
        return
    try:
        if read_name(mudsigner) == read_name(signer.subject.public_bytes()):
            return
    except MudExtensionError as error:
        raise SignatureRefused(SignatureReason.MUDSIGNER, str(error)) from error
    raise SignatureRefused(
        SignatureReason.MUDSIGNER,
        f"the device's certificate demands another signer than {signer.subject.rfc4514_string()}",
    )


def _verify_chain(message: SignedMessage, roots: Sequence[x509.Certificate], now: dt.datetime) -> dt.datetime:
    """The time at which the chain ends. Raises SignatureRefused."""
    if not roots:
        raise SignatureRefused(SignatureReason.CHAIN, "no root for MUD signers is configured")
    try:
        return _chain_end(message, roots, now)
    except VerificationError as error:
        failure = error
    # Valid once? Any chain that was valid at some time was valid when the first of its certificates expired.
    for certificate in (message.signer, *message.others, *roots):
        then = certificate.not_valid_after_utc
        if then >= now:
            continue
        try:
            _chain_end(message, roots, then)
        except VerificationError:
            continue
        raise SignatureRefused(SignatureReason.EXPIRED, f"a certificate of the chain expired on {then:%Y-%m-%d}")
    raise SignatureRefused(SignatureReason.CHAIN, f"no root vouches for the signer: {failure}")


def _is_ca(_policy: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    """RFC 5280 section 6.1.4 (k)."""
    if not constraints.ca:
        raise ValueError("the issuer is no CA")


def _may_sign(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    """RFC 5280 section 6.1.4 (n)."""
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("the issuer's key usage lacks keyCertSign")


# Makers run private CAs, often with OpenSSL's defaults: basicConstraints that are not critical, and no keyUsage. The
# web's profile would refuse them, RFC 5280 section 6.1 does not.
_CA_POLICY = (
    ExtensionPolicy.webpki_defaults_ca()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_ca)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)
)
# A signer has no name of a host and no purpose of TLS. Its usage was checked before.
_SIGNER_POLICY = ExtensionPolicy.permit_all()


def _chain_end(message: SignedMessage, roots: Sequence[x509.Certificate], now: dt.datetime) -> dt.datetime:
    verifier = (
        PolicyBuilder()
        .store(Store(list(roots)))
        .time(now)
        .max_chain_depth(MAX_CHAIN_DEPTH)
        .extension_policies(ca_policy=_CA_POLICY, ee_policy=_SIGNER_POLICY)
        .build_client_verifier()
    )
    try:
        chain = verifier.verify(message.signer, list(message.others)).chain
    except VerificationError:
        raise
    except Exception as error:
        # cryptography parses lazily, so a malformed part of a certificate can appear here first.
        raise SignatureRefused(SignatureReason.MALFORMED, f"a certificate: {error}") from error
    return min(certificate.not_valid_after_utc for certificate in chain)
