"""The registry's configuration: one TOML file, checked when it is loaded. Every key is optional.

Precedence: command-line option, then the file, then the default here.
"""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from iot_registry.core import names
from iot_registry.core.errors import ConfigurationError, Refused
from iot_registry.core.tlsa import Profile

DEFAULT_STATE_DIR = Path("/var/lib/iot-registry")
DEFAULT_DOMAIN = "home.example"


@dataclass(frozen=True)
class Endpoint:
    """An address and a port. In text form, an IPv6 address is in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """`host:port` or `[v6]:port`; raises ValueError."""
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError(f"found {text!r}, expected host:port with a port of 0 to 65535")
    host = host.removeprefix("[").removesuffix("]")
    if not host:
        raise ValueError(f"found {text!r}, expected a host before the port")
    return Endpoint(host, int(port))


def _check_endpoint(text: str) -> str:
    parse_endpoint(text)
    return text


def _check_server(text: str) -> str:
    endpoint = parse_endpoint(text)
    # An address, not a host name: to resolve a name, the registry would need the server that it is configuring.
    ipaddress.ip_address(endpoint.host)
    return text


def _check_network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"found {text!r}, expected an address or a network such as 192.0.2.0/28: {error}") from None


def _check_domain(text: str) -> str:
    try:
        return names.domain(text)
    except Refused as refused:
        raise ValueError(refused.detail) from None


Listen = Annotated[str, AfterValidator(_check_endpoint)]
Server = Annotated[str, AfterValidator(_check_server)]
DomainText = Annotated[str, AfterValidator(_check_domain)]
NetworkText = Annotated[str, AfterValidator(_check_network)]
Seconds = Annotated[float, Field(ge=0.1, le=3600)]
Days = Annotated[int, Field(ge=1, le=36500)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RegistrySection(_Section):
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


class ConnectionsSection(_Section):
    """Bounds of the HTTPS server: connections at a time, and seconds that each step of a connection may take.

    total: all connections. Each takes 0.3 MB before its first request and at most 0.8 MB: raise `total` together with
    MemoryMax and LimitNOFILE of the unit. Too low: each network that follows the feed occupies one.
    per_address: connections of one address (IPv6: of one /64). Too low: a busy site behind one NAT address is refused.
    Too high: a few addresses occupy all connections until other clients arrive.
    shared_addresses: networks of known proxies and NATs, to which only `total` applies.
    handshake_seconds: from the connection to the end of the TLS handshake. header_seconds: from there to the end of a
    request's header section. body_seconds: from there to the end of its body. idle_seconds: between requests.
    send_seconds: until the client has read pending output. Too low: devices on slow links (modems need some seconds)
    are disconnected. Too high: a slow client occupies a connection for that long.
    """

    total: Annotated[int, Field(ge=10, le=100_000)] = 800
    per_address: Annotated[int, Field(ge=1, le=100_000)] = 250
    shared_addresses: tuple[NetworkText, ...] = ()
    handshake_seconds: Seconds = 10
    header_seconds: Seconds = 10
    body_seconds: Seconds = 10
    idle_seconds: Seconds = 30
    send_seconds: Seconds = 30


class TlsSection(_Section):
    """The server's certificate. If the section is empty, the registry issues one under a CA of its own.

    certificate, key, anchor: PEM files of the operator; all three or none.
    names: further host names and addresses for the certificate that the registry issues.
    """

    certificate: Path | None = None
    key: Path | None = None
    anchor: Path | None = None
    names: tuple[str, ...] = ()


class CaSection(_Section):
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


class EnrollmentSection(_Section):
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


class PublicationSection(_Section):
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


class SignerSection(_Section):
    """The signing name server, for what updates cannot do: new zones and new DNSSEC keys.

    kind: with "none" these are the operator's task, and the commands print what to do.
    conf: path of knot.conf. zones_dir: directory that knot.conf includes; one file per zone is written there.
    address: A or AAAA record of `ns` and `device` in new zones.
    """

    kind: Literal["none", "knot"] = "none"
    conf: Path = Path("/etc/knot/knot.conf")
    zones_dir: Path | None = None
    address: Annotated[str, AfterValidator(lambda text: str(ipaddress.ip_address(text)))] = "127.0.0.1"


class FeedSection(_Section):
    """The change feed.

    retention_days: age after which events are deleted.
    compact_after_days: age after which only the latest event of a name is kept.
    heartbeat_seconds: interval of comments on an idle stream.
    """

    retention_days: Annotated[float, Field(gt=0)] = 30
    compact_after_days: Annotated[float, Field(gt=0)] = 2
    heartbeat_seconds: Annotated[float, Field(ge=0.1, le=300)] = 15


class Settings(_Section):
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
        if endpoint.host in ("0.0.0.0", "::"):  # noqa: S104 - recognized here, not bound
            endpoint = Endpoint("localhost", endpoint.port)
        return f"https://{endpoint}"


def load(path: Path | None, overrides: dict[str, dict[str, Any]] | None = None) -> Settings:
    """Read and check the configuration. Raises ConfigurationError with file, key, what was found and what is expected.

    overrides: values from the command line, by section; None: not given.
    """
    data: dict[str, Any] = {}
    where = str(path) if path else "defaults"
    if path:
        try:
            data = tomllib.loads(path.read_text())
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path}: not TOML: {error}") from None
    for section, values in (overrides or {}).items():
        given = {key: value for key, value in values.items() if value is not None}
        if given and isinstance(data.setdefault(section, {}), dict):
            data[section].update(given)
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        found = "" if first["type"] == "extra_forbidden" else f", found {first['input']!r}"
        raise ConfigurationError(f"{where}: {key}: {first['msg']}{found}") from None
    given_tls = [settings.tls.certificate, settings.tls.key, settings.tls.anchor]
    if any(given_tls) and not all(given_tls):
        raise ConfigurationError(f"{where}: tls: certificate, key and anchor belong together: give all three or none")
    return settings
