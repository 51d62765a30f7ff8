"""The module's configuration: one TOML file, validated when it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from dane_radius.dns.cache import CacheLimits
from dane_radius.dns.domains import WaitLimits
from dane_radius.local.config import (
    ConfigError,
    LogConfig,
    ResolverConfig,
    Section,
    check_sections,
    read_secret,
    read_toml,
)
from dane_radius.server.hint import HintLimits

DEFAULT_CONFIG = "/etc/dane-radius/dane-radius.toml"
DEFAULT_STATE = "/var/lib/dane-radius"
_MIN_CUI_KEY_OCTETS = 16


class CacheConfig(Section):
    """Limits on lookups and on cached answers: see `CacheLimits` and `WaitLimits` in `dane_radius.dns`."""

    # Names in the cache.
    max_names: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    # Memory of the cache, in octets.
    max_octets: Annotated[int, Field(ge=1024 * 1024)] = 64 * 1024 * 1024
    # Seconds; longer TTLs count as this.
    max_ttl: Annotated[float, Field(ge=0, le=604_800)] = 86_400.0
    # Seconds that a bogus, insecure or unavailable answer is kept.
    failure_ttl: Annotated[float, Field(ge=0, le=60)] = 1.0
    # Part of a TTL, at its end, in which a name in use is looked up again; 0: never.
    refresh_ahead: Annotated[float, Field(ge=0, lt=1)] = 0.2
    # Seconds that an expired answer may be used while the resolver is unavailable; 0: never.
    stale_grace: Annotated[float, Field(ge=0, le=604_800)] = 0.0

    # Each request that waits for the DNS occupies a thread of the RADIUS server.
    max_waiting: Annotated[int, Field(ge=1, le=4096)] = 24
    # The same for each domain that does not answer.
    max_waiting_per_domain: Annotated[int, Field(ge=1, le=4096)] = 8

    # Lookups per second that unauthenticated EAP identities may start: in all, and for each NAS.
    early_rate: Annotated[float, Field(ge=0, le=100_000)] = 1000.0
    # The same for each NAS.
    early_rate_per_nas: Annotated[float, Field(ge=0, le=100_000)] = 500.0

    # Names above devices that are looked up regularly: those that policy names, and the parents of admitted devices.
    warm_names: Annotated[int, Field(ge=0, le=10_000)] = 256

    # Obsolete, and ignored: an upgraded server must start with its old file.
    wait_share: Annotated[float, Field(ge=0, le=1)] | None = None

    def limits(self) -> CacheLimits:
        """The limits of the answer cache."""
        return CacheLimits(
            self.max_names, self.max_octets, self.max_ttl, self.failure_ttl, self.refresh_ahead, self.stale_grace
        )

    def wait_limits(self, resolver: ResolverConfig) -> WaitLimits:
        """How many requests may wait. A domain is slow after two thirds of the resolver's timeout."""
        return WaitLimits(
            max_waiting=self.max_waiting,
            max_waiting_per_slow_domain=self.max_waiting_per_domain,
            slow_after=resolver.timeout * 2 / 3,
        )


class SessionConfig(Section):
    """The folder that FreeRADIUS's eap module writes TLS sessions to (`cache { persist_dir }`)."""

    # The folder; the module creates it with mode 0700.
    directory: str = "/run/freeradius/dane-sessions"
    # Whether accepted sessions may be resumed. The outer server must allow it, too (Allow-Session-Resumption).
    resumption: bool = False
    # The age in seconds at which session files are removed: those of handshakes that never reached a decision.
    max_age: Annotated[int, Field(ge=10, le=604_800)] = 120


class MetricsConfig(Section):
    """The address that Prometheus scrapes. `port` 0: no listener."""

    # IP address of the listener.
    address: str = "127.0.0.1"
    # TCP port of the listener; 0: none.
    port: Annotated[int, Field(ge=0, le=65535)] = 9812


class HintConfig(Section):
    """Hints to `trust_sync` about identities without an anchor: see `dane_radius.server.hint`. Off without a socket.

    `wait`: seconds that the first packet of a conversation may wait for the anchor; 0: it does not wait.
    """

    # The socket of trust-sync; without it, no hints are sent.
    socket: str | None = None
    # Seconds that the first packet of a conversation may wait for the anchor; 0: never.
    wait: Annotated[float, Field(ge=0, le=2)] = 0.3
    # Hints a second, in total.
    rate: Annotated[float, Field(gt=0, le=1000)] = 20.0
    # Hints a second for one identity domain.
    rate_per_domain: Annotated[float, Field(gt=0, le=1000)] = 5.0
    # Seconds during which the same name is not reported again.
    repeat: Annotated[float, Field(ge=0, le=3600)] = 2.0
    # Obsolete, and ignored: see `CacheConfig.wait_share`.
    wait_share: Annotated[float, Field(ge=0, le=1)] | None = None

    def limits(self) -> HintLimits:
        """The limits on hints."""
        return HintLimits(**self.model_dump(exclude={"socket", "wait_share"}))


class Config(Section):
    """All settings of the module."""

    # The policy file.
    policy: str = "/etc/dane-radius/policy.yaml"
    # The anchor directory, which trust-sync writes.
    anchors: str = f"{DEFAULT_STATE}/anchors"
    # The standing directory, which trust-sync writes; without it, no standing of devices is looked at.
    standing: str | None = None
    # The control socket of `status` and `flush`; without it, there is none.
    control_socket: str | None = "/run/freeradius/dane-radius.sock"
    # File with the secret for Chargeable-User-Identity values; without it, replies have none.
    cui_key_file: str | None = None
    resolver: ResolverConfig = ResolverConfig()
    cache: CacheConfig = CacheConfig()
    session: SessionConfig = SessionConfig()
    hint: HintConfig = HintConfig()
    metrics: MetricsConfig = MetricsConfig()
    log: LogConfig = LogConfig()


def load_config(path: str | Path) -> Config:
    """The configuration in a file. Raises ConfigError."""
    return check_config(read_toml(path), str(path))


def check_config(data: dict[str, Any], source: str) -> Config:
    """A configuration from parsed TOML. Raises ConfigError with `source` as the file's name."""
    return check_sections(Config, data, source)


def read_cui_key(path: str) -> bytes:
    """The secret that Chargeable-User-Identity values are derived with.

    Raises ConfigError, also if the secret is too short or every user can read the file.
    """
    key = read_secret(path, "cui_key_file")
    if len(key) < _MIN_CUI_KEY_OCTETS:
        raise ConfigError(f"cui_key_file: {path}: {len(key)} octets, at least {_MIN_CUI_KEY_OCTETS} expected")
    return key
