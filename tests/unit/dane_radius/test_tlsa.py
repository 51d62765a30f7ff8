"""TLSA records: presentation format, usability, digest agility, and matching."""

from __future__ import annotations

import hashlib
import itertools

import dns.rdata
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.core.certificate import parse_leaf
from dane_radius.core.tlsa import MatchingType, TlsaRecord, association, first_match, matches, select, unusable_reason
from tests.harness.pki import authority, new_key

CA = authority("Unit CA")
DEVICE = CA.issue("a1._device.example.net")
OTHER = CA.issue("a1._device.example.net")
LEAF = parse_leaf(DEVICE.der)
OCTET = st.integers(0, 255)
RECORD = st.builds(TlsaRecord, OCTET, OCTET, OCTET, st.binary(min_size=1, max_size=80))
# Only a few values, so that equal usages and selectors occur often.
NEAR = st.builds(
    TlsaRecord,
    st.integers(0, 5),
    st.integers(0, 2),
    st.integers(0, 3),
    st.sampled_from([b"\1" * 32, b"\2" * 32, b"\1" * 64, b"\1" * 20, LEAF.spki, LEAF.der]),
)


@given(RECORD)
def test_the_presentation_format_agrees_with_dnspython(record: TlsaRecord) -> None:
    assert TlsaRecord.from_text(str(record)) == record
    if record.matching_type not in (1, 2):  # dnspython 2.9 refuses a digest of the wrong length
        theirs = dns.rdata.from_text("IN", "TLSA", str(record))
        assert theirs.to_wire() == bytes([record.usage, record.selector, record.matching_type]) + record.data


def test_text_with_white_space_and_capitals_is_parsed() -> None:
    assert TlsaRecord.from_text("3 1  1\tAB cd\n EF") == TlsaRecord(3, 1, 1, b"\xab\xcd\xef")


@pytest.mark.parametrize(
    "text",
    ["", "3 1 1", "3 1 1 ", "x 1 1 ab", "3 1 1 abc", "3 1 1 zz", "256 1 1 ab", "-1 1 1 ab", "+3 1 1 ab", "3_0 1 1 ab",
     "٣ 1 1 ab", "3 1 1 0xab", "3.0 1 1 ab", "PKIX-TA 1 1 ab"],
)  # fmt: skip
def test_invalid_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        TlsaRecord.from_text(text)


@given(st.text(max_size=40))
def test_any_text_is_a_record_or_a_value_error(text: str) -> None:
    try:
        record = TlsaRecord.from_text(text)
    except ValueError:
        return
    assert TlsaRecord.from_text(str(record)) == record


def test_the_short_form_cuts_long_data() -> None:
    assert len(DEVICE.tlsa(3, 0, 0).short) < 40
    assert str(DEVICE.tlsa(3, 0, 0)).startswith("3 0 0 30")


D32, D64 = b"\xaa" * 32, b"\xaa" * 64


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (TlsaRecord(5, 1, 1, D32), "unknown usage 5"),
        (TlsaRecord(255, 1, 1, D32), "unknown usage 255"),
        (TlsaRecord(4, 1, 1, D32), "policy does not opt in"),
        (TlsaRecord(3, 2, 1, D32), "unknown selector 2"),
        (TlsaRecord(3, 255, 1, D32), "unknown selector 255"),
        (TlsaRecord(3, 1, 3, D32), "unknown matching type 3"),
        (TlsaRecord(3, 1, 255, D32), "unknown matching type 255"),
        (TlsaRecord(3, 1, 1, b""), "digest of 0 octets, 32 expected"),
        (TlsaRecord(3, 1, 1, b"\xaa" * 20), "digest of 20 octets, 32 expected"),
        (TlsaRecord(3, 1, 1, b"\xaa" * 33), "digest of 33 octets, 32 expected"),
        (TlsaRecord(3, 1, 1, D64), "digest of 64 octets, 32 expected"),
        (TlsaRecord(3, 1, 2, D32), "digest of 32 octets, 64 expected"),
        (TlsaRecord(3, 0, 0, b""), "no DER certificate"),
        (TlsaRecord(3, 1, 0, b""), "no DER public key"),
        (TlsaRecord(3, 0, 0, b"\x30" * 500), "no DER certificate"),
        (TlsaRecord(3, 0, 0, LEAF.spki), "no DER certificate"),
        (TlsaRecord(3, 0, 0, LEAF.der + b"\0"), "no DER certificate"),
        (TlsaRecord(2, 0, 0, LEAF.der[:-1]), "no DER certificate"),
        (TlsaRecord(3, 1, 0, LEAF.der), "no DER public key"),
        (TlsaRecord(3, 1, 0, LEAF.spki + b"\0"), "no DER public key"),
        (TlsaRecord(3, 1, 0, LEAF.spki[:-1]), "no DER public key"),
        (TlsaRecord(3, 1, 0, b"\x30\x42" + b"\0" * 0x42), "no DER public key"),
    ],
)
def test_unusable_records_have_a_reason(record: TlsaRecord, reason: str) -> None:
    assert reason in (unusable_reason(record) or "usable")
    # It does not affect a usable record beside it.
    good = DEVICE.tlsa()
    selection = select([record, good])
    assert selection.usable == (good,)
    assert [aside for aside, _ in selection.set_aside] == [record]


@pytest.mark.parametrize(("selector", "matching"), list(itertools.product((0, 1), (0, 1, 2))))
@pytest.mark.parametrize("usage", range(5))
def test_all_defined_values_are_usable(usage: int, selector: int, matching: int) -> None:
    record = DEVICE.tlsa(usage, selector, matching)
    assert unusable_reason(record, allow_pkix_cd=True) is None
    assert (unusable_reason(record) is None) is (usage < 4)
    assert matches(record, LEAF.der, LEAF.spki)
    other = parse_leaf(OTHER.der)
    assert not matches(record, other.der, other.spki)


def test_the_association_data_is_that_of_rfc_6698() -> None:
    assert association(b"cert", b"key", 0, 0) == b"cert"
    assert association(b"cert", b"key", 1, 0) == b"key"
    assert association(b"cert", b"key", 0, 1) == hashlib.sha256(b"cert").digest()
    assert association(b"cert", b"key", 1, 2) == hashlib.sha512(b"key").digest()
    for selector, matching in ((2, 1), (1, 3), (-1, 0)):
        with pytest.raises(ValueError, match="is not a valid"):
            association(b"cert", b"key", selector, matching)


def test_a_weaker_digest_beside_a_stronger_one_does_not_count() -> None:
    """RFC 7671 section 9: `3 1 1` matches the device's key, but `3 1 2` of another key is published, too."""
    mine, stronger = DEVICE.tlsa(3, 1, 1), OTHER.tlsa(3, 1, 2)
    selection = select([mine, stronger])
    assert selection.usable == (stronger,)
    assert "stronger digest" in selection.set_aside[0][1]
    assert first_match(selection.usable, LEAF.der, LEAF.spki) is None
    # A stronger digest with another selector or usage, or one that is unusable, has no effect.
    for harmless in (OTHER.tlsa(3, 0, 2), OTHER.tlsa(2, 1, 2), OTHER.tlsa(3, 1, 0), TlsaRecord(3, 1, 2, b"\xaa" * 63)):
        assert first_match(select([harmless, mine]).usable, LEAF.der, LEAF.spki) == mine
    # Full(0) is not a digest, and always counts.
    full = DEVICE.tlsa(3, 1, 0)
    assert first_match(select([full, stronger]).usable, LEAF.der, LEAF.spki) == full


@given(st.lists(NEAR, max_size=10), st.booleans())
def test_the_selection_follows_its_definition(records: list[TlsaRecord], pkix_cd: bool) -> None:
    selection = select(records, allow_pkix_cd=pkix_cd)
    sorted_in = {*selection.usable, *(record for record, _ in selection.set_aside)}
    assert sorted_in == set(records)
    assert len(selection.usable) + len(selection.set_aside) == len(set(records))
    good = {record for record in records if unusable_reason(record, allow_pkix_cd=pkix_cd) is None}
    for record in good:
        beaten = any(
            other.usage == record.usage
            and other.selector == record.selector
            and other.matching_type == MatchingType.SHA2_512
            for other in good
        )
        counts = record.matching_type != MatchingType.SHA2_256 or not beaten
        assert (record in selection.usable) is counts
    assert select(selection.usable, allow_pkix_cd=pkix_cd).usable == selection.usable


def test_other_keys_never_match() -> None:
    records = [CA.issue("a1._device.example.net", key=new_key()).tlsa(3, s, m) for s in (0, 1) for m in (0, 1, 2)]
    assert first_match(records, LEAF.der, LEAF.spki) is None
