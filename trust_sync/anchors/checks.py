"""Requirements that a certificate must meet to become an anchor. Pure.

Every check raises CertificateRefused, which says what was found and what is expected.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from dane_radius.core import (
    MAX_CHAIN_CERTIFICATE_OCTETS,
    MAX_RSA_BITS,
    MAX_RSA_EXPONENT_BITS,
    Refused,
    candidate_names,
    is_within,
    parse_leaf,
)
from trust_sync.anchors.certificate import (
    Certificate,
    CertificateProblem,
    CertificateRefused,
    extension,
    is_signed_by,
)

# For a device certificate with one name, this is an eighth of the comparisons that one decision may make.
MAX_NAME_CONSTRAINTS = 1_000


def check_dates(certificate: Certificate, now: datetime) -> None:
    """Require that the certificate is valid at `now`."""
    if now > certificate.not_after:
        raise CertificateRefused(CertificateProblem.EXPIRED, f"expired at {certificate.not_after:%Y-%m-%d %H:%M:%S}Z")
    if now < certificate.not_before:
        raise CertificateRefused(
            CertificateProblem.NOT_YET_VALID, f"not valid before {certificate.not_before:%Y-%m-%d %H:%M:%S}Z"
        )


def check_authority(certificate: Certificate, name: str, now: datetime) -> None:
    """Require that the certificate is a valid CA that may issue a certificate for the device `name`."""
    if not certificate.is_ca:
        raise CertificateRefused(CertificateProblem.NOT_A_CA, "not a CA (CA:TRUE is expected)")
    usage = extension(certificate.x509, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise CertificateRefused(CertificateProblem.NOT_A_CA, "its key usage does not allow signing certificates")
    check_dates(certificate, now)
    check_complexity(certificate)
    constraints = extension(certificate.x509, x509.NameConstraints)
    if constraints is None:
        return
    permitted = [t.value for t in constraints.permitted_subtrees or () if isinstance(t, x509.DNSName)]
    excluded = [t.value for t in constraints.excluded_subtrees or () if isinstance(t, x509.DNSName)]
    if (permitted and not any(_in_subtree(name, base) for base in permitted)) or any(
        _in_subtree(name, base) for base in excluded
    ):
        raise CertificateRefused(CertificateProblem.NAME_CONSTRAINED, f"its name constraints leave no room for {name}")


def check_complexity(certificate: Certificate) -> None:
    """Require that decisions can use the certificate within their limits (`dane_radius.core.work`).

    An anchor beyond these limits would be useless, and every decision about its domain would refuse it again.
    """
    octets = len(certificate.der)
    if octets > MAX_CHAIN_CERTIFICATE_OCTETS:
        raise CertificateRefused(
            CertificateProblem.TOO_COMPLEX, f"{octets} octets, at most {MAX_CHAIN_CERTIFICATE_OCTETS} expected"
        )
    key = certificate.x509.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        exponent = key.public_numbers().e.bit_length()
        if key.key_size > MAX_RSA_BITS or exponent > MAX_RSA_EXPONENT_BITS:
            raise CertificateRefused(
                CertificateProblem.TOO_COMPLEX,
                f"an RSA key of {key.key_size} bits with an exponent of {exponent} bits, "
                f"at most {MAX_RSA_BITS} and {MAX_RSA_EXPONENT_BITS} expected",
            )
    constraints = extension(certificate.x509, x509.NameConstraints)
    if constraints is not None:
        count = len(constraints.permitted_subtrees or ()) + len(constraints.excluded_subtrees or ())
        if count > MAX_NAME_CONSTRAINTS:
            raise CertificateRefused(
                CertificateProblem.TOO_COMPLEX, f"{count} name constraints, at most {MAX_NAME_CONSTRAINTS} expected"
            )


def _in_subtree(name: str, base: str) -> bool:
    base = base.lower().strip(".")
    return not base or is_within(name, base)


def check_device_certificate(certificate: Certificate, name: str, now: datetime) -> None:
    """Require that a certificate found in the DNS at `name` is the valid certificate of that device.

    One of its dNSNames must be the queried name (draft-wilson-dane-pkix-cd section 5).
    """
    try:
        outline = parse_leaf(certificate.der)
        names = candidate_names(outline)
    except Refused as error:
        raise CertificateRefused(CertificateProblem.WRONG_NAME, error.detail) from error
    if name not in names:
        raise CertificateRefused(
            CertificateProblem.WRONG_NAME, f"the certificate is for {', '.join(names)}; {name} is expected"
        )
    check_dates(certificate, now)


def check_issued(leaf: Certificate, issuer: Certificate) -> None:
    """Require that `issuer` signed `leaf` and has the key identifier that the leaf's AKI names."""
    if leaf.aki is not None and issuer.ski != leaf.aki:
        found = issuer.ski.hex() if issuer.ski else "none"
        raise CertificateRefused(
            CertificateProblem.WRONG_KEY_IDENTIFIER, f"subject key identifier {found}, {leaf.aki.hex()} expected"
        )
    if not is_signed_by(leaf.x509, issuer.x509):
        raise CertificateRefused(
            CertificateProblem.WRONG_SIGNATURE, f"{issuer.subject_text} did not sign the device's certificate"
        )
