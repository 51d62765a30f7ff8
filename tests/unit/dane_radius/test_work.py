"""The limits on a decision's work, with hostile zones and certificates."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from dane_radius.core import tlsa, work
from dane_radius.core.answers import Secure
from dane_radius.core.certificate import parse_leaf
from dane_radius.core.chain import _parse
from dane_radius.core.decision import Decision, Prepared, conclude, prepare
from dane_radius.core.reasons import ReasonCode
from dane_radius.core.tlsa import TlsaRecord
from dane_radius.core.work import TooMuchWork, Work
from policy import RequestFacts, parse_policy
from tests.harness.pki import Authority, Identity, authority, new_key

NAME = "a1._device.example.net"
POLICY = parse_policy(b"version: 1\nrules: [{name: r, identity: ['*._device.example.net'], grant: {vlan: 7}}]\n")
NOW = datetime.now(UTC)
CA = authority("Work Test CA")
DEVICE = CA.issue(NAME)
_serials = itertools.count(1000)


def decide(device: Identity, records: Sequence[TlsaRecord], out_of_time: Callable[[], bool] | None = None) -> Decision:
    prepared = prepare(parse_leaf(device.der), POLICY, RequestFacts(), now=NOW.timestamp())
    assert isinstance(prepared, Prepared)
    return conclude(prepared, Secure(tuple(records), 60), (), NOW, out_of_time=out_of_time)


def published(ca: Authority = CA, *, constraints: int = 0, key: object = None, excluded: str = "example.org") -> bytes:
    """A CA certificate with the name of `ca`, the given key, and the given number of name constraints."""
    name = ca.certificate.subject
    signer = key or ca.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(signer.public_key())  # type: ignore[attr-defined]  # a private key of any kind
        .serial_number(next(_serials))
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=90))
        .add_extension(x509.BasicConstraints(True, None), True)
    )
    if constraints:
        trees = [x509.DNSName(f"x{number}.{excluded}") for number in range(constraints)]
        builder = builder.add_extension(x509.NameConstraints(None, trees), True)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)  # type: ignore[arg-type]


def ta(*certificates: bytes) -> list[TlsaRecord]:
    return [TlsaRecord(2, 0, 0, certificate) for certificate in certificates]


def too_complex(decision: Decision) -> str:
    assert decision.ruling.reason is ReasonCode.CHAIN_TOO_COMPLEX
    assert not decision.accepted
    return decision.ruling.detail


def test_an_ordinary_zone_is_far_below_every_limit() -> None:
    four = [published() for _ in range(4)]
    assert decide(DEVICE, ta(*four)).accepted
    assert decide(DEVICE, ta(published(constraints=50))).accepted
    spent = Work()
    from dane_radius.core.chain import verify_paths

    verify_paths(parse_leaf(DEVICE.der), NAME, four, four, NOW, work=spent, enough=lambda path: True)
    assert (spent.signatures, spent.steps) == (1, 1)
    assert spent.octets < work.MAX_PARSED_OCTETS / 10


def test_a_certificate_with_thousands_of_constraints_is_too_large() -> None:
    decision = decide(DEVICE, ta(published(constraints=2500)))
    assert decision.ruling.reason is ReasonCode.CHAIN_INVALID
    assert "at most 16384 expected" in decision.ruling.detail


def test_the_pairs_of_names_and_constraints_are_limited() -> None:
    crowded = CA.issue(NAME, *(f"n{number}.example.org" for number in range(300)))
    assert "pairs of a name and a name constraint" in too_complex(decide(crowded, ta(published(constraints=300))))
    # Many constraints alone, or many names alone, are allowed.
    assert decide(DEVICE, ta(published(constraints=300, excluded="example.com"))).accepted
    assert decide(crowded, ta(published())).accepted


def test_the_number_of_candidates_is_limited() -> None:
    assert "40 certificates to look for a path in, at most 32 expected" in too_complex(
        decide(DEVICE, ta(*(published() for _ in range(40))))
    )
    # The search ends with the first certificate whose key made the signature.
    assert decide(DEVICE, ta(*(published() for _ in range(30)))).accepted


def test_the_number_of_signatures_is_limited() -> None:
    strangers = [published(key=new_key()) for _ in range(30)]
    assert "more than 16 signatures" in too_complex(decide(DEVICE, ta(*strangers)))


def test_the_octets_of_certificates_are_limited() -> None:
    large = [published(constraints=400) for _ in range(12)]
    assert sum(map(len, large)) > work.MAX_PARSED_OCTETS
    assert "octets of certificates" in too_complex(decide(DEVICE, ta(*large)))


def test_the_number_of_issuers_tried_is_limited() -> None:
    spent = Work()
    for _ in range(work.MAX_STEPS):
        spent.count_step()
    with pytest.raises(TooMuchWork, match="64 certificates to try as issuers"):
        spent.count_step()


def test_the_time_of_a_decision_is_limited_too() -> None:
    assert "the time for one decision is over" in too_complex(decide(DEVICE, ta(published()), lambda: True))
    # A device whose own record matches needs no search, so the time limit does not apply.
    assert decide(DEVICE, [DEVICE.tlsa()], lambda: True).accepted


@pytest.mark.parametrize(
    ("bits", "exponent", "problem"),
    [
        (1024, 65537, "RSA key of 1024 bits, 2048 to 8192 expected"),
        (2048, 65537, None),
        (2048, 3, None),
        (2048, 2**40 + 1, "RSA exponent of 41 bits, at most 33 expected"),
        (16384, 65537, "RSA key of 16384 bits, 2048 to 8192 expected"),
    ],
)
def test_keys_with_expensive_signatures_are_unusable(bits: int, exponent: int, problem: str | None) -> None:
    # The certificate's own signature does not matter here, so any modulus is sufficient.
    modulus = int.from_bytes(os.urandom(bits // 8), "big") | 1 << (bits - 1) | 1
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    name = CA.certificate.subject
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key)
        .serial_number(next(_serials))
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=90))
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(CA.key, hashes.SHA256())  # type: ignore[arg-type]  # a P-256 key
    )
    assert _parse(certificate.public_bytes(Encoding.DER)).problem == problem


def test_a_large_rrset_computes_each_digest_once(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[tuple[int, int]] = []
    real = tlsa.association

    def counting(certificate: bytes, spki: bytes, selector: int, matching_type: int) -> bytes:
        computed.append((selector, matching_type))
        return real(certificate, spki, selector, matching_type)

    monkeypatch.setattr(tlsa, "association", counting)
    records = [TlsaRecord(3, number % 2, 1 + number % 2, os.urandom(32 * (1 + number % 2))) for number in range(1500)]
    assert decide(DEVICE, records).ruling.reason is ReasonCode.TLSA_MISMATCH
    assert sorted(computed) == [(0, 1), (1, 2)]


def test_the_evidence_shows_only_a_part_of_long_lists() -> None:
    records = [TlsaRecord(3, 1, 1, os.urandom(32)) for _ in range(100)] + [TlsaRecord(9, 1, 1, b"")] * 1
    evidence = decide(DEVICE, records).ruling.evidence
    assert len(evidence.records) == 17
    assert evidence.records[-1] == "… and 85 more"
    assert decide(DEVICE, records[:16]).ruling.evidence.records == tuple(record.short for record in records[:16])
