"""Gathers facts about the zones: all zones, and all questions about one, at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import dns.rdata

from health_report import Fact, NotTried
from iot_registry.doctor.facts import DomainFacts, ExpectedRecords, ServedRecords, SoaFacts, ZoneFacts
from iot_registry.doctor.gather import zone_questions
from iot_registry.doctor.gather.contents import expected_records
from iot_registry.doctor.gather.probe import Pending
from iot_registry.local import tsig_keys
from iot_registry.local.config import Settings
from iot_registry.publication.dns_client import DnsClient
from web_service.local import Endpoint, parse_endpoint

_MAX_ZONES = 10
_PRIMARY_SECONDS = 5.0
_PROBE_SECONDS = 14.0
ZONES_SECONDS = _PRIMARY_SECONDS + _PROBE_SECONDS + 3

_Records = tuple[dns.rdata.Rdata, ...]


def read_zones(
    settings: Settings,
    domains: Sequence[DomainFacts],
    sample: Sequence[ExpectedRecords],
    resolver: Endpoint | None,
) -> tuple[ZoneFacts, ...]:
    """The first zones. sample: names to compare. resolver: a validating one, or None."""
    first: dict[str, DomainFacts] = {}
    for domain in domains:
        first.setdefault(domain.zone, domain)
    pending = {
        zone: Pending(
            partial(_read_zone, settings, domain, [item for item in sample if item.zone == zone], resolver),
            ZONES_SECONDS - 1,
        )
        for zone, domain in list(first.items())[:_MAX_ZONES]
    }
    return tuple(_or_unknown(settings, zone, probe.result()) for zone, probe in pending.items())


def _or_unknown(settings: Settings, zone: str, fact: Fact[ZoneFacts]) -> ZoneFacts:
    if isinstance(fact, NotTried):
        return _silent(zone, SoaFacts(settings.publication.server, fact.why), fact)
    return fact


def _silent(zone: str, primary: SoaFacts, why: NotTried) -> ZoneFacts:
    """The facts without an answer of the primary."""
    return ZoneFacts(zone, primary, (), why, (), None, why, why, (), None, ())


def _read_zone(
    settings: Settings, domain: DomainFacts, sample: Sequence[ExpectedRecords], resolver: Endpoint | None
) -> ZoneFacts:
    zone, publication = domain.zone, settings.publication
    server = parse_endpoint(publication.server)
    validated = Pending(lambda: zone_questions.ask_resolver(resolver, zone), _PROBE_SECONDS)
    parent = Pending(lambda: zone_questions.ask_ds(resolver, zone), _PROBE_SECONDS)
    primary = Pending(lambda: zone_questions.ask_soa(server, zone), _PRIMARY_SECONDS).result()
    if isinstance(primary, NotTried):
        primary = SoaFacts(str(server), primary.why)
    serial = primary.serial
    if serial is None:
        return replace(_silent(zone, primary, NotTried("the primary does not answer")), validated=validated.result())
    update = Pending(lambda: zone_questions.update_problem(settings, server, zone), _PROBE_SECONDS)
    confirming = [parse_endpoint(text) for text in publication.confirm] or [server]
    served = [Pending(partial(_compare, settings, at, sample), _PROBE_SECONDS) for at in confirming]
    others = dict.fromkeys(parse_endpoint(text) for text in (*publication.confirm, *publication.notify))
    others.pop(server, None)
    secondaries = [Pending(partial(zone_questions.ask_secondary, at, zone, serial), _PROBE_SECONDS) for at in others]
    asked_keys = Pending(lambda: zone_questions.ask_records(server, zone, "DNSKEY"), _PROBE_SECONDS)
    asked_cds = Pending(lambda: zone_questions.ask_records(server, zone, "CDS"), _PROBE_SECONDS)
    asked_cdnskeys = Pending(lambda: zone_questions.ask_records(server, zone, "CDNSKEY"), _PROBE_SECONDS)
    asked_ttl = Pending(lambda: zone_questions.ttl_of_one(server, sample), _PROBE_SECONDS)
    keys, ttl = _or_none(asked_keys.result()), asked_ttl.result()
    cds = zone_questions.wanted_ds(zone, _or_none(asked_cds.result()), _or_none(asked_cdnskeys.result()))
    records = parent.result()
    return ZoneFacts(
        zone=zone,
        primary=primary,
        key_tags=zone_questions.key_tags(keys),
        update_problem=update.result(),
        cds=cds,
        cds_in_ds=_cds_in_ds(cds, records),
        validated=validated.result(),
        ds=records if isinstance(records, NotTried) else zone_questions.with_matches(zone, records, keys),
        served=tuple(_or_failed(at, len(sample), probe.result()) for at, probe in zip(confirming, served, strict=True)),
        ttl=None if isinstance(ttl, NotTried) else ttl,
        secondaries=tuple(
            SoaFacts(str(at), fact.why) if isinstance(fact := probe.result(), NotTried) else fact
            for at, probe in zip(others, secondaries, strict=True)
        ),
    )


def _or_none(records: Fact[_Records]) -> _Records:
    """The records, or none: then the check says that the zone lacks them."""
    return () if isinstance(records, NotTried) else records


def _cds_in_ds(cds: Iterable[str], ds: Fact[_Records]) -> bool | None:
    """Whether the parent zone has one of the DS records that the zone asks for. Pure."""
    return None if isinstance(ds, NotTried) else bool(set(cds) & {str(record) for record in ds})


def _or_failed(server: Endpoint, asked: int, fact: Fact[ServedRecords]) -> ServedRecords:
    return ServedRecords(str(server), asked, fact.why, ()) if isinstance(fact, NotTried) else fact


def _compare(settings: Settings, server: Endpoint, sample: Sequence[ExpectedRecords]) -> ServedRecords:
    primary = parse_endpoint(settings.publication.server)
    # The key is not used for questions.
    client = DnsClient(primary, tsig_keys.TsigKey("unused", b""), settings.publication.timeout_seconds)

    def expect(names: Iterable[str]) -> Mapping[str, ExpectedRecords]:
        return expected_records(settings, names)

    return zone_questions.compare(client, server, sample, expect)
