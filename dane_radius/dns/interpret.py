"""What a response says about the TLSA RRset of a name, by its rcode, flags, records and extended errors. Pure."""

from __future__ import annotations

from dane_radius.core.answers import Absence, Answer, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from dane_radius.core.tlsa import TlsaRecord
from dane_radius.dns.wire import (
    CLASS_IN,
    MAX_TTL,
    NOERROR,
    NXDOMAIN,
    RCODE_NAMES,
    SERVFAIL,
    TYPE_CNAME,
    TYPE_DNAME,
    TYPE_RRSIG,
    TYPE_SOA,
    TYPE_TLSA,
    Message,
    ResourceRecord,
    WireError,
    decode_name,
)

# RFC 8914: with code 1 or 2 (unsupported algorithm) a zone counts as insecure; these codes say that validation failed.
EDE_BOGUS = frozenset({6, 7, 8, 9, 10, 11, 12})
EDE_STALE = frozenset({3, 19})
# RSASHA1 and RSASHA1-NSEC3-SHA1: validators treat RRsets with no other signature as insecure (RFC 9905 section 2).
SHA1_ALGORITHMS = frozenset({5, 7})
_MAX_CNAMES = 16


def interpret(message: Message, name: str, *, allow_sha1: bool = False) -> Answer:
    """The answer in a response about the TLSA RRset of `name`. Raises WireError if the message contradicts itself.

    `allow_sha1`: whether an RRset whose only signatures use SHA-1 counts as validated.
    """
    if message.rcode == SERVFAIL:
        for code, text in message.ede:
            if code in EDE_BOGUS:
                return Bogus(code, text)
        detail = "; ".join(f"EDE {code} {text}".strip() for code, text in message.ede)
        return Unavailable(f"the resolver answered SERVFAIL{f' ({detail})' if detail else ''}")
    if message.rcode not in (NOERROR, NXDOMAIN):
        return Unavailable(f"the resolver answered {RCODE_NAMES.get(message.rcode, f'rcode {message.rcode}')}")
    stale = [code for code, _ in message.ede if code in EDE_STALE]
    if stale:
        return Unavailable(f"the resolver served an expired answer (EDE {stale[0]})")
    owner, ttl = _follow_cnames(message, name)
    if not message.authentic:
        hop = f"; CNAME to {owner}" if owner != name else ""
        return Insecure(f"the resolver did not validate the answer (no AD flag{hop})", _least_ttl(message))
    rrset = [r for r in message.answer if r.rrtype == TYPE_TLSA and r.rrclass == CLASS_IN and r.owner == owner]
    if message.rcode == NXDOMAIN or not rrset:
        if message.rcode == NXDOMAIN and rrset:
            raise WireError("NXDOMAIN with TLSA records")
        absence = Absence.NXDOMAIN if message.rcode == NXDOMAIN else Absence.NODATA
        return SecureAbsent(absence, min(ttl, _negative_ttl(message)))
    weak = None if allow_sha1 else _signed_with_sha1_alone(message)
    if weak is not None:
        return Insecure(f"{weak}, a signature algorithm that does not count (RFC 9905)", _least_ttl(message))
    records = []
    malformed = []
    for record in rrset:
        rdata = message.octets[record.rdata_offset : record.rdata_end]
        if len(rdata) < 4:
            malformed.append(f"TLSA data of {len(rdata)} octets, at least 4 expected")
        else:
            records.append(TlsaRecord(rdata[0], rdata[1], rdata[2], rdata[3:]))
    return Secure(
        records=tuple(records),
        ttl=min(ttl, *(r.ttl for r in rrset)),
        malformed=tuple(malformed),
        canonical_name=owner if owner != name else None,
    )


def _signed_with_sha1_alone(message: Message) -> str | None:
    """Describes an RRset of the answer that only SHA-1 signatures cover; None if there is none.

    The resolver has validated the signatures, and returns all of them when DO is set. One signature by a stronger
    algorithm is enough. The chain above the zone's own signatures (DS, parent zones) is the resolver's decision.
    """
    algorithms: dict[tuple[str, int], set[int]] = {}
    for record in message.answer:
        # RFC 4034 section 3.1: type covered (2 octets), algorithm (1).
        if record.rrtype == TYPE_RRSIG and record.rdata_end - record.rdata_offset >= 18:
            covered = int.from_bytes(message.octets[record.rdata_offset : record.rdata_offset + 2], "big")
            algorithms.setdefault((record.owner, covered), set()).add(message.octets[record.rdata_offset + 2])
    for (owner, _), found in algorithms.items():
        if found <= SHA1_ALGORITHMS:
            names = " and ".join({5: "RSASHA1", 7: "RSASHA1-NSEC3-SHA1"}[number] for number in sorted(found))
            return f"{owner} is signed with {names}"
    return None


def _follow_cnames(message: Message, name: str) -> tuple[str, int]:
    """The owner name at the end of the CNAME chain, and the least TTL of the chain."""
    aliases: dict[str, ResourceRecord] = {}
    for record in message.answer:
        if record.rrtype == TYPE_CNAME and record.rrclass == CLASS_IN:
            if record.owner in aliases:
                raise WireError(f"{record.owner} has two CNAMEs")
            aliases[record.owner] = record
    if not aliases:
        return name, MAX_TTL
    if any(r.rrtype == TYPE_TLSA and r.owner in aliases for r in message.answer):
        raise WireError("a name has both a CNAME and TLSA records")
    # A synthesized CNAME must not outlive the DNAME that it was made from (RFC 6672 section 3.1).
    ttl = min((r.ttl for r in message.answer if r.rrtype == TYPE_DNAME), default=MAX_TTL)
    owner = name
    for _ in range(_MAX_CNAMES):
        alias = aliases.get(owner)
        if alias is None:
            return owner, ttl
        owner, end = decode_name(message.octets, alias.rdata_offset)
        if end != alias.rdata_end:
            raise WireError("CNAME data is not one name")
        ttl = min(ttl, alias.ttl)
    raise WireError(f"more than {_MAX_CNAMES} CNAMEs in a row")


def _negative_ttl(message: Message) -> int:
    """RFC 2308 section 5: the lesser of the SOA's own TTL and its MINIMUM field; 0, for no caching, without an SOA."""
    for record in message.authority:
        if record.rrtype == TYPE_SOA and record.rdata_end - record.rdata_offset >= 22:
            minimum = int.from_bytes(message.octets[record.rdata_end - 4 : record.rdata_end], "big")
            return min(record.ttl, minimum if minimum <= MAX_TTL else 0)
    return 0


def _least_ttl(message: Message) -> int:
    return min((r.ttl for r in message.answer), default=_negative_ttl(message))
