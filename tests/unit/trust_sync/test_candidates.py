"""The anchors to which TLSA records lead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.core import AnchorSource, TlsaRecord
from tests.harness.pki import authority, self_signed
from trust_sync.anchors import CertificateProblem, CertificateRefused
from trust_sync.discovery import Reason
from trust_sync.discovery.candidates import (
    AuthorityUrl,
    Candidate,
    CandidateAnchor,
    UnusableRecord,
    check_fetched,
    find_candidates,
)

NOW = datetime.now(UTC)


NAME = "a1.camera._device.example.net"


CA = authority("Vendor CA")


DEVICE = CA.issue(NAME)


def follow(*records: TlsaRecord, name: str = NAME, pkix_cd: bool = True, now: datetime = NOW) -> list[Candidate]:
    return find_candidates(records, name, now, pkix_cd=pkix_cd)


def test_a_ca_in_the_dns_is_an_anchor_for_its_identity_domain() -> None:
    (lead,) = follow(CA.tlsa(2, 0, 0))
    assert isinstance(lead, CandidateAnchor)
    assert (lead.certificate.der, lead.domains, lead.source) == (CA.der, ("_device.example.net",), AnchorSource.DANE_TA)


def test_a_device_certificate_is_an_anchor_for_its_own_name_only() -> None:
    device = self_signed(NAME)
    (lead,) = follow(device.tlsa(3, 0, 0))
    assert isinstance(lead, CandidateAnchor)
    assert (lead.domains, lead.source) == ((NAME,), AnchorSource.LEAF)


def test_an_issued_device_certificate_has_its_ca_as_second_choice() -> None:
    first, second = follow(DEVICE.tlsa(3, 0, 0))
    assert isinstance(first, CandidateAnchor)
    assert isinstance(second, AuthorityUrl)
    assert (second.host, second.path) == ("device.example.net", f"/.well-known/ca/{CA.ski.hex('-')}.pem")


@pytest.mark.parametrize("usage", [1, 4])
def test_pkix_usages_lead_to_the_authority_url(usage: int) -> None:
    (lead,) = follow(DEVICE.tlsa(usage, 0, 0))
    assert isinstance(lead, AuthorityUrl)
    assert check_fetched(lead, CA.pem, NAME, NOW).domains == ("_device.example.net",)


def test_usage_4_needs_the_policys_consent() -> None:
    assert follow(DEVICE.tlsa(4, 0, 0), pkix_cd=False) == []


@pytest.mark.parametrize("record", [DEVICE.tlsa(3, 1, 1), DEVICE.tlsa(3, 1, 0), CA.tlsa(2, 0, 1), CA.tlsa(0, 0, 0)])
def test_records_without_a_usable_certificate_lead_nowhere(record: TlsaRecord) -> None:
    assert follow(record) == []


UNUSABLE = {
    "no CA": (authority("x", ca=False).tlsa(2, 0, 0), NAME, NOW, Reason.NOT_A_CA),
    "expired CA": (CA.tlsa(2, 0, 0), NAME, NOW + timedelta(days=400), Reason.EXPIRED),
    "future CA": (CA.tlsa(2, 0, 0), NAME, NOW - timedelta(days=4), Reason.NOT_YET_VALID),
    "expired device": (DEVICE.tlsa(4, 0, 0), NAME, NOW + timedelta(days=31), Reason.EXPIRED),
    "other name": (DEVICE.tlsa(3, 0, 0), "b2.camera._device.example.net", NOW, Reason.WRONG_NAME),
    "no name": (CA.issue().tlsa(3, 0, 0), NAME, NOW, Reason.WRONG_NAME),
    "no authority": (CA.issue("a1.iot.example.net").tlsa(4, 0, 0), "a1.iot.example.net", NOW, Reason.NO_AUTHORITY),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_record_says_why(case: str) -> None:
    record, name, now, reason = UNUSABLE[case]
    (lead,) = follow(record, name=name, now=now)
    assert isinstance(lead, UnusableRecord)
    assert lead.reason is reason


def test_a_good_record_beside_bad_ones_is_found_first() -> None:
    bad = TlsaRecord(2, 0, 0, b"\x30\x82" + bytes(100))
    found = follow(bad, authority("x", ca=False).tlsa(2, 0, 0), CA.tlsa(2, 0, 0))
    assert isinstance(found[0], CandidateAnchor)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 3), st.binary(max_size=200)), max_size=5)
)
def test_any_records_give_leads_or_nothing(records: list[tuple[int, int, int, bytes]]) -> None:
    for lead in follow(*(TlsaRecord(*record) for record in records)):
        assert isinstance(lead, UnusableRecord)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (authority("Other").pem, CertificateProblem.WRONG_KEY_IDENTIFIER),
        (authority("Other", ski=CA.ski).pem, CertificateProblem.WRONG_SIGNATURE),
        (DEVICE.pem, CertificateProblem.NOT_A_CA),
        (CA.pem + CA.pem, CertificateProblem.NOT_A_CERTIFICATE),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", CertificateProblem.NOT_A_CERTIFICATE),
        (b"", CertificateProblem.NOT_A_CERTIFICATE),
    ],
)
def test_what_was_fetched_must_have_issued_the_certificate_in_the_dns(body: bytes, problem: CertificateProblem) -> None:
    (lead,) = follow(DEVICE.tlsa(4, 0, 0))
    assert isinstance(lead, AuthorityUrl)
    with pytest.raises(CertificateRefused) as caught:
        check_fetched(lead, body, NAME, NOW)
    assert caught.value.problem is problem
