"""The DNS codec: valid messages, compared with dnspython, and hostile ones."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dane_radius.core.answers import Absence, Answer, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from dane_radius.core.tlsa import TlsaRecord
from dane_radius.dns.interpret import interpret
from dane_radius.dns.wire import (
    WireError,
    decode_name,
    decode_response,
    encode_name,
    encode_query,
)

NAME = "a1._device.example.net"
TLSA, CNAME, DNAME, SOA, OPT, A = 52, 5, 39, 6, 41, 1
QR, AA, TC, RD, RA, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
ID = 0x1234

Record = tuple[str, int, int, bytes]


def wire(name: str) -> bytes:
    return dns.name.from_text(name).to_wire() or b""


def rr(owner: str, rrtype: int, ttl: int, rdata: bytes, rrclass: int = 1) -> bytes:
    return wire(owner) + struct.pack("!HHIH", rrtype, rrclass, ttl, len(rdata)) + rdata


def tlsa(owner: str = NAME, ttl: int = 300, data: bytes = b"\x03\x01\x01" + b"\xaa" * 32, rrclass: int = 1) -> bytes:
    return rr(owner, TLSA, ttl, data, rrclass)


def cname(owner: str, target: str, ttl: int = 300) -> bytes:
    return rr(owner, CNAME, ttl, wire(target))


def soa(ttl: int = 60, minimum: int = 30) -> bytes:
    return rr(
        "example.net",
        SOA,
        ttl,
        wire("ns.example.net") + wire("h.example.net") + struct.pack("!5I", 1, 2, 3, 4, minimum),
    )


def opt(rcode_bits: int = 0, options: Sequence[tuple[int, bytes]] = ()) -> bytes:
    body = b"".join(struct.pack("!HH", code, len(data)) + data for code, data in options)
    return b"\0" + struct.pack("!HHIH", OPT, 1232, rcode_bits << 24, len(body)) + body


def ede(code: int, text: bytes = b"") -> tuple[int, bytes]:
    return 15, struct.pack("!H", code) + text


def message(
    answer: Sequence[bytes] = (),
    *,
    authority: Sequence[bytes] = (),
    additional: Sequence[bytes] = (),
    flags: int = QR | RD | RA | AD,
    rcode: int = 0,
    questions: Sequence[tuple[str, int, int]] = ((NAME, TLSA, 1),),
    message_id: int = ID,
    tail: bytes = b"",
) -> bytes:
    counts = (len(questions), len(answer), len(authority), len(additional))
    question = b"".join(wire(name) + struct.pack("!HH", qtype, qclass) for name, qtype, qclass in questions)
    return (
        struct.pack("!HHHHHH", message_id, flags | rcode, *counts)
        + question
        + b"".join([*answer, *authority, *additional])
        + tail
    )


def read(octets: bytes, name: str = NAME) -> Answer:
    return interpret(decode_response(octets, name, ID), name)


GOOD_RECORD = TlsaRecord(3, 1, 1, b"\xaa" * 32)


# --- the query -------------------------------------------------------------------------------------------------------


def test_dnspython_parses_the_query() -> None:
    query = dns.message.from_wire(encode_query(NAME, ID))
    assert query.id == ID
    assert query.flags == dns.flags.RD | dns.flags.AD
    assert query.edns == 0
    assert query.payload == 1232
    assert query.ednsflags == dns.flags.DO
    [question] = query.question
    assert (question.name, question.rdtype) == (dns.name.from_text(NAME), dns.rdatatype.TLSA)


@pytest.mark.parametrize("name", ["", "a..b", "a" * 64 + ".b", ".".join(["a" * 49] * 6), "bücher.example"])
def test_names_without_a_wire_form_are_refused(name: str) -> None:
    with pytest.raises(WireError):
        encode_name(name)


# --- valid responses, compared with dnspython ------------------------------------------------------------------------

LABEL = st.text(alphabet="abcxyz019_-", min_size=1, max_size=12)
OWNER = st.lists(LABEL, min_size=1, max_size=6).map(".".join)
TLSA_TEXT = st.builds(
    lambda usage, selector, data: f"{usage} {selector} 1 {data.hex()}",
    st.integers(0, 255),
    st.integers(0, 255),
    st.binary(min_size=32, max_size=32),
)


@given(
    OWNER,
    st.lists(TLSA_TEXT, min_size=1, max_size=12, unique=True),
    st.lists(st.tuples(OWNER, st.integers(0, 2**31 - 1)), max_size=4, unique_by=lambda hop: hop[0]),
    st.integers(0, 2**31 - 1),
    st.booleans(),
    st.text(max_size=30),
)
@settings(deadline=None)
def test_responses_of_dnspython_are_parsed(
    name: str, texts: list[str], hops: list[tuple[str, int]], ttl: int, authentic: bool, ede_text: str
) -> None:
    query = dns.message.make_query(name + ".", "TLSA", use_edns=0, id=ID)
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AD if authentic else 0
    hops = [hop for hop in hops if hop[0] != name]
    owner = name
    for target, hop_ttl in hops:
        response.answer.append(dns.rrset.from_text(owner + ".", hop_ttl, "IN", "CNAME", target + "."))
        owner = target
    response.answer.append(dns.rrset.from_text(owner + ".", ttl, "IN", "TLSA", *texts))
    response.use_edns(0, options=[dns.edns.EDEOption(4, ede_text.replace("\0", ""))])
    answer = read(response.to_wire(), name)
    if not authentic:
        assert isinstance(answer, Insecure)
        return
    assert isinstance(answer, Secure)
    assert set(answer.records) == {TlsaRecord.from_text(text) for text in texts}
    assert answer.ttl == min([ttl, *(hop_ttl for _, hop_ttl in hops)])
    assert answer.canonical_name == (owner if hops else None)
    assert answer.malformed == ()


@given(st.binary(max_size=80), st.integers(0, 80))
def test_names_are_decoded_as_dnspython_decodes_them(octets: bytes, offset: int) -> None:
    """For any octets, pointers included: both refuse, or both find the same labels and the same end."""
    try:
        name, end = decode_name(octets, offset)
    except WireError:
        name, end = None, -1
    try:
        theirs, used = dns.name.from_wire(octets, offset) if offset <= len(octets) else (None, 0)
    except (dns.exception.DNSException, IndexError):
        theirs, used = None, 0
    if theirs is None:
        assert name is None
        return
    assert name is not None
    assert end == offset + used
    labels = theirs.labels[:-1]
    assert len(labels) == (len(name.split(".")) if name else 0)
    if '"' not in name and "@" not in name:  # which a zone file would have to quote
        assert dns.name.from_text(name + ".") == theirs


def test_a_pointer_may_only_point_backwards() -> None:
    assert decode_name(b"\x01b\x00\x01a\xc0\x00", 3) == ("a.b", 7)
    for octets, offset in (
        (b"\xc0\x00", 0),
        (b"\xc0\x02\x01a\x00", 0),
        (b"\x01a\xc0\x00", 0),
        (b"\x01b\xc0\x04\x01a\xc0\x00", 4),
        (b"\xc0", 0),
        (b"\x01a\xc0", 0),
    ):
        with pytest.raises(WireError):
            decode_name(octets, offset)


@pytest.mark.parametrize("octet", [0x40, 0x41, 0x80, 0xBF])
def test_unknown_label_types_are_refused(octet: int) -> None:
    with pytest.raises(WireError, match="label type"):
        decode_name(bytes([octet]) + b"a" * 70 + b"\0", 0)


def test_the_longest_name_and_one_octet_more() -> None:
    longest = b"\x3f" + b"a" * 63 + b"\x3f" + b"b" * 63 + b"\x3f" + b"c" * 63 + b"\x3d" + b"d" * 61 + b"\0"
    assert len(longest) == 255
    name, end = decode_name(longest, 0)
    assert (len(name), end) == (253, 255)
    assert encode_name(name) == longest
    with pytest.raises(WireError, match="longer than 255"):
        decode_name(longest.replace(b"\x3d" + b"d" * 61, b"\x3e" + b"d" * 62), 0)


def test_a_dot_within_a_label_is_not_two_labels() -> None:
    """`a1._device` as one label below example.net is another name, although it looks the same."""
    forged = b"\x0aa1._device\x07example\x03net\0"
    assert decode_name(forged, 0)[0] == "a1\\046_device.example.net"
    head = struct.pack("!HHHHHH", ID, QR | AD, 1, 1, 0, 0)
    rdata = b"\x03\x01\x01" + b"\xaa" * 32
    with pytest.raises(WireError, match="another question"):
        read(head + forged + struct.pack("!HH", TLSA, 1) + tlsa())
    answer = read(
        head + wire(NAME) + struct.pack("!HH", TLSA, 1) + forged + struct.pack("!HHIH", TLSA, 1, 9, 35) + rdata
    )
    assert answer == SecureAbsent(Absence.NODATA, 0)


# --- damage ----------------------------------------------------------------------------------------------------------

SAMPLES = (
    message([tlsa(), tlsa(data=b"\2\0\1" + b"\xbb" * 32)], additional=[opt(options=[ede(4, b"x")])]),
    message([cname(NAME, "b.example"), tlsa("b.example")], additional=[opt()]),
    message(rcode=3, authority=[soa()], additional=[opt()]),
    message(rcode=2, additional=[opt(options=[ede(6, b"bogus")])]),
    dns.message.make_response(dns.message.make_query(NAME, "TLSA", id=ID)).to_wire(),
)


@given(st.sampled_from(SAMPLES), st.data())
@settings(max_examples=400, deadline=None)
def test_damage_raises_nothing_but_wire_error(sample: bytes, data: st.DataObject) -> None:
    octets = bytearray(sample)
    for _ in range(data.draw(st.integers(0, 4))):
        octets[data.draw(st.integers(2, len(octets) - 1))] = data.draw(st.integers(0, 255))
    octets = octets[: data.draw(st.integers(0, len(octets)))] if data.draw(st.booleans()) else octets
    try:
        answer = read(bytes(octets))
    except WireError:
        return
    assert isinstance(answer, Secure | SecureAbsent | Insecure | Bogus | Unavailable)
    if isinstance(answer, Secure | SecureAbsent):
        assert octets[3] & AD
        assert octets[3] & 0x0F in (0, 3)
        assert 0 <= answer.ttl < 2**31
