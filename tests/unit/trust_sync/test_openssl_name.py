"""Hashed names against openssl itself, over many subjects."""

from __future__ import annotations

import contextlib
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dane_radius.core import AnchorSource, DerError
from tests.harness.pki import authority
from tests.harness.process import run
from trust_sync.anchors import AnchorStore, parse_certificate
from trust_sync.anchors.openssl_name import canonical_name, name_hash

KEY = ed25519.Ed25519PrivateKey.generate()


def certificate(name: x509.Name) -> bytes:
    from datetime import UTC, datetime, timedelta

    from cryptography.hazmat.primitives import serialization

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")]))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(KEY, None)
        .public_bytes(serialization.Encoding.DER)
    )


def openssl_hash(der: bytes) -> str:
    done = subprocess.run(
        ["openssl", "x509", "-inform", "DER", "-noout", "-subject_hash"], input=der, capture_output=True, check=True
    )
    return done.stdout.decode().strip()


def attribute(text: str, kind: _ASN1Type = _ASN1Type.UTF8String, oid: x509.ObjectIdentifier = NameOID.COMMON_NAME):
    return x509.NameAttribute(oid, text, kind, _validate=False)


NAMES = {
    "empty": x509.Name([]),
    "utf8": x509.Name([attribute("Vendor CA")]),
    "printable": x509.Name([attribute("Vendor CA", _ASN1Type.PrintableString)]),
    "upper": x509.Name([attribute("VENDOR ca", _ASN1Type.IA5String, NameOID.EMAIL_ADDRESS)]),
    "spaces": x509.Name([attribute("  \t Vendor \n  CA\v\f ")]),
    "only spaces": x509.Name([attribute("   ")]),
    "teletex latin": x509.Name([attribute("Zürich É", _ASN1Type.T61String)]),
    "bmp": x509.Name([attribute("Ürgüp CA ", _ASN1Type.BMPString)]),
    "universal": x509.Name([attribute("Grüße 🌍 X", _ASN1Type.UniversalString)]),
    "numeric is left alone": x509.Name([attribute("12 34  5", _ASN1Type.NumericString)]),
    "non-ascii upper stays": x509.Name([attribute("ÀÉÎ ÄÖÜ")]),
    "many": x509.Name(
        [
            attribute("CA", _ASN1Type.PrintableString, NameOID.COUNTRY_NAME),
            attribute("Example  Org", oid=NameOID.ORGANIZATION_NAME),
            attribute("device.example.net", _ASN1Type.IA5String, NameOID.DOMAIN_COMPONENT),
            attribute("x" * 300, oid=NameOID.PSEUDONYM),
        ]
    ),
    "multi-valued": x509.Name(
        [
            x509.RelativeDistinguishedName([attribute("Zeta"), attribute("Alpha", oid=NameOID.ORGANIZATION_NAME)]),
            x509.RelativeDistinguishedName(
                [attribute("b" * 140, oid=NameOID.SERIAL_NUMBER), attribute("A"), attribute("c", oid=NameOID.SURNAME)]
            ),
        ]
    ),
}


@pytest.mark.parametrize("name", NAMES.values(), ids=list(NAMES))
def test_the_hash_is_openssls(name: x509.Name) -> None:
    der = certificate(name)
    assert parse_certificate(der).subject_hash == openssl_hash(der)


TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=15)
KINDS = st.sampled_from([_ASN1Type.UTF8String, _ASN1Type.UniversalString, _ASN1Type.BMPString])
OIDS = st.sampled_from([NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.SURNAME, NameOID.SERIAL_NUMBER])


@st.composite
def attributes(draw: st.DrawFn) -> x509.NameAttribute:
    kind = draw(KINDS)
    text = draw(TEXT.filter(bool))
    if kind is _ASN1Type.BMPString:
        text = "".join(c if ord(c) < 0x10000 else "?" for c in text)
    return attribute(text, kind, draw(OIDS))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(attributes(), min_size=1, max_size=3, unique_by=lambda a: a.oid), max_size=3))
def test_any_subject_hashes_as_openssl_does(rdns: list[list[x509.NameAttribute]]) -> None:
    der = certificate(x509.Name([x509.RelativeDistinguishedName(rdn) for rdn in rdns]))
    assert parse_certificate(der).subject_hash == openssl_hash(der)


def test_names_that_openssl_takes_for_one_have_one_encoding() -> None:
    one = x509.Name([attribute(" Vendor   CA", _ASN1Type.PrintableString)]).public_bytes()
    other = x509.Name([attribute("vendor ca ", _ASN1Type.BMPString)]).public_bytes()
    different = x509.Name([attribute("vendor-ca")]).public_bytes()
    assert canonical_name(one) == canonical_name(other)
    assert canonical_name(one) != canonical_name(different)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_anything_else_is_an_error_of_its_own_kind(octets: bytes) -> None:
    for data in (octets, b"\x30" + bytes([len(octets)]) + octets):
        with contextlib.suppress(DerError):
            assert len(name_hash(data)) == 8


def test_a_folder_of_many_gets_the_links_that_openssl_rehash_makes(tmp_path: Path) -> None:
    subjects = [f"CA {n}" for n in range(30)]
    key = ec.generate_private_key(ec.SECP256R1())
    same_name = [authority("Renewed CA", key=key) for _ in range(3)]
    with AnchorStore(tmp_path) as store:
        for ca in [*(authority(subject) for subject in subjects), *same_name]:
            store.add(parse_certificate(ca.der), ["_device.example.net"], AnchorSource.MANUAL, datetime.now(UTC))
        ours = {(path.name, path.read_bytes()) for path in (tmp_path / "ca").glob("*.[0-9]")}
        run(["openssl", "rehash", tmp_path / "ca"])
        theirs = {(path.name, path.read_bytes()) for path in (tmp_path / "ca").glob("*.[0-9]")}
    # The order of the folder decides which of the equal names has which number.
    assert {name for name, _ in ours} == {name for name, _ in theirs}
    assert sorted(content for _, content in ours) == sorted(content for _, content in theirs)
    assert len(ours) == 33
