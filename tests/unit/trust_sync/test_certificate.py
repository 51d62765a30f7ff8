"""Certificates that no decision could use within its bounds are not taken for anchors."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from trust_sync.anchors import CertificateProblem, CertificateRefused, check_authority, parse_certificate
from trust_sync.discovery import Reason
from trust_sync.discovery.reasons import reason_of_certificate

NAME = "a1._device.example.net"
NOW = datetime.now(UTC)
SIGNER = ec.generate_private_key(ec.SECP256R1())
_serials = itertools.count(1)


def anchor(
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | None = None,
    constraints: int = 0,
    extensions: Sequence[x509.ExtensionType] = (),
) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key or SIGNER.public_key())
        .serial_number(next(_serials))
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=90))
        .add_extension(x509.BasicConstraints(True, None), True)
    )
    if constraints:
        trees = [x509.DNSName(f"{number:x}.org") for number in range(constraints)]
        builder = builder.add_extension(x509.NameConstraints(None, trees), True)
    for extension in extensions:
        builder = builder.add_extension(extension, False)
    return builder.sign(SIGNER, hashes.SHA256()).public_bytes(Encoding.DER)


def rsa_key(bits: int, exponent: int) -> rsa.RSAPublicKey:
    modulus = int.from_bytes(os.urandom(bits // 8), "big") | 1 << (bits - 1) | 1
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


@pytest.mark.parametrize(
    ("octets", "problem"),
    [
        (anchor(constraints=1001), "1001 name constraints, at most 1000 expected"),
        (anchor(rsa_key(16384, 65537)), "an RSA key of 16384 bits"),
        (anchor(rsa_key(2048, 2**40 + 1)), "an exponent of 41 bits"),
        (
            anchor(extensions=[x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(20_000))]),
            "octets, at most 16384 expected",
        ),
    ],
)
def test_what_takes_too_much_work_is_no_anchor(octets: bytes, problem: str) -> None:
    certificate = parse_certificate(octets)
    with pytest.raises(CertificateRefused, match=problem) as refused:
        check_authority(certificate, NAME, NOW)
    assert refused.value.problem is CertificateProblem.TOO_COMPLEX
    assert reason_of_certificate(refused.value.problem) is Reason.TOO_COMPLEX


@pytest.mark.parametrize(
    "octets",
    [anchor(), anchor(constraints=800), anchor(rsa_key(4096, 65537)), anchor(rsa_key(8192, 3))],
)
def test_what_real_cas_have_is_taken(octets: bytes) -> None:
    check_authority(parse_certificate(octets), NAME, NOW)


def test_every_problem_has_its_reason() -> None:
    assert {reason_of_certificate(problem).value for problem in CertificateProblem} == set(CertificateProblem)
