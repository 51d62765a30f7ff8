"""Which responses count as an answer, what they say, and what their extended errors mean."""

from __future__ import annotations

import itertools
import struct

import dns.message
import pytest

from dane_radius.core.answers import Absence, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from dane_radius.core.tlsa import TlsaRecord
from dane_radius.dns.interpret import interpret
from dane_radius.dns.wire import RCODE_NAMES, Truncated, WireError, decode_response
from tests.unit.dane_radius.test_dns_wire import (
    AA,
    AD,
    CD,
    CNAME,
    DNAME,
    GOOD_RECORD,
    ID,
    NAME,
    OPT,
    QR,
    RA,
    RD,
    SOA,
    TC,
    TLSA,
    A,
    cname,
    ede,
    message,
    opt,
    read,
    rr,
    soa,
    tlsa,
    wire,
)

# --- what counts as an answer ----------------------------------------------------------------------------------------


def test_a_validated_rrset_is_secure() -> None:
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
        # dnspython has the same names for the algorithms.
        record = dns.message.from_wire(octets).answer[-1][0]
        assert record.algorithm.name.replace("NSEC3SHA1", "-NSEC3-SHA1") in answer.detail
    assert interpret(decode_response(octets, NAME, ID), NAME, allow_sha1=True) == Secure((GOOD_RECORD,), 300)


def test_each_cname_of_the_chain_needs_a_strong_signature() -> None:
    there = "keys.example.org"
    good = [cname(NAME, there), rrsig(CNAME, 13), tlsa(there), rrsig(TLSA, 13, there)]
    assert isinstance(read(message(good)), Secure)
    for weak in (
        [cname(NAME, there), rrsig(CNAME, 7), tlsa(there), rrsig(TLSA, 13, there)],
        [cname(NAME, there), rrsig(CNAME, 13), tlsa(there), rrsig(TLSA, 7, there)],
    ):
        assert isinstance(read(message(weak)), Insecure)
    # A truncated signature does not count here: the resolver has validated the RRset.
    assert isinstance(read(message([tlsa(), rr(NAME, 46, 300, struct.pack("!HB", TLSA, 7))])), Secure)


def test_letter_case_does_not_matter() -> None:
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
def test_malformed_or_foreign_responses_are_refused(octets: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        read(octets)


def test_a_count_beyond_the_end_of_the_message_is_refused() -> None:
    octets = bytearray(message([tlsa()]))
    octets[6:8] = b"\xff\xff"
    with pytest.raises(WireError, match="cut off"):
        read(bytes(octets))


def test_a_truncated_response_raises_truncated() -> None:
    with pytest.raises(Truncated):
        read(message([tlsa()], flags=QR | RD | RA | AD | TC))
    with pytest.raises(Truncated):
        # The message may end anywhere after the question.
        read(message([tlsa()], flags=QR | RD | RA | AD | TC)[:-20])
    # But not if it answers another question.
    with pytest.raises(WireError, match="another query"):
        read(message([tlsa()], flags=QR | TC, message_id=1))


@pytest.mark.parametrize("rcode", [r for r in range(16) if r not in (0, 3)])
@pytest.mark.parametrize("flags", [QR | AD, QR])
def test_no_other_rcode_ever_gives_records(rcode: int, flags: int) -> None:
    """An error rcode counts, even with the AD flag and a valid RRset in the message."""
    answer = read(message([tlsa()], rcode=rcode, flags=flags))
    assert isinstance(answer, Unavailable)
    assert RCODE_NAMES.get(rcode, f"rcode {rcode}") in answer.detail


@pytest.mark.parametrize("bits", [1, 0x80, 0xFF])
def test_the_upper_bits_of_the_rcode_count(bits: int) -> None:
    assert isinstance(read(message([tlsa()], additional=[opt(bits)])), Unavailable)
    assert isinstance(read(message([tlsa()], additional=[opt(0)])), Secure)
    # With upper bits set, 3 does not mean NXDOMAIN.
    assert isinstance(read(message(rcode=3, authority=[soa()], additional=[opt(bits)])), Unavailable)


def test_an_answer_without_ad_is_insecure() -> None:
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


def test_only_the_cname_chain_of_the_name_is_followed() -> None:
    bad = b"\x03\x01\x01" + b"\xbb" * 32
    there = "keys.example.org"
    chain = [cname(NAME, "x.example", 200), cname("x.example", there, 100)]
    assert read(message([*chain, tlsa(there)])) == Secure((GOOD_RECORD,), 100, (), there)
    # The order does not matter, and records of other names do not count.
    assert read(message([tlsa(there), tlsa("y.example", data=bad), *reversed(chain)])) == Secure(
        (GOOD_RECORD,), 100, (), there
    )
    # The chain ends without a TLSA RRset: other records in the answer do not count.
    assert read(message([*chain, tlsa("y.example", data=bad)], authority=[soa()])) == SecureAbsent(Absence.NODATA, 30)
    assert read(message(chain, rcode=3, authority=[soa(minimum=150)])) == SecureAbsent(Absence.NXDOMAIN, 60)
    # A CNAME of another class or another name is not followed.
    stray = [rr(NAME, CNAME, 300, wire(there), 3), cname("q.example", there)]
    assert read(message([*stray, tlsa(), tlsa(there, data=bad)])) == Secure((GOOD_RECORD,), 300)


def test_the_length_of_a_cname_chain_is_limited() -> None:
    def hops(count: int) -> list[bytes]:
        names = [NAME, *(f"h{i}.example" for i in range(count))]
        return [*(cname(a, b) for a, b in itertools.pairwise(names)), tlsa(names[-1])]

    assert isinstance(read(message(hops(15))), Secure)
    with pytest.raises(WireError, match="in a row"):
        read(message(hops(16)))


def test_the_ttl_of_a_dname_limits_its_synthesized_cname() -> None:
    dname = rr("_device.example.net", DNAME, 50, wire("d.example"))
    assert read(message([dname, cname(NAME, "a1.d.example", 300), tlsa("a1.d.example")])) == Secure(
        (GOOD_RECORD,), 50, (), "a1.d.example"
    )


@pytest.mark.parametrize(
    ("ttls", "expected"),
    [([300, 20], 20), ([0], 0), ([2**31 - 1], 2**31 - 1), ([2**31], 0), ([2**32 - 1, 300], 0)],
)
def test_the_ttl_of_an_answer(ttls: list[int], expected: int) -> None:
    """The least TTL of the RRset counts. One with the top bit set counts as 0 (RFC 2181 section 8)."""
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
def test_the_ttl_of_a_denial(authority: list[bytes], ttl: int) -> None:
    """RFC 2308 section 5. Without a valid SOA, a denial is not cached."""
    assert read(message(authority=authority)) == SecureAbsent(Absence.NODATA, ttl)
    assert read(message(authority=authority, rcode=3)) == SecureAbsent(Absence.NXDOMAIN, ttl)


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_a_malformed_record_does_not_affect_the_others(size: int) -> None:
    answer = read(message([tlsa(data=b"\x03" * size), tlsa(), tlsa(data=b"\x03\x01\x01\xff")]))
    assert isinstance(answer, Secure)
    # The record with a one-octet digest is well-formed, but unusable. dnspython 2.9 refuses the message because of it.
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


def test_a_dnssec_error_is_found_among_other_options() -> None:
    options = [ede(22, b"no reachable authority"), (10, b"12345678"), ede(9, b"no key")]
    assert read(message(rcode=2, additional=[opt(options=options)])) == Bogus(9, "no key")


@pytest.mark.parametrize("code", [3, 19])
def test_a_stale_answer_of_the_resolver_is_not_used(code: int) -> None:
    assert isinstance(read(message([tlsa()], additional=[opt(options=[ede(code)])])), Unavailable)
    assert isinstance(read(message(rcode=3, additional=[opt(options=[ede(code)])])), Unavailable)
    assert isinstance(read(message([tlsa()], additional=[opt(options=[ede(4)])])), Secure)


def test_extended_error_text_is_bounded_and_printable() -> None:
    answer = read(message(rcode=2, additional=[opt(options=[ede(6, b"\x1b[31mred\n\xff" + b"x" * 5000)])]))
    assert isinstance(answer, Bogus)
    assert answer.ede_text.isprintable()
    assert len(answer.ede_text) <= 200


@pytest.mark.parametrize("body", [b"\0", b"\0\x0f\0", b"\0\x0f\0\x01\x06", b"\0\x0f\xff\xff\0\x06", b"\0\x0f\0\0"])
def test_truncated_options_are_ignored(body: bytes) -> None:
    broken = b"\0" + struct.pack("!HHIH", OPT, 1232, 0, len(body)) + body
    assert isinstance(read(message(rcode=2, additional=[broken])), Unavailable)
    assert isinstance(read(message([tlsa()], additional=[broken])), Secure)
