"""The registry's configuration: one TOML file, checked when it is loaded. Every key is optional.

Precedence: command-line option, then the file, then the default here.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from iot_registry.core import names
from iot_registry.core.tlsa import Profile
from web_service.core import ConfigurationError, Refused
from web_service.local import ConnectionsSection, Endpoint, Listen, Section, load_settings, parse_endpoint

DEFAULT_STATE_DIR = Path("/var/lib/iot-registry")
DEFAULT_DOMAIN = "home.example"


def _check_server(text: str) -> str:
    endpoint = parse_endpoint(text)
    # An address, not a host name: to resolve a name, the registry would need the server that it is configuring.
    ipaddress.ip_address(endpoint.host)
    return text


def _check_domain(text: str) -> str:
    try:
        return names.domain(text)
    except Refused as refused:
        raise ValueError(refused.detail) from None


Server = Annotated[str, AfterValidator(_check_server)]
DomainText = Annotated[str, AfterValidator(_check_domain)]
Days = Annotated[int, Field(ge=1, le=36500)]


class RegistrySection(Section):
    """Where the registry keeps its state, and how it is reached.

    state_dir: directory of keys, TLS files and the default database; mode 0700.
    listen: address and port of the HTTPS server.
    public_url: URL at which devices reach the registry; default: https:// and the listening address.
    domain: the default identity domain; default: the registry's first, which is created as home.example.
    database_url: SQLAlchemy URL of the database; default: SQLite in the state directory.
    log: "auto" writes text on a terminal and JSON elsewhere.
    """

    state_dir: Path = DEFAULT_STATE_DIR
    listen: Listen = "127.0.0.1:8443"
    public_url: Annotated[str, Field(pattern=r"^https://[^/?#\s]+$", max_length=200)] | None = None
    domain: DomainText | None = None
    database_url: str | None = None
    log: Literal["auto", "json", "text"] = "auto"


class TlsSection(Section):
    """The server's certificate. If the section is empty, the registry issues one under a CA of its own.

    certificate, key, anchor: PEM files of the operator; all three or none.
    names: further host names and addresses for the certificate that the registry issues.
    """

    certificate: Path | None = None
    key: Path | None = None
    anchor: Path | None = None
    names: tuple[str, ...] = ()


class CaSection(Section):
    """Certificates of CAs and devices.

    root_days, issuing_days, device_days: lifetimes.
    passphrase_file: file with the passphrase of the issuing CAs' keys.
    root_passphrase_file: file with the passphrase of the root's key.
    """

    root_days: Days = 7300
    issuing_days: Days = 1825
    device_days: Days = 365
    passphrase_file: Path | None = None
    root_passphrase_file: Path | None = None


class EnrollmentSection(Section):
    """Enrollment and renewal of device certificates.

    token_hours: lifetime of an enrollment token.
    failures_per_minute: failed attempts for one name that are answered 401; further ones are answered 429.
    publish_wait_seconds: how long an enrollment waits for the DNS to serve its record before the answer is 202.
    reenroll_delay: "ttl" delivers a certificate with a new key only after its record has been in the DNS for a TTL,
    because caches may hold the old RRset that long (RFC 7671 section 8); "published" does not wait for the TTL.
    overlap_seconds: how long the old key stays published after the new certificate was delivered.
    """

    token_hours: Annotated[float, Field(gt=0, le=8760)] = 72
    failures_per_minute: Annotated[int, Field(ge=1, le=10000)] = 10
    publish_wait_seconds: Annotated[float, Field(ge=0, le=60)] = 5
    reenroll_delay: Literal["ttl", "published"] = "ttl"
    overlap_seconds: Annotated[int, Field(ge=0, le=30 * 86400)] = 3600


class PublicationSection(Section):
    """Publication of TLSA records.

    server: the primary server of the zones, which takes updates (RFC 2136).
    tsig_key_file: default: `tsig.key` in the state directory.
    profile: usage, selector and matching type of the records.
    timeout_seconds: the most that one update or question may take.
    ttl: TTL of the TLSA records, in seconds. After a revocation, a network that does not follow the change feed may
    accept the device for that long.
    confirm: servers that must serve a change before it counts as published; default: the primary.
    notify: secondaries and resolvers that get a NOTIFY (RFC 1996) after each change.
    reconcile_seconds: interval at which zones are compared with the database; 0: only at start.
    """

    server: Server = "127.0.0.1:5300"
    tsig_key_file: Path | None = None
    profile: Profile = Profile.SPKI
    ttl: Annotated[int, Field(ge=0, le=86400)] = 60
    confirm: tuple[Server, ...] = ()
    notify: tuple[Server, ...] = ()
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5
    reconcile_seconds: Annotated[int, Field(ge=0)] = 3600


class SignerSection(Section):
    """The signing name server, for what updates cannot do: new zones and new DNSSEC keys.

    kind: with "none" these are the operator's task, and the commands print what to do.
    conf: path of knot.conf. zones_dir: directory that knot.conf includes; one file per zone is written there.
    address: A or AAAA record of `ns` and `device` in new zones.
    """

    kind: Literal["none", "knot"] = "none"
    conf: Path = Path("/etc/knot/knot.conf")
    zones_dir: Path | None = None
    address: Annotated[str, AfterValidator(lambda text: str(ipaddress.ip_address(text)))] = "127.0.0.1"


class FeedSection(Section):
    """The change feed.

    retention_days: age after which events are deleted.
    compact_after_days: age after which only the latest event of a name is kept.
    heartbeat_seconds: interval of comments on an idle stream.
    """

    retention_days: Annotated[float, Field(gt=0)] = 30
    compact_after_days: Annotated[float, Field(gt=0)] = 2
    heartbeat_seconds: Annotated[float, Field(ge=0.1, le=300)] = 15


class Settings(Section):
    """The whole configuration."""

    registry: RegistrySection = RegistrySection()
    connections: ConnectionsSection = ConnectionsSection()
    tls: TlsSection = TlsSection()
    ca: CaSection = CaSection()
    enrollment: EnrollmentSection = EnrollmentSection()
    publication: PublicationSection = PublicationSection()
    signer: SignerSection = SignerSection()
    feed: FeedSection = FeedSection()

    @property
    def state_dir(self) -> Path:
        return self.registry.state_dir

    @property
    def database_url(self) -> str:
        return self.registry.database_url or f"sqlite:///{self.state_dir / 'registry.db'}"

    @property
    def default_domain(self) -> str:
        return self.registry.domain or DEFAULT_DOMAIN

    @property
    def tsig_key_file(self) -> Path:
        return self.publication.tsig_key_file or self.state_dir / "tsig.key"

    @property
    def public_url(self) -> str:
        if self.registry.public_url:
            return self.registry.public_url
        endpoint = parse_endpoint(self.registry.listen)
        if endpoint.is_wildcard:
            endpoint = Endpoint("localhost", endpoint.port)
        return f"https://{endpoint}"


def load(path: Path | None, overrides: dict[str, dict[str, Any]] | None = None) -> Settings:
    """Read and check the configuration. Raises ConfigurationError with file, key, what was found and what is expected.

    overrides: values from the command line, by section; None: not given.
    """
    settings = load_settings(Settings, path, overrides)
    given_tls = [settings.tls.certificate, settings.tls.key, settings.tls.anchor]
    if any(given_tls) and not all(given_tls):
        where = str(path) if path else "defaults"
        raise ConfigurationError(f"{where}: tls: certificate, key and anchor belong together: give all three or none")
    return settings
