"""The facts that the checks judge. `gather` collects them; the checks do no I/O. Pure.

A fact that could not be collected is a `NotTried`, which says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from dane_radius.core import Answer
from dane_radius.server import Config
from health_report import Account, DnsReply, Fact, PathFacts


class FileState(StrEnum):
    """An installed file, compared with the manifest."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    MISSING = "missing"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class InstalledFile:
    """A file of the manifest.

    is_current: whether it is what this package installs, whatever its paths and ports; None: this package has no such
    file. is_settings: operators are meant to edit it.
    """

    path: str
    state: FileState
    is_current: bool | None
    is_settings: bool


@dataclass(frozen=True, slots=True)
class Link:
    """A link in mods-enabled or sites-enabled. `target`: None if it is missing."""

    path: str
    expected: str
    target: str | None


@dataclass(frozen=True, slots=True)
class Essential:
    """A statement that an installed file must contain, or must not, and what happens otherwise."""

    path: str
    statement: str
    consequence: str
    is_present: bool
    is_wanted: bool = True


@dataclass(frozen=True, slots=True)
class InstallFacts:
    """The files and links of the manifest, and the statements that decisions depend on."""

    files: tuple[InstalledFile, ...]
    links: tuple[Link, ...]
    essentials: tuple[Essential, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """The RADIUS server's program. `missing_modules`: of the modules that the sites need."""

    path: str
    version: tuple[int, ...]
    library_folder: str
    missing_modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConfigurationCheck:
    """The result of `freeradius -C`. output: its last lines. user: whose rights it had."""

    command: str
    passed: bool
    output: str
    user: str


@dataclass(frozen=True, slots=True)
class RadiusClient:
    """A `client` block. None: the setting is missing. The secret itself is not kept."""

    name: str
    file: str
    is_loopback: bool
    require_message_authenticator: str | None
    limit_proxy_state: str | None
    is_known_secret: bool
    secret_octets: int


@dataclass(frozen=True, slots=True)
class RadiusdFacts:
    """radiusd.conf and the clients. `pool` is the thread pool; settings that are missing are not in the mappings."""

    file: str
    numbers: Mapping[str, int]
    pool: Mapping[str, int]
    security: Mapping[str, str]
    clients: tuple[RadiusClient, ...]


@dataclass(frozen=True, slots=True)
class ColdName:
    """Two random names below a domain of policy, looked up one after the other."""

    domain: str
    first: DnsReply
    second: DnsReply


@dataclass(frozen=True, slots=True)
class ResolverFacts:
    """The replies of the resolver. `unbound`: its settings, from its control socket.

    The question `reach` concerns the resolver alone. `bad_unchecked` asks for the bad name without validation.
    """

    title: str
    timeout: float
    is_named_good: bool
    is_named_bad: bool
    reach: DnsReply
    good: Fact[DnsReply]
    again: Fact[DnsReply]
    bad: Fact[DnsReply]
    bad_unchecked: Fact[DnsReply]
    cold: Fact[tuple[ColdName, ...]]
    unbound: Fact[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class AnchorFacts:
    """The anchors on disk. in_index: the number in the index. in_folder: those that OpenSSL finds by their links.

    earliest: the anchor that expires first, and when. lost: files that the index or a link names and that are missing.
    """

    folder: str
    in_index: int
    in_folder: int
    earliest: tuple[str, datetime] | None
    index_error: str | None
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChainLink:
    """A certificate of the server's file. `signs_previous`: whether it issued the one before; None for the first."""

    subject: str
    issuer: str
    not_after: datetime
    is_self_signed: bool
    signs_previous: bool | None


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """The EAP server's certificate file.

    key_matches: whether the private key belongs to it. allows_server: whether its extended key usage, if it has one,
    includes serverAuth. record_name: the name whose TLSA records were looked up, and `record` the answer.
    """

    file: str
    key_file: str
    chain: tuple[ChainLink, ...]
    names: tuple[str, ...]
    not_before: datetime
    der: bytes
    spki: bytes
    key_matches: Fact[bool]
    allows_server: bool
    wanted_name: str | None
    record_name: str | None
    record: Fact[Answer]


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """The policy file on disk. `domains`: the names below which it grants access."""

    file: str
    digest: str
    rules: int
    is_monitor: bool
    domains: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """The running server's process. max_descriptors: None: unlimited."""

    pid: int
    max_descriptors: int | None
    open_descriptors: Fact[int]
    threads: int


@dataclass(frozen=True, slots=True)
class RunningFacts:
    """The running module: its reply to `status`, and its process."""

    socket: str
    status: Mapping[str, Any]
    process: Fact[ProcessFacts]


@dataclass(frozen=True, slots=True)
class SyncFacts:
    """trust-sync: what its configuration says, and its reply to `status`. `users`: those that may use its socket."""

    file: str
    socket: str
    users: tuple[str, ...]
    database: str | None
    status: Fact[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class AccountingFacts:
    """The accounting database of trust-sync. `has_table`: whether it has `radacct`. The URL's password is removed."""

    database: str
    has_table: Fact[bool]


@dataclass(frozen=True)
class Facts:
    """All facts about one installation at one time."""

    package_version: str
    now: datetime
    config_file: str
    config: Fact[Config]
    account: Fact[Account]
    install: Fact[InstallFacts]
    program: Fact[Program]
    configuration_check: Fact[ConfigurationCheck]
    radiusd: Fact[RadiusdFacts]
    paths: Mapping[str, PathFacts]
    cui_key: Fact[str | None]
    running: Fact[RunningFacts]
    policy: Fact[PolicyFacts]
    resolver: Fact[ResolverFacts]
    anchors: Fact[AnchorFacts]
    certificate: Fact[CertificateFacts]
    sync: Fact[SyncFacts | None]
    accounting: Fact[AccountingFacts | None]
    # Whether the socket for hints accepts a connection. None: there are no hints.
    hint_accepts: Fact[bool | None] = None
    sql_modules: tuple[str, ...] = field(default=())
