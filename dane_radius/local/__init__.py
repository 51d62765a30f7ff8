"""Local services that the processes of this project share: configuration, logs, sockets, limits, anchors, standing."""

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
from dane_radius.local.standing_journal import (
    DEVICE,
    JOURNAL_FILE,
    MAKER,
    RANK,
    Entry,
    Header,
    JournalFormatError,
    Position,
    read_entry,
    read_header,
    read_line,
    read_numbered_line,
)
from dane_radius.local.standing_table import StandingTable
from dane_radius.local.standings import EarlierStandings, Standings, maker_domains, standing_now

__all__ = [
    "CA_FOLDER",
    "DEVICE",
    "INDEX_FILE",
    "JOURNAL_FILE",
    "MAKER",
    "RANK",
    "AnchorDirectory",
    "ConfigError",
    "ControlError",
    "ControlServer",
    "EarlierStandings",
    "Entry",
    "Header",
    "JournalFormatError",
    "LogConfig",
    "LogFile",
    "Logger",
    "MetricsServer",
    "Position",
    "RateLimiter",
    "RecentlySeen",
    "ResolverConfig",
    "Section",
    "StandingTable",
    "Standings",
    "ask",
    "ask_async",
    "check_sections",
    "maker_domains",
    "open_log",
    "read_entry",
    "read_header",
    "read_line",
    "read_numbered_line",
    "read_secret",
    "read_toml",
    "standing_now",
]
