"""The module's configuration: one TOML file, checked when it is loaded."""

from __future__ import annotations

import ipaddress
import os
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dane_radius.dns.cache import CacheLimits
from dane_radius.dns.domains import WaitLimits
from dane_radius.dns.resolver import DEFAULT_RETRANSMIT_SECONDS, LoopbackResolver, Resolver, TlsResolver
from dane_radius.hint import HintLimits

DEFAULT_CONFIG = "/etc/dane-radius/dane-radius.toml"
DEFAULT_STATE = "/var/lib/dane-radius"
_MIN_CUI_KEY_OCTETS = 16


class ConfigError(ValueError):
    """A configuration that cannot be used: one line per mistake, each naming file and key."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ResolverConfig(_Section):
    """Where TLSA records are looked up. See `dane_radius.dns.resolver` for what makes a resolver trustworthy."""

    address: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    transport: Literal["udp", "tls"] = "udp"
    server_name: str | None = None
    ca_file: str | None = None
    timeout: Annotated[float, Field(gt=0, le=10)] = 1.5
    retransmit: Annotated[float, Field(gt=0, le=5)] = DEFAULT_RETRANSMIT_SECONDS

    @model_validator(mode="after")
    def _reachable_safely(self) -> ResolverConfig:
        try:
            address = ipaddress.ip_address(self.address)
        except ValueError as error:
            raise ValueError(f"address {self.address!r}: an IP address is expected") from error
        if self.transport == "tls":
            if not self.server_name:
                raise ValueError("server_name is expected with transport = 'tls'")
        elif not address.is_loopback:
            raise ValueError(
                f"address {self.address}: plain DNS could be forged on the way; "
                "a loopback address, or transport = 'tls', is expected"
            )
        return self

    def build(self) -> Resolver:
        """The resolver that this section describes."""
        if self.transport == "tls":
            return TlsResolver(
                self.address, self.server_name or "", self.port or 853, ca_file=self.ca_file, timeout=self.timeout
            )
        return LoopbackResolver(self.address, self.port or 53, self.timeout, self.retransmit)


class CacheConfig(_Section):
    """Bounds of lookups and of the answers that are kept: see `CacheLimits` and `WaitLimits` in `dane_radius.dns`."""

    max_names: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    max_octets: Annotated[int, Field(ge=1024 * 1024)] = 64 * 1024 * 1024
    max_ttl: Annotated[float, Field(ge=0, le=604_800)] = 86_400.0
    failure_ttl: Annotated[float, Field(ge=0, le=60)] = 1.0
    refresh_ahead: Annotated[float, Field(ge=0, lt=1)] = 0.2
    stale_grace: Annotated[float, Field(ge=0, le=604_800)] = 0.0

    # Each request that waits for the DNS occupies a thread of the RADIUS server.
    max_waiting: Annotated[int, Field(ge=1, le=4096)] = 24
    max_waiting_per_domain: Annotated[int, Field(ge=1, le=4096)] = 8

    # Lookups a second that EAP identities alone may start, in all and for one NAS.
    early_rate: Annotated[float, Field(ge=0, le=100_000)] = 1000.0
    early_rate_per_nas: Annotated[float, Field(ge=0, le=100_000)] = 500.0

    # Names above devices for which the resolver is kept ready: those of the policy, and of devices that were let in.
    warm_names: Annotated[int, Field(ge=0, le=10_000)] = 256

    # Of the time when decisions waited under FreeRADIUS's Python lock. Read and ignored, so that an upgraded server
    # starts with its old file.
    wait_share: Annotated[float, Field(ge=0, le=1)] | None = None

    def limits(self) -> CacheLimits:
        """What the answer cache may hold."""
        return CacheLimits(
            self.max_names, self.max_octets, self.max_ttl, self.failure_ttl, self.refresh_ahead, self.stale_grace
        )

    def wait_limits(self, resolver: ResolverConfig) -> WaitLimits:
        """How many requests may wait. A domain is slow from two thirds of the time that a lookup may take."""
        return WaitLimits(
            places=self.max_waiting,
            places_of_slow_domain=self.max_waiting_per_domain,
            slow_after=resolver.timeout * 2 / 3,
        )


class SessionConfig(_Section):
    """The folder that FreeRADIUS's eap module writes TLS sessions to (`cache { persist_dir }`)."""

    directory: str = "/run/freeradius/dane-sessions"
    # Whether accepted sessions may be resumed. The outer server has to agree (Allow-Session-Resumption).
    resumption: bool = False
    # Session files older than this many seconds are removed: those of handshakes that never came to a decision.
    max_age: Annotated[int, Field(ge=10, le=604_800)] = 120


class MetricsConfig(_Section):
    """Where Prometheus scrapes. `port` 0: no listener."""

    address: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9812


class HintConfig(_Section):
    """Where `trust_sync` takes hints about identities without an anchor; see `dane_radius.hint`. Off without a socket.

    `wait`: seconds that the first packet of a conversation may wait for the anchor; 0: it never does.
    """

    socket: str | None = None
    wait: Annotated[float, Field(ge=0, le=2)] = 0.3
    rate: Annotated[float, Field(gt=0, le=1000)] = 20.0
    rate_per_domain: Annotated[float, Field(gt=0, le=1000)] = 5.0
    repeat: Annotated[float, Field(ge=0, le=3600)] = 2.0
    # Of the time when hints waited under FreeRADIUS's Python lock; read and ignored.
    wait_share: Annotated[float, Field(ge=0, le=1)] | None = None

    def limits(self) -> HintLimits:
        """Bounds on hints."""
        return HintLimits(**self.model_dump(exclude={"socket", "wait_share"}))


class LogConfig(_Section):
    """One line per decision. `destination`: a file, `stderr`, or `none`."""

    destination: str = "/var/log/freeradius/dane-radius.log"
    format: Literal["json", "text"] = "json"
    # Seconds between two writes: lines gather meanwhile, and cost less together.
    interval: Annotated[float, Field(gt=0, le=10)] = 0.5


class Config(_Section):
    """Everything that the module can be told."""

    policy: str = "/etc/dane-radius/policy.yaml"
    anchors: str = f"{DEFAULT_STATE}/anchors"
    control_socket: str | None = "/run/freeradius/dane-radius.sock"
    cui_key_file: str | None = None
    resolver: ResolverConfig = ResolverConfig()
    cache: CacheConfig = CacheConfig()
    session: SessionConfig = SessionConfig()
    hint: HintConfig = HintConfig()
    metrics: MetricsConfig = MetricsConfig()
    log: LogConfig = LogConfig()


def load_config(path: str | Path) -> Config:
    """The configuration in a file. Raises ConfigError."""
    try:
        octets = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        data = tomllib.loads(octets.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: octet {error.start} is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    return check_config(data, str(path))


def check_config(data: dict[str, Any], source: str) -> Config:
    """A configuration from parsed TOML. Raises ConfigError with `source` as the file's name."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{source}: {_problem(item)}" for item in error.errors())) from error


def _problem(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}: {error['input']!r} found; {message[:1].lower() + message[1:]}"


def read_cui_key(path: str) -> bytes:
    """The secret that makes Chargeable-User-Identity values opaque. Raises ConfigError, also if anybody can read it."""
    try:
        mode = os.stat(path).st_mode
        key = Path(path).read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"cui_key_file: {path}: {error.strerror}") from error
    if mode & (stat.S_IRWXO):
        raise ConfigError(
            f"cui_key_file: {path}: mode {stat.S_IMODE(mode):04o} lets everybody read it; 0640 is expected"
        )
    if len(key) < _MIN_CUI_KEY_OCTETS:
        raise ConfigError(f"cui_key_file: {path}: {len(key)} octets, at least {_MIN_CUI_KEY_OCTETS} expected")
    return key
