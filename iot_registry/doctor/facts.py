"""The facts that the checks judge. `gather` collects them; the checks do no I/O. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from health_report import Account, DnsReply, Fact, Node, PathFacts
from iot_registry.local.config import Settings
from web_service.local import Endpoint


@dataclass(frozen=True)
class Subject:
    """The registry to examine.

    config_file: None: defaults only. overrides: values of the command line, by section.
    resolver: a validating resolver to ask, or None. unit: the systemd unit of the server.
    """

    config_file: Path | None
    overrides: Mapping[str, dict[str, Any]]
    resolver: Endpoint | None = None
    unit: str = "iot-registry.service"

    @property
    def title(self) -> str:
        """What the configuration is, for a person."""
        return str(self.config_file) if self.config_file else "the default configuration"


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that the server reads and that others may not. setting: the key of the configuration that names it."""

    setting: str
    path: PathFacts


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The state directory and the files that the configuration names.

    owner: the directory's owner, as whom the server runs. foreign: paths in the directory that belong to others.
    open_keys: keys of CAs that others may use. free_octets, free_inodes: for the server; None: unlimited.
    passphrases, tls: as configured. tsig: the key file. tsig_problem: what is wrong with its contents, or None.
    """

    state: PathFacts
    owner: Fact[Account]
    foreign: tuple[Node, ...]
    open_keys: tuple[Node, ...]
    free_octets: int
    free_inodes: int | None
    passphrases: tuple[SecretFile, ...]
    tls: tuple[SecretFile, ...]
    tsig: PathFacts
    tsig_problem: Fact[str | None]


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """The database itself. title: its URL without a password.

    revision: of its schema; None: it has none. latest: this version's. known: whether this version knows `revision`.
    checksums: whether PostgreSQL keeps them of its pages; None: SQLite.
    """

    title: str
    encoding: str
    revision: str | None
    latest: str
    known: bool
    checksums: bool | None


@dataclass(frozen=True, slots=True)
class DomainFacts:
    """An identity domain, and the TTL in seconds of its records."""

    name: str
    zone: str
    ttl: int


@dataclass(frozen=True, slots=True)
class OutboxFacts:
    """The changes that the DNS does not serve yet."""

    waiting: int
    oldest_seconds: float
    last_error: str | None


@dataclass(frozen=True, slots=True)
class AuthorityFacts:
    """A CA that is not retired.

    kind: root, issuing or server. domain: of an issuing CA. is_issuing: no successor has taken over. is_due: a
    successor should be there. key: its file. has_key: None: it cannot be seen. key_problem: why it is not usable.
    """

    kind: str
    domain: str | None
    aki: str
    not_after: dt.datetime
    is_issuing: bool
    is_due: bool
    certificates: int
    key: str
    has_key: bool | None
    key_problem: Fact[str | None]


@dataclass(frozen=True, slots=True)
class ApiKeyFacts:
    """An API key that is not revoked. last_change: its latest entry in the audit log; None: it has none."""

    id: str
    label: str
    scopes: frozenset[str]
    domain: str | None
    created_at: dt.datetime
    expires_at: dt.datetime | None
    last_change: dt.datetime | None


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """Enrollment tokens.

    stranded: some of the `stranded_count` devices that have neither a certificate nor a valid token.
    """

    open: int
    next_expiry: dt.datetime | None
    stranded_count: int
    stranded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FeedFacts:
    """The change feed. oldest: the time of its first event; None: it is empty."""

    events: int
    sequence: int
    oldest: dt.datetime | None


@dataclass(frozen=True, slots=True)
class RolloverFacts:
    """An emergency rollover that has not finished."""

    domain: str
    step: str
    started_at: dt.datetime


@dataclass(frozen=True, slots=True)
class ExpectedRecords:
    """The TLSA records that a name must have now, and their TTL; empty: it must have none."""

    name: str
    zone: str
    records: frozenset[str]
    ttl: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What the database says. sample: some names that have nothing pending."""

    domains: tuple[DomainFacts, ...]
    outbox: OutboxFacts
    authorities: tuple[AuthorityFacts, ...]
    api_keys: tuple[ApiKeyFacts, ...]
    tokens: TokenFacts
    feed: FeedFacts
    rollovers: tuple[RolloverFacts, ...]
    sample: tuple[ExpectedRecords, ...]


@dataclass(frozen=True, slots=True)
class HealthFacts:
    """The answer of /health. date: of its Date header."""

    status: int
    body: Mapping[str, Any]
    date: dt.datetime | None


@dataclass(frozen=True, slots=True)
class ServedCertificate:
    """The certificate that the server presents.

    chain_problem, name_problem: why a client that trusts `anchor` refuses it, or None.
    """

    names: tuple[str, ...]
    not_before: dt.datetime
    not_after: dt.datetime
    anchor: str
    chain_problem: Fact[str | None]
    name_problem: Fact[str | None]


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The HTTPS server at its public URL. version: that it says it has. followers: open streams of the feed."""

    url: str
    health: Fact[HealthFacts]
    certificate: Fact[ServedCertificate]
    version: Fact[str]
    followers: Fact[int]


@dataclass(frozen=True, slots=True)
class SoaFacts:
    """A server's answer to the question for a zone's SOA record.

    failure: why there is none, or None. windows: inception and expiration of its signatures, in seconds since 1970.
    """

    server: str
    failure: str | None
    is_authoritative: bool = False
    serial: int | None = None
    windows: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ServedRecords:
    """What one server of `confirm` serves for the sample.

    wrong: names whose records differ, with those that were found and those that are expected.
    """

    server: str
    asked: int
    failure: str | None
    wrong: tuple[tuple[str, frozenset[str], frozenset[str]], ...]


@dataclass(frozen=True, slots=True)
class ZoneFacts:
    """One zone, as its servers and a validating resolver see it.

    key_tags: of its DNSKEY records that sign keys. update_problem: why an update would be refused, or None.
    cds: the DS records that its CDS and CDNSKEY records name. validated: its SOA record, by the resolver. ds: the DS
    records in the parent zone, by the resolver, each with whether it is that of a key of the zone. cds_in_ds: whether
    the parent zone has what `cds` names; None: unknown. ttl: of the records of one device, found and expected.
    """

    zone: str
    primary: SoaFacts
    key_tags: tuple[int, ...]
    update_problem: Fact[str | None]
    cds: tuple[str, ...]
    cds_in_ds: bool | None
    validated: Fact[DnsReply]
    ds: Fact[tuple[tuple[str, bool], ...]]
    served: tuple[ServedRecords, ...]
    ttl: tuple[int, int] | None
    secondaries: tuple[SoaFacts, ...]


@dataclass(frozen=True, slots=True)
class UnitFacts:
    """A systemd unit: LoadState, ActiveState and UnitFileState, as systemd names them."""

    name: str
    load: str
    active: str
    enabled: str


@dataclass(frozen=True)
class Facts:
    """All facts about one registry at one time.

    integrity: what is wrong with the database. publisher: the process that publishes; None: there is none.
    signer_problem: why the signing name server cannot be controlled. None as the fact: none is configured.
    """

    package_version: str
    now: dt.datetime
    title: str
    settings: Fact[Settings]
    files: Fact[FileFacts]
    database: Fact[DatabaseFacts]
    integrity: Fact[tuple[str, ...]]
    publisher: Fact[str | None]
    contents: Fact[Contents]
    server: Fact[ServerFacts]
    zones: Fact[tuple[ZoneFacts, ...]]
    signer_problem: Fact[str | None]
    unit: Fact[UnitFacts]
