"""Certificate requests: which are accepted, and what is issued for them."""

from __future__ import annotations

import base64
import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from iot_registry.core import ca_certificates, device_certificates, est_codec
from iot_registry.core.certificate_requests import vet
from iot_registry.core.errors import CsrReason
from iot_registry.local import private_keys
from tests.unit.iot_registry.conftest import NOW, csr
from web_service.core import Reason, Refused

NAME = "a.camera._device.home.example"
GOOD = csr(NAME)
Issuer = tuple[ec.EllipticCurvePrivateKey, x509.Certificate]


@given(st.binary(max_size=2000))
def test_any_bytes_are_refused_as_a_request(data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        vet(data, NAME)
    assert refused.value.reason in (CsrReason.CSR_MALFORMED, Reason.TOO_LARGE)


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_request_with_one_byte_changed_is_never_granted(position: int, value: int) -> None:
    data = bytearray(GOOD)
    if data[position] == value:
        return
    data[position] = value
    # DNS names are case-insensitive: such a change could be accepted as a name, but the signature fails.
    with pytest.raises(Refused) as refused:
        vet(bytes(data), NAME)
    assert refused.value.reason.startswith("csr-")


def test_truncated_and_extended_requests_are_refused() -> None:
    for data in (GOOD[:-1], GOOD + b"\0", GOOD + GOOD, GOOD[1:]):
        with pytest.raises(Refused):
            vet(data, NAME)
    assert vet(GOOD, NAME).spki


def test_a_name_in_capitals_is_the_same_name() -> None:
    assert vet(csr(NAME.upper().replace("_DEVICE", "_device")), NAME).spki


def test_p_384_is_accepted() -> None:
    assert vet(csr(NAME, ec.generate_private_key(ec.SECP384R1())), NAME).public_key.curve.name == "secp384r1"


@given(st.binary(max_size=300))
def test_any_bytes_survive_the_encoding(data: bytes) -> None:
    if data:
        assert est_codec.decode_body(est_codec.encode_body(data)) == data


@pytest.mark.parametrize("body", [b"", b" \n", b"A", b"AAAA*", b"AA=A", b"\xff\xfe", b"AA-_", b"====", b"AAAA\0"])
def test_what_is_not_base64_is_refused(body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        est_codec.decode_body(body)
    assert (refused.value.reason, refused.value.field) == (CsrReason.BAD_ENCODING, "csr")


def test_white_space_may_stand_anywhere_in_base64() -> None:
    text = base64.b64encode(GOOD)
    spaced = b"\r\n".join(text[i : i + 5] for i in range(0, len(text), 5)) + b" \n"
    assert est_codec.decode_body(spaced) == GOOD


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    root_key, key = private_keys.generate(), private_keys.generate()
    root = ca_certificates.self_signed(root_key, "root", NOW, 100, 1)
    return key, ca_certificates.issuing(key.public_key(), "home.example", 1, root_key, root, NOW, 10)


def made(issuer: Issuer, name: str, mud: str | None = None) -> x509.Certificate:
    return device_certificates.device_certificate(private_keys.generate().public_key(), name, *issuer, NOW, 365, mud)


def test_a_certificate_never_outlives_its_issuer(issuer: Issuer) -> None:
    assert made(issuer, NAME).not_valid_after_utc == issuer[1].not_valid_after_utc == NOW + dt.timedelta(days=10)


def test_a_name_too_long_for_a_common_name_stands_in_a_critical_san(
    issuer: Issuer,
) -> None:
    long = "a" * 60 + ".camera._device.home.example"
    certificate = made(issuer, long)
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert (list(certificate.subject), san.critical) == ([], True)
    assert list(san.value) == [x509.DNSName(long)]


@pytest.mark.parametrize("length", [30, 127, 128, 255])
def test_a_mud_url_is_an_ia5_string_of_any_allowed_length(issuer: Issuer, length: int) -> None:
    url = "https://m.example/".ljust(length, "x")
    value = made(issuer, NAME, url).extensions.get_extension_for_oid(device_certificates.MUD_URL_OID).value
    assert isinstance(value, x509.UnrecognizedExtension)
    header = bytes([0x16, length]) if length < 128 else bytes([0x16, 0x81, length])
    assert value.value == header + url.encode()


def test_a_longer_mud_url_is_an_error(issuer: Issuer) -> None:
    with pytest.raises(ValueError, match="at most 255"):
        made(issuer, NAME, "https://m.example/".ljust(256, "x"))
