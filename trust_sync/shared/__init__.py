"""What every room of the worker uses: configuration, backoff, fair use of the event loop, DNS, HTTPS, files, notices.

May import `dane_radius.core`, `dane_radius.dns`, `dane_radius.local` and `dane_radius.server`, and no other room.
"""

from trust_sync.shared.backoff import retry_delay
from trust_sync.shared.config import (
    DEFAULT_CONFIG,
    OPERATIONS,
    Config,
    DiscoveryConfig,
    FeedConfig,
    IpNetwork,
    NasConfig,
    OperationsConfig,
    RegistryConfig,
    check_config,
    load_config,
    read_secret,
)
from trust_sync.shared.dns_client import DnsClient
from trust_sync.shared.files import sync_folder, write_all
from trust_sync.shared.https import Connector, new_session
from trust_sync.shared.notices import Notice, StandingNotice, Trigger
from trust_sync.shared.reporting import Reporting
from trust_sync.shared.time_slice import TimeSlice

__all__ = [
    "DEFAULT_CONFIG",
    "OPERATIONS",
    "Config",
    "Connector",
    "DiscoveryConfig",
    "DnsClient",
    "FeedConfig",
    "IpNetwork",
    "NasConfig",
    "Notice",
    "OperationsConfig",
    "RegistryConfig",
    "Reporting",
    "StandingNotice",
    "TimeSlice",
    "Trigger",
    "check_config",
    "load_config",
    "new_session",
    "read_secret",
    "retry_delay",
    "sync_folder",
    "write_all",
]
