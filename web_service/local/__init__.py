"""What belongs to one process and its machine: settings, clock, log, metrics, private files, API keys."""

from web_service.local.api_keys import KeyFormat, StoredKey
from web_service.local.clock import utc_now
from web_service.local.digests import secret_digest
from web_service.local.log import configure as configure_log
from web_service.local.metrics import ServiceMetrics
from web_service.local.private_files import write_private
from web_service.local.settings import (
    ConnectionsSection,
    Endpoint,
    Listen,
    NetworkText,
    Seconds,
    Section,
    load_settings,
    parse_endpoint,
)

__all__ = [
    "ConnectionsSection",
    "Endpoint",
    "KeyFormat",
    "Listen",
    "NetworkText",
    "Seconds",
    "Section",
    "ServiceMetrics",
    "StoredKey",
    "configure_log",
    "load_settings",
    "parse_endpoint",
    "secret_digest",
    "utc_now",
    "write_private",
]
