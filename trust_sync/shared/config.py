"""The worker's configuration: one TOML file, checked when it is loaded.

The module's own file gives the locations of the policy, the anchors, the resolver and the module's control socket, so
worker and module cannot disagree about them.
"""

from __future__ import annotations

import ipaddress
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from dane_radius.core import is_within
from dane_radius.local import ConfigError, LogConfig, Section, check_sections, read_toml
from dane_radius.local import read_secret as read_secret_octets
from dane_radius.server import DEFAULT_CONFIG as MODULE_CONFIG
from dane_radius.server import Config as ModuleConfig
from dane_radius.server import load_config as load_module_config

DEFAULT_CONFIG = "/etc/dane-radius/trust-sync.toml"
# The operations service in log lines and metrics, beside the registries' names.
OPERATIONS = "operations"
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: str) -> IpNetwork:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r}: an IP address or network is expected ({error})") from error


class FeedConfig(Section):
    """A change feed that is followed over HTTPS."""

    # The https URL of its publisher.
    url: str
    # File with an API key.
    api_key_file: str
    # PEM file of the CAs for the publisher's certificate. Default: those of the system.
    ca_file: str | None = None
    # Seconds that one long poll may wait for a change.
    wait: Annotated[int, Field(ge=1, le=60)] = 25
    # The most changes in the response to one poll.
    max_changes: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    # The most octets of the response to one poll, of a snapshot, and of one change, anchor or name.
    max_changes_octets: Annotated[int, Field(ge=1024, le=1_073_741_824)] = 8_388_608
    # The same for a snapshot.
    max_snapshot_octets: Annotated[int, Field(ge=1024, le=1_073_741_824)] = 67_108_864
    # The same for one change, anchor or name.
    max_item_octets: Annotated[int, Field(ge=256, le=1_048_576)] = 131_072
    # Seconds between full comparisons with the publisher's snapshot.
    resync: Annotated[int, Field(ge=60, le=604_800)] = 86_400

    @field_validator("url")
    @classmethod
    def _https(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme != "https" or not parts.hostname or parts.query or parts.username:
            raise ValueError("an https:// URL without user and query is expected")
        return value.rstrip("/")


class RegistryConfig(FeedConfig):
    """An IoT registry whose change feed is followed.

    # The only domains that it may publish anchors for and report changes of.
    domains: the only domains for which the registry may publish anchors and report changes.
    """

    # A name of your choice, for log lines and metrics.
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    # The https URL of the registry.
    url: str
    # File with an API key that has the scope `feed:read`.
    api_key_file: str
    domains: Annotated[list[str], Field(min_length=1)]
    # The most CAs that it may have at once.
    max_anchors: Annotated[int, Field(ge=1, le=100_000)] = 20_000
    # The most names that a snapshot may list.
    max_names: Annotated[int, Field(ge=0, le=10_000_000)] = 1_000_000

    @field_validator("domains")
    @classmethod
    def _normal(cls, value: list[str]) -> list[str]:
        for domain in value:
            if domain != domain.lower().strip(".") or "." not in domain:
                raise ValueError(f"{domain!r}: lower case, no dot at the ends, and at least two labels are expected")
        return value

    def speaks_for(self, domain: str) -> bool:
        """Whether `domain` is one of the registry's domains, or below one."""
        return any(is_within(domain, own) for own in self.domains)


class OperationsConfig(FeedConfig):
    """The operations service, whose statements about the standing of devices are followed, and which gets reports."""

    # The https URL of the service.
    url: str
    # File with an API key that has the scopes `feed:read` and `node:write`.
    api_key_file: str
    # The name of this RADIUS node in the reports.
    node: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    # The most devices and makers whose standing is not plain normal.
    max_standing: Annotated[int, Field(ge=1, le=10_000_000)] = 2_000_000
    # The most octets of a snapshot. It is written to disk as it arrives.
    max_snapshot_octets: Annotated[int, Field(ge=1024, le=4_294_967_296)] = 536_870_912
    # Whether decisions and live sessions of this node are reported to the service.
    report: bool = True
    # Seconds between two reports.
    report_interval: Annotated[float, Field(ge=0.1, le=60)] = 1.0


class FeedsConfig(Section):
    """Limits that apply to all registries together.

    # Octets that responses of all registries may take at the same time.
    memory: octets of responses that may be held in memory at once. A registry within its equal share is never refused,
    so the true limit is up to twice this value.
    """

    memory: Annotated[int, Field(ge=1_048_576, le=17_179_869_184)] = 134_217_728


class DiscoveryConfig(Section):
    """Just-in-time discovery. Times are in seconds.

    The hint that starts a discovery is unauthenticated, so everything that it can cause has a limit.
    """

    # Whether unknown CAs are looked for.
    enabled: bool = True
    # The duration of one discovery, DNS and HTTPS together.
    timeout: Annotated[float, Field(gt=0, le=60)] = 5.0
    # Octets of a certificate that is fetched.
    max_octets: Annotated[int, Field(ge=1024, le=1_048_576)] = 65_536
    # Discoveries that may start per second, in total and for one identity domain.
    rate: Annotated[float, Field(gt=0, le=1000)] = 20.0
    # Discoveries a second for one identity domain.
    rate_per_domain: Annotated[float, Field(gt=0, le=1000)] = 5.0
    # Discoveries that may run at once, in total and for one identity domain.
    concurrent: Annotated[int, Field(ge=1, le=256)] = 8
    # Discoveries for one identity domain at the same time.
    concurrent_per_domain: Annotated[int, Field(ge=1, le=64)] = 2
    # How long a failure of a name or of a URL is remembered.
    negative_ttl: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    # The most discovered anchors, for one identity domain and in total.
    max_anchors_per_domain: Annotated[int, Field(ge=1, le=100_000)] = 1000
    # Discovered anchors at the same time.
    max_anchors: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    # How long an anchor is kept after the last known name stopped leading to it. 0: not at all.
    retire_after: Annotated[float, Field(ge=0, le=31_622_400)] = 604_800.0
    # The most names that are refreshed.
    max_names: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    # Bounds of the time between refreshes of a name, which follows TTL and Cache-Control.
    refresh_min: Annotated[float, Field(ge=1, le=86_400)] = 300.0
    # The most seconds between two looks at what a name leads to.
    refresh_max: Annotated[float, Field(ge=1, le=604_800)] = 86_400.0
    # Networks to which connections are allowed although they are not public.
    allow_networks: list[str] = Field(default_factory=list)
    # TCP port of the HTTPS servers.
    port: Annotated[int, Field(ge=1, le=65535)] = 443
    # PEM file of the CAs for their certificates. Default: those of the system.
    ca_file: str | None = None

    @field_validator("allow_networks")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for text in value:
            _network(text)
        return value

    @model_validator(mode="after")
    def _ordered(self) -> DiscoveryConfig:
        if self.refresh_min > self.refresh_max:
            raise ValueError(f"refresh_min {self.refresh_min:g} is more than refresh_max {self.refresh_max:g}")
        return self

    @cached_property
    def allowed(self) -> tuple[IpNetwork, ...]:
        return tuple(_network(text) for text in self.allow_networks)


class SessionsConfig(Section):
    """Live sessions, which are read from FreeRADIUS's `radacct` table. Without `database`, no session is ever ended."""

    # The accounting database; without it, no session is ended.
    database: str | None = None
    # Seconds between queries for names with new sessions.
    poll: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    # The least seconds between lookups of a name with live sessions. Otherwise, its TTL decides.
    recheck_min: Annotated[float, Field(ge=0.5, le=86_400)] = 5.0
    # Concurrent lookups: of the names of one registry, of all other names, and of one identity domain among those.
    lookups_per_registry: Annotated[int, Field(ge=1, le=256)] = 32
    # Lookups at the same time for names that no registry speaks for.
    lookups: Annotated[int, Field(ge=1, le=256)] = 32
    # The same for one identity domain.
    lookups_per_domain: Annotated[int, Field(ge=1, le=256)] = 4
    # Also read NASes and their secrets from the `nas` table of the same database.
    nas_table: bool = False

    @field_validator("database")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in ("sqlite", "postgresql"):
            raise ValueError("sqlite:///PATH or postgresql://... is expected")
        return value


class NasConfig(Section):
    """A NAS, or a network of NASes, that accepts Disconnect-Requests (RFC 5176)."""

    # IP address or network of the NAS.
    address: str
    # Its RADIUS secret; better in a file.
    secret: str | None = None
    # File with its RADIUS secret.
    secret_file: str | None = None
    # UDP port for Disconnect-Requests and CoA-Requests.
    port: Annotated[int, Field(ge=1, le=65535)] = 3799
    # The NAS accepts CoA-Requests that change the VLAN. hostapd does not: its sessions are ended instead.
    coa: bool = False

    @model_validator(mode="after")
    def _has_secret(self) -> NasConfig:
        _network(self.address)
        if (self.secret is None) == (self.secret_file is None):
            raise ValueError("either secret or secret_file is expected")
        return self

    @property
    def network(self) -> IpNetwork:
        return _network(self.address)


class DisconnectConfig(Section):
    """How Disconnect-Requests are sent. Times are in seconds."""

    # Seconds to wait for a reply before the request is sent again.
    timeout: Annotated[float, Field(gt=0, le=30)] = 1.0
    # Transmissions of one request, with the same identifier, before the NAS counts as unreachable.
    tries: Annotated[int, Field(ge=1, le=10)] = 3
    # Bounds of the delay before a new request. It doubles until the session ends or `give_up` has passed.
    retry_min: Annotated[float, Field(gt=0, le=3600)] = 5.0
    # The most seconds between two tries of a session that has not ended.
    retry_max: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    # Seconds after which a session that has not ended is given up.
    give_up: Annotated[float, Field(gt=0, le=604_800)] = 86_400.0
    # Concurrent requests, in total and to one NAS. RADIUS has 256 identifiers for each NAS.
    in_flight: Annotated[int, Field(ge=1, le=1024)] = 256
    # The same for one NAS.
    in_flight_per_nas: Annotated[int, Field(ge=1, le=255)] = 32


class UnboundConfig(Section):
    """Unbound's control socket, through which names are flushed. Without it, TTLs bound the delay."""

    # Unbound's control socket.
    control_socket: str | None = None


class MetricsConfig(Section):
    """The listener for Prometheus. Port 0 disables it."""

    # IP address of the listener.
    address: str = "127.0.0.1"
    # TCP port of the listener; 0: none.
    port: Annotated[int, Field(ge=0, le=65535)] = 9813


class WorkerLogConfig(Section):
    """destination: a file, `stderr`, or `none`."""

    # A file, `stderr`, or `none`.
    destination: str = "stderr"
    # json for machines, text for people.
    format: Literal["json", "text"] = "json"

    def to_log_config(self) -> LogConfig:
        """The settings as `dane_radius.local.open_log` takes them."""
        return LogConfig(destination=self.destination, format=self.format)


class Config(Section):
    """The worker's configuration file."""

    # The module's configuration file, which says where policy, anchors and resolver are.
    dane_radius: str = MODULE_CONFIG
    # The file in which the worker keeps what outlives a restart.
    state: str = "/var/lib/dane-radius/trust-sync/state.json"
    # The socket for hints and for the command line.
    socket: str = "/run/trust-sync/trust-sync.sock"
    # Users, besides root and the worker's own, that may use the socket if its file mode permits.
    socket_users: list[str] = Field(default_factory=lambda: ["freerad"])
    registry: list[RegistryConfig] = Field(default_factory=list)
    operations: OperationsConfig | None = None
    feeds: FeedsConfig = FeedsConfig()
    discovery: DiscoveryConfig = DiscoveryConfig()
    sessions: SessionsConfig = SessionsConfig()
    nas: list[NasConfig] = Field(default_factory=list)
    disconnect: DisconnectConfig = DisconnectConfig()
    unbound: UnboundConfig = UnboundConfig()
    metrics: MetricsConfig = MetricsConfig()
    log: WorkerLogConfig = WorkerLogConfig()

    @model_validator(mode="after")
    def _registries_apart(self) -> Config:
        seen: dict[str, str] = {}
        for registry in self.registry:
            if registry.name in {other.name for other in self.registry if other is not registry}:
                raise ValueError(f"registry {registry.name!r} stands twice")
            for domain in registry.domains:
                for other, owner in seen.items():
                    if is_within(domain, other) or is_within(other, domain):
                        raise ValueError(f"registry {registry.name!r}: {domain} overlaps with {other} of {owner!r}")
            seen.update(dict.fromkeys(registry.domains, registry.name))
            if registry.name == OPERATIONS:
                raise ValueError(f"registry {registry.name!r}: another name is expected; this one is a service's")
        return self


def load_config(path: str | Path) -> tuple[Config, ModuleConfig]:
    """Read the worker's configuration and the module's configuration that it names. Raises ConfigError."""
    config = check_config(read_toml(path), str(path))
    module = load_module_config(config.dane_radius)
    if config.operations is not None and module.standing is None:
        raise ConfigError(
            f"{config.dane_radius}: standing: nothing found; a directory is expected, because {path} has [operations]"
        )
    return config, module


def check_config(data: dict[str, Any], source: str) -> Config:
    """Validate parsed TOML. Raises ConfigError that gives `source` as the file's name."""
    return check_sections(Config, data, source)


def read_secret(path: str, what: str) -> str:
    """Read a secret that is text, as `dane_radius.local.read_secret` reads octets. Raises ConfigError."""
    try:
        return read_secret_octets(path, what).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what}: {path}: not UTF-8") from error
