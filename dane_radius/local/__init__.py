"""Local services that the processes of this project share: configuration, logs, sockets, rate limits, anchors."""

from dane_radius.local.anchor_directory import CA_FOLDER, INDEX_FILE, AnchorDirectory
from dane_radius.local.config import (
    ConfigError,
    LogConfig,
    ResolverConfig,
    Section,
    check_sections,
    read_secret,
    read_toml,
)
from dane_radius.local.control_socket import ControlError, ControlServer, ask, ask_async
from dane_radius.local.log import LogFile, Logger, open_log
from dane_radius.local.metrics_server import MetricsServer
from dane_radius.local.rate_limits import RateLimiter, RecentlySeen

__all__ = [
    "CA_FOLDER",
    "INDEX_FILE",
    "AnchorDirectory",
    "ConfigError",
    "ControlError",
    "ControlServer",
    "LogConfig",
    "LogFile",
    "Logger",
    "MetricsServer",
    "RateLimiter",
    "RecentlySeen",
    "ResolverConfig",
    "Section",
    "ask",
    "ask_async",
    "check_sections",
    "open_log",
    "read_secret",
    "read_toml",
]
