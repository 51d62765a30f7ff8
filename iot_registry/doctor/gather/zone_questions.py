"""Single questions about a zone, to its servers and to a validating resolver. Nothing is changed there."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rrset

from health_report import CannotTry, DnsReply, ask_once, over_udp, to_reply
from iot_registry.core import names
from iot_registry.doctor.facts import ExpectedRecords, ServedRecords, SoaFacts
from iot_registry.local import tsig_keys
from iot_registry.local.config import Settings
from iot_registry.publication.dns_client import DnsClient, DnsError
from web_service.local import Endpoint

# A NOTIFY and a transfer take a moment, and so does a change that is being published.
_TRIES, _PAUSE_SECONDS = 3, 1.0
_QUERY_TRIES = 2
_SERIALS = 1 << 32
# RFC 8078 section 4.
_DELETION = "0 0 0 00"

# What names must have now; without those that have a change pending.
Expect = Callable[[Iterable[str]], Mapping[str, ExpectedRecords]]


def ask(server: Endpoint, name: str, rdtype: str, *, flags: int = 0) -> dns.message.Message:
    """One question, repeated if it is lost; without the RD flag, as for an authoritative server. Raises CannotTry."""
    query = dns.message.make_query(name, rdtype, use_edns=0, want_dnssec=True, payload=1232, flags=flags)
    failure = ""
    for _ in range(_QUERY_TRIES):
        try:
            return over_udp(server.host, server.port)(query)
        except dns.exception.Timeout:
            failure = "no answer"
        except (OSError, dns.exception.DNSException, EOFError) as error:
            failure = str(error) or type(error).__name__
    raise CannotTry(failure)


def _records(answer: dns.message.Message, name: str, rdtype: str) -> dns.rrset.RRset | None:
    owner, kind = dns.name.from_text(name), dns.rdatatype.from_text(rdtype)
    return next((rrset for rrset in answer.answer if rrset.name == owner and rrset.rdtype == kind), None)


def ask_records(server: Endpoint, name: str, rdtype: str) -> tuple[dns.rdata.Rdata, ...]:
    """The records of a name at an authoritative server. Raises CannotTry."""
    return tuple(_records(ask(server, name, rdtype), name, rdtype) or ())


def ask_soa(server: Endpoint, zone: str) -> SoaFacts:
    """The zone's SOA record at an authoritative server. Never raises."""
    try:
        answer = ask(server, zone, "SOA")
    except CannotTry as error:
        return SoaFacts(str(server), str(error))
    if answer.rcode() != dns.rcode.NOERROR:
        return SoaFacts(str(server), dns.rcode.to_text(answer.rcode()))
    serials = [int(record.serial) for record in _records(answer, zone, "SOA") or ()]
    return SoaFacts(
        str(server),
        None,
        bool(answer.flags & dns.flags.AA),
        serials[0] if serials else None,
        to_reply(answer, zone, "SOA", 0.0).windows,
    )


def ask_secondary(server: Endpoint, zone: str, serial: int) -> SoaFacts:
    """The zone's SOA record at a secondary or a resolver, asked again for as long as it is behind `serial`."""
    for _ in range(_TRIES):
        found = ask_soa(server, zone)
        behind = 0 if found.serial is None else (serial - found.serial) % _SERIALS
        if not 0 < behind < _SERIALS // 2:
            break
        time.sleep(_PAUSE_SECONDS)
    return SoaFacts(str(server), None) if found.failure == "REFUSED" and _is_resolver(server, zone) else found


def _is_resolver(server: Endpoint, zone: str) -> bool:
    """Whether a server that refuses questions without the RD flag is a resolver, as Unbound is."""
    try:
        answer = ask(server, zone, "SOA", flags=dns.flags.RD)
    except CannotTry:
        return False
    return bool(answer.flags & dns.flags.RA) and answer.rcode() != dns.rcode.REFUSED


def update_problem(settings: Settings, server: Endpoint, zone: str) -> str | None:
    """Why an update with the registry's key would be refused, or None. Raises ConfigurationError, DnsError."""
    client = DnsClient(server, tsig_keys.load(settings.tsig_key_file), settings.publication.timeout_seconds)
    name = f"doctor-{secrets.token_hex(8)}.doctor.{names.identity_root(zone.removeprefix(f'{names.DEVICE_LABEL}.'))}"
    try:
        client.check_permission(zone, name)
    except DnsError as error:
        if not error.refused:
            raise
        return str(error)
    return None


def ask_resolver(resolver: Endpoint | None, zone: str) -> DnsReply:
    """The zone's SOA record by a validating resolver. Raises CannotTry without one."""
    if resolver is None:
        raise CannotTry("no resolver was named")
    return ask_once(over_udp(resolver.host, resolver.port), zone, "SOA")


def ask_ds(resolver: Endpoint | None, zone: str) -> tuple[dns.rdata.Rdata, ...]:
    """The zone's DS records by a resolver. Raises CannotTry without one."""
    if resolver is None:
        raise CannotTry("no resolver was named")
    answer = ask(resolver, zone, "DS", flags=dns.flags.RD)
    if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise CannotTry(f"the resolver answers {dns.rcode.to_text(answer.rcode())}")
    return tuple(_records(answer, zone, "DS") or ())


def with_matches(
    zone: str, records: Iterable[dns.rdata.Rdata], keys: Sequence[dns.rdata.Rdata]
) -> tuple[tuple[str, bool], ...]:
    """DS records, each with whether it is that of a key. Pure."""
    owner = dns.name.from_text(zone)
    found = []
    for record in records:
        matches = False
        for key in keys:
            try:
                # dnspython gives all records one type, which lacks the members of each.
                matches |= dns.dnssec.make_ds(owner, key, record.digest_type, validating=True) == record  # type: ignore[attr-defined]
            except (dns.exception.DNSException, ValueError):
                # A digest type that this library does not know.
                continue
        found.append((str(record), matches))
    return tuple(found)


def wanted_ds(zone: str, cds: Iterable[dns.rdata.Rdata], cdnskeys: Iterable[dns.rdata.Rdata]) -> tuple[str, ...]:
    """The DS records that a zone asks for (RFC 7344, RFC 8078). Pure."""
    owner = dns.name.from_text(zone)
    # The fields of CDS and DS are the same.
    found = {str(record) for record in cds}
    for key in cdnskeys:
        if found:
            break
        # The same holds for these members.
        is_deletion = key.algorithm == 0  # type: ignore[attr-defined]
        found.add(_DELETION if is_deletion else str(dns.dnssec.make_ds(owner, key, "SHA256")))
    return tuple(sorted(found))


def key_tags(keys: Iterable[dns.rdata.Rdata]) -> tuple[int, ...]:
    """The tags of the keys that sign keys (flag SEP, RFC 4034 section 2.1.1). Pure."""
    # The same holds for these members.
    return tuple(sorted(dns.dnssec.key_id(key) for key in keys if key.flags & 1))  # type: ignore[attr-defined, arg-type]


def ttl_of_one(server: Endpoint, sample: Iterable[ExpectedRecords]) -> tuple[int, int] | None:
    """The TTL of the records of one name, found and expected, or None if there are none. Raises CannotTry."""
    item = next((item for item in sample if item.records), None)
    rrset = _records(ask(server, item.name, "TLSA"), item.name, "TLSA") if item else None
    return (rrset.ttl, item.ttl) if rrset and item else None


def compare(client: DnsClient, server: Endpoint, sample: Sequence[ExpectedRecords], expect: Expect) -> ServedRecords:
    """What a server serves for the sample. A name that differs is looked up again. Raises DnsError."""
    wrong: dict[str, tuple[str, frozenset[str], frozenset[str]]] = {}
    expected = {item.name: item for item in sample}
    for attempt in range(_TRIES):
        wrong = {}
        for item in expected.values():
            found = client.records(item.name, server)
            if found != item.records:
                wrong[item.name] = (item.name, found, item.records)
        if not wrong or attempt == _TRIES - 1:
            break
        time.sleep(_PAUSE_SECONDS)
        # It may have changed since the database was read.
        expected = dict(expect(wrong))
    return ServedRecords(str(server), len(sample), None, tuple(wrong.values()))
