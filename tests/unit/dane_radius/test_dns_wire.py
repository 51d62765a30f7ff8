"""The DNS codec: beside dnspython for what is honest, alone against what is not."""

from __future__ import annotations

import itertools
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
from dane_radius.dns.wire import (
    RCODE_NAMES,
    Truncated,
    WireError,
    decode_name,
    decode_response,
    encode_name,
    encode_query,
    interpret,
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


def test_query_is_what_dnspython_reads() -> None:
    query = dns.message.from_wire(encode_query(NAME, ID))
    assert query.id == ID
    assert query.flags == dns.flags.RD | dns.flags.AD
    assert query.edns == 0
    assert query.payload == 1232
    assert query.ednsflags == dns.flags.DO
    [question] = query.question
    assert (question.name, question.rdtype) == (dns.name.from_text(NAME), dns.rdatatype.TLSA)


@pytest.mark.parametrize("name", ["", "a..b", "a" * 64 + ".b", ".".join(["a" * 49] * 6), "bücher.example"])
def test_names_that_have_no_wire_form(name: str) -> None:
    with pytest.raises(WireError):
        encode_name(name)


# --- honest responses, beside dnspython ------------------------------------------------------------------------------

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
def test_reads_what_dnspython_writes(
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
def test_names_are_read_as_dnspython_reads_them(octets: bytes, offset: int) -> None:
    """Any octets, pointers included: both refuse, or both see the same labels and end at the same octet."""
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


def test_a_pointer_may_only_point_to_what_stands_before() -> None:
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
def test_label_types_that_nobody_knows(octet: int) -> None:
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
    """`a1._device` as one label, under example.net: another name, however it looks."""
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


# --- what counts as an answer ----------------------------------------------------------------------------------------


def test_secure() -> None:
    assert read(message([tlsa()])) == Secure((GOOD_RECORD,), 300)


def rrsig(covered: int, algorithm: int, owner: str = NAME) -> bytes:
    return rr(
        owner, 46, 300, struct.pack("!HBBIIIH", covered, algorithm, 4, 300, 2, 1, 7) + wire("example.net") + b"s" * 64
    )


@pytest.mark.parametrize(
    ("algorithms", "weak"),
    [
        ((13,), None),
        ((8,), None),
        ((5,), "RSASHA1"),
        ((7,), "RSASHA1-NSEC3-SHA1"),
        ((7, 13), None),
        ((7, 5), "RSASHA1 and"),
        ((), None),
    ],
)
def test_signatures_by_sha1_alone_do_not_count(algorithms: tuple[int, ...], weak: str | None) -> None:
    octets = message([tlsa(), *(rrsig(TLSA, number) for number in algorithms)])
    answer = read(octets)
    if weak is None:
        assert answer == Secure((GOOD_RECORD,), 300)
    else:
        assert isinstance(answer, Insecure)
        assert answer.detail.startswith(f"{NAME} is signed with {weak}")
        assert "RFC 9905" in answer.detail
        # dnspython calls them the same.
        record = dns.message.from_wire(octets).answer[-1][0]
        assert record.algorithm.name.replace("NSEC3SHA1", "-NSEC3-SHA1") in answer.detail
    assert interpret(decode_response(octets, NAME, ID), NAME, allow_sha1=True) == Secure((GOOD_RECORD,), 300)


def test_each_step_of_the_way_has_to_be_signed_well() -> None:
    there = "keys.example.org"
    good = [cname(NAME, there), rrsig(CNAME, 13), tlsa(there), rrsig(TLSA, 13, there)]
    assert isinstance(read(message(good)), Secure)
    for weak in (
        [cname(NAME, there), rrsig(CNAME, 7), tlsa(there), rrsig(TLSA, 13, there)],
        [cname(NAME, there), rrsig(CNAME, 13), tlsa(there), rrsig(TLSA, 7, there)],
    ):
        assert isinstance(read(message(weak)), Insecure)
    # A signature that is cut off says nothing; the resolver has validated what it has.
    assert isinstance(read(message([tlsa(), rr(NAME, 46, 300, struct.pack("!HB", TLSA, 7))])), Secure)


def test_case_of_the_answer_is_ours_to_ignore() -> None:
    octets = message([tlsa("A1._DEVICE.Example.net")], questions=[("a1._DEVICE.example.NET", TLSA, 1)])
    assert read(octets) == Secure((GOOD_RECORD,), 300)


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        (b"", "at least 12"),
        (message([tlsa()])[:11], "at least 12"),
        (message([tlsa()], message_id=ID ^ 1), "another query"),
        (message([tlsa()], flags=RD | AD), "a query where a response"),
        (message([tlsa()], flags=QR | AD | 0x2800), "opcode 5"),
        (message([tlsa()], questions=()), "0 questions"),
        (message([tlsa()], questions=[(NAME, TLSA, 1)] * 2), "2 questions"),
        (message([tlsa()], questions=[(NAME, TLSA, 1), ("b." + NAME, TLSA, 1)]), "2 questions"),
        (message([tlsa()], questions=[("b." + NAME, TLSA, 1)]), "another question"),
        (message([tlsa()], questions=[(NAME, A, 1)]), "another question"),
        (message([tlsa()], questions=[(NAME, TLSA, 3)]), "another question"),
        (message([tlsa()], tail=b"\0"), "left over"),
        (message([tlsa()])[:-1], "cut off"),
        (message([tlsa()], additional=[opt(), opt()]), "more than one OPT"),
        (message([tlsa(), opt()]), "where none can be"),
        (message([tlsa()], additional=[b"\x01a" + opt()]), "where none can be"),
        (message([cname(NAME, "b.example"), cname(NAME, "c.example"), tlsa("c.example")]), "two CNAMEs"),
        (message([cname(NAME, "b.example"), tlsa(), tlsa("b.example")]), "both a CNAME and TLSA"),
        (message([cname(NAME, "b.example"), cname("b.example", NAME)]), "CNAMEs in a row"),
        (message([cname(NAME, NAME)]), "CNAMEs in a row"),
        (message([rr(NAME, CNAME, 9, b"\x01b\x00\x00")]), "not one name"),
        (message([rr(NAME, CNAME, 9, b"")]), "name cut off"),
        (message([tlsa()], rcode=3), "NXDOMAIN with TLSA"),
    ],
)
def test_not_an_answer_to_us(octets: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        read(octets)


def test_counts_that_promise_more_than_there_is() -> None:
    octets = bytearray(message([tlsa()]))
    octets[6:8] = b"\xff\xff"
    with pytest.raises(WireError, match="cut off"):
        read(bytes(octets))


def test_truncated_says_to_ask_again() -> None:
    with pytest.raises(Truncated):
        read(message([tlsa()], flags=QR | RD | RA | AD | TC))
    with pytest.raises(Truncated):
        # What follows may end anywhere.
        read(message([tlsa()], flags=QR | RD | RA | AD | TC)[:-20])
    # But not for somebody else's question.
    with pytest.raises(WireError, match="another query"):
        read(message([tlsa()], flags=QR | TC, message_id=1))


@pytest.mark.parametrize("rcode", [r for r in range(16) if r not in (0, 3)])
@pytest.mark.parametrize("flags", [QR | AD, QR])
def test_no_other_rcode_ever_gives_records(rcode: int, flags: int) -> None:
    """The AD flag and a good RRset beside an error are not an answer."""
    answer = read(message([tlsa()], rcode=rcode, flags=flags))
    assert isinstance(answer, Unavailable)
    assert RCODE_NAMES.get(rcode, f"rcode {rcode}") in answer.detail


@pytest.mark.parametrize("bits", [1, 0x80, 0xFF])
def test_the_upper_bits_of_the_rcode_count(bits: int) -> None:
    assert isinstance(read(message([tlsa()], additional=[opt(bits)])), Unavailable)
    assert isinstance(read(message([tlsa()], additional=[opt(0)])), Secure)
    # NXDOMAIN with upper bits set is no NXDOMAIN.
    assert isinstance(read(message(rcode=3, authority=[soa()], additional=[opt(bits)])), Unavailable)


def test_without_ad_nothing_is_used() -> None:
    assert isinstance(read(message([tlsa()], flags=QR | RD | RA)), Insecure)
    assert isinstance(read(message([tlsa()], flags=QR | RD | RA | CD | AA)), Insecure)
    assert isinstance(read(message(rcode=3, authority=[soa()], flags=QR)), Insecure)
    assert isinstance(read(message(authority=[soa()], flags=QR)), Insecure)


def test_records_of_another_owner_class_or_type_do_not_count() -> None:
    bad = b"\x03\x01\x01" + b"\xbb" * 32
    answer = read(
        message(
            [
                tlsa("b." + NAME, data=bad),
                tlsa(data=bad, rrclass=3),
                rr(NAME, 53, 300, bad),
                tlsa(),
                tlsa("net", data=bad),
            ],
            authority=[tlsa(data=bad)],
            additional=[tlsa(data=bad), opt()],
        )
    )
    assert answer == Secure((GOOD_RECORD,), 300)
    assert read(message([tlsa("b." + NAME)], authority=[soa()])) == SecureAbsent(Absence.NODATA, 30)


def test_cname_is_followed_and_nothing_beside_it() -> None:
    bad = b"\x03\x01\x01" + b"\xbb" * 32
    there = "keys.example.org"
    chain = [cname(NAME, "x.example", 200), cname("x.example", there, 100)]
    assert read(message([*chain, tlsa(there)])) == Secure((GOOD_RECORD,), 100, (), there)
    # In any order; a record beside the way is not on it.
    assert read(message([tlsa(there), tlsa("y.example", data=bad), *reversed(chain)])) == Secure(
        (GOOD_RECORD,), 100, (), there
    )
    # A way that ends nowhere: whatever else stands in the answer is not the end of it.
    assert read(message([*chain, tlsa("y.example", data=bad)], authority=[soa()])) == SecureAbsent(Absence.NODATA, 30)
    assert read(message(chain, rcode=3, authority=[soa(minimum=150)])) == SecureAbsent(Absence.NXDOMAIN, 60)
    # A CNAME of another class, or beside the way, leads nowhere.
    stray = [rr(NAME, CNAME, 300, wire(there), 3), cname("q.example", there)]
    assert read(message([*stray, tlsa(), tlsa(there, data=bad)])) == Secure((GOOD_RECORD,), 300)


def test_the_longest_way_that_is_followed() -> None:
    def hops(count: int) -> list[bytes]:
        names = [NAME, *(f"h{i}.example" for i in range(count))]
        return [*(cname(a, b) for a, b in itertools.pairwise(names)), tlsa(names[-1])]

    assert isinstance(read(message(hops(15))), Secure)
    with pytest.raises(WireError, match="in a row"):
        read(message(hops(16)))


def test_a_dname_bounds_the_cname_that_was_made_from_it() -> None:
    dname = rr("_device.example.net", DNAME, 50, wire("d.example"))
    assert read(message([dname, cname(NAME, "a1.d.example", 300), tlsa("a1.d.example")])) == Secure(
        (GOOD_RECORD,), 50, (), "a1.d.example"
    )


@pytest.mark.parametrize(
    ("ttls", "expected"),
    [([300, 20], 20), ([0], 0), ([2**31 - 1], 2**31 - 1), ([2**31], 0), ([2**32 - 1, 300], 0)],
)
def test_ttl(ttls: list[int], expected: int) -> None:
    """The least of the RRset; with the top bit set it is 0 (RFC 2181 section 8), never a very long time."""
    records = [tlsa(ttl=ttl, data=b"\x03\x01\x01" + bytes([i]) * 32) for i, ttl in enumerate(ttls)]
    answer = read(message(records))
    assert isinstance(answer, Secure)
    assert answer.ttl == expected


@pytest.mark.parametrize(
    ("authority", "ttl"),
    [
        ([soa(60, 30)], 30),
        ([soa(20, 30)], 20),
        ([soa(60, 2**31)], 0),
        ([soa(2**31, 60)], 0),
        ([], 0),
        ([rr("example.net", SOA, 60, b"\0" * 21)], 0),
        ([rr("example.net", A, 60, b"\1\2\3\4")], 0),
    ],
)
def test_negative_ttl(authority: list[bytes], ttl: int) -> None:
    """RFC 2308 section 5. Without an SOA that can be read, a denial is not kept."""
    assert read(message(authority=authority)) == SecureAbsent(Absence.NODATA, ttl)
    assert read(message(authority=authority, rcode=3)) == SecureAbsent(Absence.NXDOMAIN, ttl)


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_a_malformed_record_hides_nobody(size: int) -> None:
    answer = read(message([tlsa(data=b"\x03" * size), tlsa(), tlsa(data=b"\x03\x01\x01\xff")]))
    assert isinstance(answer, Secure)
    # The one-octet digest is a record, though not a usable one; dnspython 2.9 refuses the whole message for it.
    assert answer.records == (GOOD_RECORD, TlsaRecord(3, 1, 1, b"\xff"))
    assert answer.malformed == (f"TLSA data of {size} octets, at least 4 expected",)
    alone = read(message([tlsa(data=b"\x03" * size)]))
    assert isinstance(alone, Secure)
    assert alone.records == ()


# --- extended errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", range(30))
def test_servfail_by_its_extended_error(code: int) -> None:
    answer = read(message(rcode=2, flags=QR, additional=[opt(options=[ede(code, b"said so")])]))
    if 6 <= code <= 12:
        assert answer == Bogus(code, "said so")
    else:
        assert isinstance(answer, Unavailable)
        assert f"EDE {code} said so" in answer.detail


def test_bogus_is_found_among_several() -> None:
    options = [ede(22, b"no reachable authority"), (10, b"12345678"), ede(9, b"no key")]
    assert read(message(rcode=2, additional=[opt(options=options)])) == Bogus(9, "no key")


@pytest.mark.parametrize("code", [3, 19])
def test_a_stale_answer_is_no_answer(code: int) -> None:
    assert isinstance(read(message([tlsa()], additional=[opt(options=[ede(code)])])), Unavailable)
    assert isinstance(read(message(rcode=3, additional=[opt(options=[ede(code)])])), Unavailable)
    assert isinstance(read(message([tlsa()], additional=[opt(options=[ede(4)])])), Secure)


def test_text_of_strangers_is_bounded_and_printable() -> None:
    answer = read(message(rcode=2, additional=[opt(options=[ede(6, b"\x1b[31mred\n\xff" + b"x" * 5000)])]))
    assert isinstance(answer, Bogus)
    assert answer.ede_text.isprintable()
    assert len(answer.ede_text) <= 200


@pytest.mark.parametrize("body", [b"\0", b"\0\x0f\0", b"\0\x0f\0\x01\x06", b"\0\x0f\xff\xff\0\x06", b"\0\x0f\0\0"])
def test_options_that_are_cut_off_say_nothing(body: bytes) -> None:
    broken = b"\0" + struct.pack("!HHIH", OPT, 1232, 0, len(body)) + body
    assert isinstance(read(message(rcode=2, additional=[broken])), Unavailable)
    assert isinstance(read(message([tlsa()], additional=[broken])), Secure)


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
