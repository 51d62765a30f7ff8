"""Names as identities: which are valid, and which identity domain each belongs to."""

from __future__ import annotations

import dns.exception
import dns.name
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dane_radius.core.names import authority_host, identity_domain, is_within, normalize
from dane_radius.core.reasons import ReasonCode, Refused
from dane_radius.dns.wire import decode_name, encode_name

LABEL = st.from_regex(r"\A_?[a-zA-Z0-9]([a-zA-Z0-9_-]{0,20}[a-zA-Z0-9])?\Z").filter(
    lambda label: not label.lower().startswith("xn--")
)
NAME = (
    st.lists(LABEL, min_size=2, max_size=8)
    .filter(lambda labels: not labels[-1].isdigit() and not labels[-1].lower().startswith("0x"))
    .map(".".join)
    .filter(lambda name: len(name) <= 253)
)


@given(NAME, st.booleans())
def test_normalize_is_idempotent_and_agrees_with_dnspython(text: str, dot: bool) -> None:
    name = normalize((text + "." * dot).encode())
    assert normalize(name.encode()) == name
    assert name == name.lower()
    assert not name.endswith(".")
    theirs = dns.name.from_text(text)
    assert dns.name.from_text(name) == theirs
    assert encode_name(name) == theirs.canonicalize().to_wire()
    assert decode_name(theirs.to_wire() or b"", 0)[0] == name


@given(st.binary(max_size=300))
def test_any_octets_are_a_valid_name_or_refused(raw: bytes) -> None:
    try:
        name = normalize(raw)
    except Refused as error:
        refusal = error
    else:
        assert decode_name(encode_name(name), 0)[0] == name
        assert dns.name.from_text(name).to_text(omit_final_dot=True) == name
        return
    assert refusal.code.startswith("name_")


@given(st.text(alphabet="aA0-_.*:\\ xn", max_size=40))
def test_text_similar_to_a_name_is_a_valid_name_or_refused(text: str) -> None:
    try:
        name = normalize(text.encode())
    except Refused:
        return
    # dnspython accepts each valid name, too, without escapes, and with the same number of labels.
    assert [label.decode() for label in dns.name.from_text(name).labels[:-1]] == name.split(".")


@given(NAME, NAME)
def test_names_that_differ_by_case_only_are_one_identity(one: str, other: str) -> None:
    assume(len(one) > 0)
    same = normalize(one.encode()) == normalize(other.encode())
    assert same == (dns.name.from_text(one) == dns.name.from_text(other))


LONGEST = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"A1.Camera._Device.Example.NET", "a1.camera._device.example.net"),
        (b"a1.example.net.", "a1.example.net"),
        (b"a_b.example.net", "a_b.example.net"),
        (b"1.example.net", "1.example.net"),
        (b"a--b.example.net", "a--b.example.net"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        (b"a.xn--p1ai", "a.xn--p1ai"),
        (LONGEST.encode(), LONGEST),
        (LONGEST.encode() + b".", LONGEST),
        (b"a" * 63 + b".example", "a" * 63 + ".example"),
    ],
)
def test_valid_names_are_normalized(raw: bytes, name: str) -> None:
    assert normalize(raw) == name


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", ReasonCode.NAME_MALFORMED),
        (b".", ReasonCode.NAME_MALFORMED),
        (b"..", ReasonCode.NAME_MALFORMED),
        (b"localhost", ReasonCode.NAME_MALFORMED),
        (b"localhost.", ReasonCode.NAME_MALFORMED),
        (b"a1.example.net..", ReasonCode.NAME_MALFORMED),
        (b".example.net", ReasonCode.NAME_MALFORMED),
        (b"a1..example.net", ReasonCode.NAME_MALFORMED),
        (b"a1.example.net\0", ReasonCode.NAME_NUL),
        (b"good.example.net\0.evil.example", ReasonCode.NAME_NUL),
        (b"\0" * 300, ReasonCode.NAME_NUL),
        (b"*.example.net", ReasonCode.NAME_WILDCARD),
        (b"a*.example.net", ReasonCode.NAME_WILDCARD),
        (b"*", ReasonCode.NAME_WILDCARD),
        (b"192.0.2.1", ReasonCode.NAME_IP_LITERAL),
        (b"192.0.2.1.", ReasonCode.NAME_IP_LITERAL),
        (b"example.123", ReasonCode.NAME_IP_LITERAL),
        (b"a.0x7f", ReasonCode.NAME_IP_LITERAL),
        (b"2001:db8::1", ReasonCode.NAME_IP_LITERAL),
        (b"a1.example.net:443", ReasonCode.NAME_IP_LITERAL),
        (b"a" * 64 + b".example", ReasonCode.NAME_TOO_LONG),
        ((LONGEST + "d").encode(), ReasonCode.NAME_TOO_LONG),
        ((LONGEST + "d.").encode(), ReasonCode.NAME_TOO_LONG),
        (b"a." * 5000, ReasonCode.NAME_TOO_LONG),
        (b"a b.example", ReasonCode.NAME_MALFORMED),
        (b"a1.example.net\n", ReasonCode.NAME_MALFORMED),
        (b"a\\046b.example", ReasonCode.NAME_MALFORMED),
        (b"-a.example", ReasonCode.NAME_MALFORMED),
        (b"a-.example", ReasonCode.NAME_MALFORMED),
        (b"_.example", ReasonCode.NAME_MALFORMED),
        (b"__a.example", ReasonCode.NAME_MALFORMED),
        (b"a@b.example", ReasonCode.NAME_MALFORMED),
        (b"https://a.example", ReasonCode.NAME_IP_LITERAL),
        ("bücher.example".encode(), ReasonCode.NAME_MALFORMED),
        ("bücher.example".encode("latin-1"), ReasonCode.NAME_MALFORMED),
        ("\u212aelvin.example".encode(), ReasonCode.NAME_MALFORMED),
        (b"xn--.example", ReasonCode.NAME_MALFORMED),
        (b"xn--a.example", ReasonCode.NAME_MALFORMED),
        (b"xn--abc-.example", ReasonCode.NAME_MALFORMED),
        (b"xn--99999999.example", ReasonCode.NAME_MALFORMED),
        # Punycode for a lone surrogate, and for a control character.
        (b"xn--ib9b.example", ReasonCode.NAME_MALFORMED),
    ],
)
def test_invalid_names_are_refused(raw: bytes, code: ReasonCode) -> None:
    with pytest.raises(Refused) as caught:
        normalize(raw)
    assert caught.value.code is code


@pytest.mark.parametrize(
    ("name", "domain", "host"),
    [
        ("a1._device.example.net", "_device.example.net", "device.example.net"),
        ("a1.camera._device.example.net", "_device.example.net", "device.example.net"),
        ("a1b2c3._device.environment.organization.example", "_device.environment.organization.example",
         "device.environment.organization.example"),
        ("a1._inner.b._device.example.net", "_device.example.net", "device.example.net"),
        ("_mqtt._device.example.net", "_device.example.net", "device.example.net"),
        ("_mqtt.a1.example.net", "a1.example.net", None),
        ("a1.iot.example.net", "iot.example.net", None),
        ("_device.example.net", "example.net", None),
        ("a1._device.net", "_device.net", "device.net"),
        # An identity domain is never a top-level domain: an anchor for it would vouch for other organizations.
        ("example.net", "example.net", None),
        ("_mqtt.net", "_mqtt.net", None),
    ],
)  # fmt: skip
def test_identity_domain_and_authority(name: str, domain: str, host: str | None) -> None:
    assert identity_domain(name) == domain
    assert authority_host(name) == host


@given(NAME)
def test_a_name_is_within_its_identity_domain(text: str) -> None:
    name = normalize(text.encode())
    domain = identity_domain(name)
    assert is_within(name, domain)
    assert domain.count(".") >= 1
    # A sibling has the same identity domain, so limits and anchors apply to both.
    if domain.startswith("_") and domain != name:
        assert identity_domain("zz." + domain) == domain


@pytest.mark.parametrize(
    ("name", "domain", "inside"),
    [
        ("a.example.net", "example.net", True),
        ("example.net", "example.net", True),
        ("badexample.net", "example.net", False),
        ("example.net", "a.example.net", False),
        ("a.example.net.evil", "example.net", False),
    ],
)
def test_is_within_compares_whole_labels(name: str, domain: str, inside: bool) -> None:
    assert is_within(name, domain) is inside


@pytest.mark.parametrize("text", ["a..b", ""])
def test_dnspython_refuses_malformed_names_too(text: str) -> None:
    if text:
        with pytest.raises(dns.exception.DNSException):
            dns.name.from_text(text)
    with pytest.raises(Refused):
        normalize(text.encode())
