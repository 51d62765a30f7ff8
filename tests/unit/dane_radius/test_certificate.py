"""The certificate parser: valid certificates, compared with cryptography, and hostile ones."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID, ObjectIdentifier
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dane_radius.core import der
from dane_radius.core.certificate import (
    MAX_CERTIFICATE_OCTETS,
    MAX_SAN_OCTETS,
    candidate_names,
    parse_leaf,
)
from dane_radius.core.chain import _PARSE_ERRORS as CRYPTOGRAPHY_ERRORS
from dane_radius.core.reasons import ReasonCode, Refused
from tests.harness.pki import Identity, authority, new_key
from tests.unit.dane_radius.test_der import tlv

CA = authority("Unit CA")
KEY = new_key()
SAN_OID = bytes.fromhex("0603551d11")


def with_san(*general_names: x509.GeneralName) -> Identity:
    return CA.issue(key=KEY, san=x509.SubjectAlternativeName(general_names))


def with_raw_san(value: bytes, *, tag: int = 0x82) -> bytes:
    """A certificate whose only dNSName has exactly these octets."""
    return with_raw_extension(tlv(der.SEQUENCE, tlv(tag, value)))


def with_raw_extension(san: bytes) -> bytes:
    extension = x509.UnrecognizedExtension(ObjectIdentifier("2.5.29.17"), san)
    return CA.issue(key=KEY, extensions=[(extension, False)]).der


def rebuilt(fields: list[bytes], tail: bytes | None = None) -> bytes:
    """A certificate from TBSCertificate fields, with the outer parts of a real one."""
    outer = tail if tail is not None else tlv(der.SEQUENCE, b"\x06\x01\x2a") + tlv(der.BIT_STRING, b"\0" * 65)
    return tlv(der.SEQUENCE, tlv(der.SEQUENCE, b"".join(fields)) + outer)


def fields_of(certificate: bytes) -> list[bytes]:
    outer = der.only(certificate, der.SEQUENCE, "Certificate")
    tbs = next(der.children(certificate, outer))
    return [child.whole(certificate) for child in der.children(certificate, tbs)]


GOOD = CA.issue("a1._device.example.net", key=KEY).der
FIELDS = fields_of(GOOD)


@pytest.mark.parametrize(
    "key",
    [
        new_key(),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["p256", "p384", "ed25519", "rsa2048"],
)
def test_the_parser_agrees_with_cryptography(key: object) -> None:
    identity = CA.issue("a1._device.example.net", "B1.example.net", key=key, days=800)
    certificate = identity.certificate
    leaf = parse_leaf(identity.der)
    assert leaf.der == identity.der
    assert leaf.spki == certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert leaf.serial == certificate.serial_number
    assert leaf.issuer == certificate.issuer.public_bytes()
    assert leaf.subject == certificate.subject.public_bytes()
    assert (leaf.not_before, leaf.not_after) == (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    assert leaf.dns_names == (b"a1._device.example.net", b"B1.example.net")
    assert leaf.fingerprint == certificate.fingerprint(hashes.SHA256()).hex()


@given(
    st.datetimes(datetime(1950, 1, 1), datetime(9999, 12, 31)),  # noqa: DTZ001, RUF100 - hypothesis wants them naive
    st.integers(0, 10_000),
)
@settings(max_examples=40, deadline=None)
def test_dates_agree_with_cryptography(start: datetime, days: int) -> None:
    start = start.replace(microsecond=0, tzinfo=UTC)
    end = min(
        start + timedelta(days=min(days, (datetime.max.replace(tzinfo=UTC) - start).days)),
        datetime.max.replace(tzinfo=UTC),
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(end)
        .sign(KEY, hashes.SHA256())
    )
    leaf = parse_leaf(certificate.public_bytes(serialization.Encoding.DER))
    assert leaf.not_before == certificate.not_valid_before_utc
    assert leaf.not_after == certificate.not_valid_after_utc
    assert leaf.dns_names is None


@pytest.mark.parametrize(
    "validity",
    [
        tlv(der.UTC_TIME, b"2601010000Z"),
        tlv(der.UTC_TIME, b"260101000000+0000"),
        tlv(der.UTC_TIME, b"20260101000000Z"),
        tlv(der.UTC_TIME, b"261301000000Z"),
        tlv(der.UTC_TIME, b"260230000000Z"),
        tlv(der.UTC_TIME, b"260101240000Z"),
        tlv(der.UTC_TIME, b"260101000060Z"),
        tlv(der.UTC_TIME, b"+60101000000Z"),
        tlv(der.UTC_TIME, b"26 101000000Z"),
        tlv(der.UTC_TIME, b"260101000000z"),
        tlv(der.UTC_TIME, b""),
        tlv(der.GENERALIZED_TIME, b"260101000000Z"),
        tlv(der.GENERALIZED_TIME, b"20260101000000.5Z"),
        tlv(der.GENERALIZED_TIME, b"00000101000000Z"),
        tlv(der.OCTET_STRING, b"260101000000Z"),
    ],
)
def test_times_in_other_forms_than_those_of_rfc_5280_are_refused(validity: bytes) -> None:
    good = tlv(der.UTC_TIME, b"260101000000Z")
    fields = list(FIELDS)
    fields[4] = tlv(der.SEQUENCE, good + good)
    assert parse_leaf(rebuilt(fields)).not_after == datetime(2026, 1, 1, tzinfo=UTC)
    for pair in (good + validity, validity + good):
        fields[4] = tlv(der.SEQUENCE, pair)
        with pytest.raises(Refused, match="validity") as caught:
            parse_leaf(rebuilt(fields))
        assert caught.value.code is ReasonCode.CERTIFICATE_MALFORMED


def test_utc_time_from_50_on_is_in_the_20th_century() -> None:
    fields = list(FIELDS)
    fields[4] = tlv(der.SEQUENCE, tlv(der.UTC_TIME, b"500101000000Z") + tlv(der.UTC_TIME, b"491231235959Z"))
    leaf = parse_leaf(rebuilt(fields))
    assert (leaf.not_before.year, leaf.not_after.year) == (1950, 2049)


@given(st.lists(st.from_regex(r"\A[a-z0-9]{1,8}(\.[a-z0-9]{1,8}){1,3}\Z"), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_san_agrees_with_cryptography(names: list[str]) -> None:
    identity = CA.issue(*names, key=KEY)
    theirs = identity.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [raw.decode() for raw in parse_leaf(identity.der).dns_names or ()] == theirs.get_values_for_type(
        x509.DNSName
    )


def test_only_dns_names_are_candidate_names() -> None:
    leaf = parse_leaf(
        with_san(
            x509.RFC822Name("a@evil.example"),
            x509.DNSName("A1.example.net"),
            x509.UniformResourceIdentifier("https://evil.example"),
            x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evil.example")])),
            x509.RegisteredID(ObjectIdentifier("1.2.3")),
            x509.OtherName(ObjectIdentifier("1.2.3"), b"\x05\x00"),
            x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
            x509.DNSName("a1.EXAMPLE.net."),
        ).der
    )
    assert candidate_names(leaf) == ["a1.example.net"]
    assert leaf.san_types == {
        "rfc822Name", "dNSName", "uniformResourceIdentifier", "directoryName", "registeredID", "otherName", "iPAddress",
    }  # fmt: skip


def test_the_subject_is_not_a_candidate_name() -> None:
    leaf = parse_leaf(CA.issue(common_name="a1.example.net", key=KEY).der)
    with pytest.raises(Refused) as caught:
        candidate_names(leaf)
    assert caught.value.code is ReasonCode.SAN_MISSING


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ([x509.IPAddress(ipaddress.ip_address("2001:db8::1"))], ReasonCode.SAN_IP_ADDRESS),
        ([x509.RFC822Name("a@example.net")], ReasonCode.SAN_WITHOUT_DNS_NAME),
        (
            [x509.RFC822Name("a@example.net"), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))],
            ReasonCode.SAN_WITHOUT_DNS_NAME,
        ),
        ([x509.DNSName("*.example.net")], ReasonCode.NAME_WILDCARD),
        # One invalid name refuses the certificate, whatever its position.
        ([x509.DNSName("a.example.net"), x509.DNSName("192.0.2.1")], ReasonCode.NAME_IP_LITERAL),
        ([x509.DNSName("localhost"), x509.DNSName("a.example.net")], ReasonCode.NAME_MALFORMED),
    ],
)
def test_invalid_names_are_refused(names: list[x509.GeneralName], code: ReasonCode) -> None:
    with pytest.raises(Refused) as caught:
        candidate_names(parse_leaf(with_san(*names).der))
    assert caught.value.code is code


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"good.example.net\0.evil.example", ReasonCode.NAME_NUL),
        (b"good.example.net\0", ReasonCode.NAME_NUL),
        (b"", ReasonCode.NAME_MALFORMED),
        (b"b\xfccher.example", ReasonCode.NAME_MALFORMED),
        (b"a" * 300, ReasonCode.NAME_TOO_LONG),
    ],
)
def test_invalid_octets_in_a_name_are_refused(raw: bytes, code: ReasonCode) -> None:
    leaf = parse_leaf(with_raw_san(raw))
    assert leaf.dns_names == (raw,)
    with pytest.raises(Refused) as caught:
        candidate_names(leaf)
    assert caught.value.code is code


@pytest.mark.parametrize(
    ("san", "code"),
    [
        (tlv(der.SEQUENCE, tlv(0xA2, tlv(0x16, b"a.example.net"))), ReasonCode.SAN_MALFORMED),
        (tlv(der.SEQUENCE, tlv(0x80, b"\x06\x01\x2a")), ReasonCode.SAN_MALFORMED),
        (tlv(der.SEQUENCE, tlv(0x16, b"a.example.net")), ReasonCode.SAN_MALFORMED),
        (tlv(der.SEQUENCE, tlv(0x89, b"a")), ReasonCode.SAN_MALFORMED),
        (tlv(der.SEQUENCE, tlv(0x82, b"a.example.net")) + b"\0", ReasonCode.SAN_MALFORMED),
        (tlv(der.SEQUENCE, b"\x82\x0ea.example.net"), ReasonCode.SAN_MALFORMED),
        (tlv(0x31, tlv(0x82, b"a.example.net")), ReasonCode.SAN_MALFORMED),
        (b"", ReasonCode.SAN_MALFORMED),
        (tlv(der.SEQUENCE, tlv(0x82, b"a.example.net") * 2500), ReasonCode.SAN_OVERSIZED),
    ],
)
def test_a_malformed_san_is_refused(san: bytes, code: ReasonCode) -> None:
    assert (len(san) > MAX_SAN_OCTETS) is (code is ReasonCode.SAN_OVERSIZED)
    with pytest.raises(Refused) as caught:
        parse_leaf(with_raw_extension(san))
    assert caught.value.code is code


def test_an_empty_san_is_refused() -> None:
    leaf = parse_leaf(with_raw_extension(tlv(der.SEQUENCE, b"")))
    with pytest.raises(Refused) as caught:
        candidate_names(leaf)
    assert caught.value.code is ReasonCode.SAN_EMPTY


def san_extension(name: bytes, *, critical: bytes = b"") -> bytes:
    value = tlv(der.OCTET_STRING, tlv(der.SEQUENCE, tlv(0x82, name)))
    return tlv(der.SEQUENCE, SAN_OID + critical + value)


def test_two_sans_are_refused() -> None:
    both = tlv(der.SEQUENCE, san_extension(b"a.example.net") + san_extension(b"b.example.net"))
    with pytest.raises(Refused) as caught:
        parse_leaf(rebuilt([*FIELDS[:7], tlv(0xA3, both)]))
    assert caught.value.code is ReasonCode.SAN_MALFORMED


def extensions(*parts: bytes) -> bytes:
    return tlv(0xA3, tlv(der.SEQUENCE, b"".join(parts)))


ONE = extensions(san_extension(b"a.example.net"))


def test_a_rebuilt_certificate_is_parsed() -> None:
    assert parse_leaf(rebuilt([*FIELDS[:7], ONE])).dns_names == (b"a.example.net",)
    critical = extensions(san_extension(b"a.example.net", critical=b"\x01\x01\xff"))
    assert parse_leaf(rebuilt([*FIELDS[:7], critical])).dns_names == (b"a.example.net",)
    unique = [tlv(0x81, b"\0\1"), tlv(0x82, b"\0\1")]
    assert parse_leaf(rebuilt([*FIELDS[:7], *unique, ONE])).dns_names == (b"a.example.net",)
    assert parse_leaf(rebuilt(FIELDS[:7])).dns_names is None


@pytest.mark.parametrize(
    "certificate",
    [
        # A second list of extensions, data after the list, or an unknown field could contain names.
        rebuilt([*FIELDS[:7], ONE, ONE]),
        rebuilt([*FIELDS[:7], tlv(0xA3, tlv(der.SEQUENCE, san_extension(b"a.example.net")) + tlv(der.SEQUENCE, b""))]),
        rebuilt([*FIELDS[:7], ONE, tlv(0x82, b"\0\1")]),
        rebuilt([*FIELDS[:7], tlv(0xA4, b""), ONE]),
        rebuilt([*FIELDS[:7], tlv(0x82, b"\0\1"), tlv(0x81, b"\0\1"), ONE]),
        # Extensions of another form.
        rebuilt([*FIELDS[:7], extensions(tlv(der.SEQUENCE, SAN_OID))]),
        rebuilt([*FIELDS[:7], extensions(san_extension(b"a.example.net", critical=b"\x02\x01\xff"))]),
        rebuilt([*FIELDS[:7], extensions(tlv(0x31, SAN_OID + tlv(der.OCTET_STRING, b"\x30\x00")))]),
        # The outer form.
        rebuilt([*FIELDS[:7], ONE], tail=b""),
        rebuilt(
            [*FIELDS[:7], ONE], tail=tlv(der.SEQUENCE, b"") + tlv(der.BIT_STRING, b"\0") + tlv(der.BIT_STRING, b"")
        ),
        rebuilt([*FIELDS[:7], ONE], tail=tlv(der.SEQUENCE, b"") + tlv(der.OCTET_STRING, b"\0")),
        # Two encodings of one signature: seven bits of the last octet are used, or all eight.
        rebuilt([*FIELDS[:7], ONE], tail=tlv(der.SEQUENCE, b"\x06\x01\x2a") + tlv(der.BIT_STRING, b"\1" + b"\0" * 64)),
        rebuilt([*FIELDS[:7], ONE], tail=tlv(der.SEQUENCE, b"\x06\x01\x2a") + tlv(der.BIT_STRING, b"")),
        rebuilt(FIELDS[:6]),
        rebuilt([FIELDS[0], FIELDS[2], FIELDS[1], *FIELDS[3:]]),
        rebuilt([*FIELDS[:6], tlv(der.OCTET_STRING, b"")]),
        GOOD + b"\0",
        GOOD[:-1],
        b"",
        b"\x30\x00",
        b"-----BEGIN CERTIFICATE-----",
    ],
)
def test_other_structures_are_not_certificates(certificate: bytes) -> None:
    with pytest.raises(Refused) as caught:
        parse_leaf(certificate)
    assert caught.value.code is ReasonCode.CERTIFICATE_MALFORMED


def test_oversized_certificates_and_sans_are_refused() -> None:
    with pytest.raises(Refused) as caught:
        parse_leaf(b"\x30" * (MAX_CERTIFICATE_OCTETS + 1))
    assert caught.value.code is ReasonCode.CERTIFICATE_OVERSIZED


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_certificate_that_both_parsers_accept_has_the_same_contents(data: st.DataObject) -> None:
    """A damaged certificate is refused, or parsed as cryptography parses it."""
    octets = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        leaf = parse_leaf(bytes(octets))
    except Refused:
        return
    try:
        theirs = x509.load_der_x509_certificate(bytes(octets))
        san = theirs.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(name.encode() for name in san.get_values_for_type(x509.DNSName))
    except (*CRYPTOGRAPHY_ERRORS, x509.ExtensionNotFound, CryptographyDeprecationWarning):
        # cryptography is stricter about parts that no decision reads. OpenSSL has parsed the certificate before.
        return
    assert leaf.dns_names == names
    assert leaf.not_after == theirs.not_valid_after_utc
