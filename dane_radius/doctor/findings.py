"""The ids of all checks of `dane-radius doctor`, and where the guide explains them. Pure."""

from __future__ import annotations

from typing import TypeAlias

import health_report
from health_report import CheckId, Severity, error, info, ok, warning

__all__ = ["GUIDE", "Check", "Finding", "Severity", "error", "info", "ok", "warning"]

GUIDE = "docs/operator.md"


class Check(CheckId):
    """The ids of all checks: `area.subject`. Monitoring systems may rely on them."""

    INSTALL_CONFIGURATION = "install.configuration"
    INSTALL_MANIFEST = "install.manifest"
    INSTALL_FILE = "install.file"
    INSTALL_DECISION = "install.decision"
    INSTALL_LINK = "install.link"
    SERVER_PROGRAM = "server.program"
    SERVER_MODULES = "server.modules"
    SERVER_CONFIGURATION = "server.configuration"
    SERVER_THREADS = "server.threads"
    SERVER_REQUESTS = "server.requests"
    SERVER_CLEANUP_DELAY = "server.cleanup_delay"
    SERVER_MESSAGE_AUTHENTICATOR = "server.message_authenticator"
    SERVER_PROXY_STATE = "server.proxy_state"
    SERVER_CLIENT = "server.client"
    SERVER_CLIENT_SECRET = "server.client_secret"  # noqa: S105  # The name of a check.
    FILES_SESSION_DIRECTORY = "files.session_directory"
    FILES_CONTROL_SOCKET = "files.control_socket"
    FILES_CUI_KEY = "files.cui_key"
    FILES_ANCHORS = "files.anchors"
    FILES_LOG = "files.log"
    FILES_POLICY = "files.policy"
    FILES_SETTINGS = "files.settings"
    FILES_SERVER_KEY = "files.server_key"
    RUNNING_SERVER = "running.server"
    RUNNING_VERSION = "running.version"
    RUNNING_POLICY = "running.policy"
    RUNNING_ANCHORS = "running.anchors"
    RUNNING_SLOW_DOMAINS = "running.slow_domains"
    RUNNING_WAITING = "running.waiting"
    RUNNING_DESCRIPTORS = "running.descriptors"
    RUNNING_THREADS = "running.threads"
    POLICY_FILE = "policy.file"
    POLICY_RULES = "policy.rules"
    RESOLVER_REACHABLE = "resolver.reachable"
    RESOLVER_ROUND_TRIP = "resolver.round_trip"
    RESOLVER_GOOD_NAME = "resolver.good_name"
    RESOLVER_BAD_NAME = "resolver.bad_name"
    RESOLVER_EXTENDED_ERRORS = "resolver.extended_errors"
    RESOLVER_SIGNATURES = "resolver.signatures"
    RESOLVER_CLOCK = "resolver.clock"
    RESOLVER_COLD_NAME = "resolver.cold_name"
    RESOLVER_EXPIRED_ANSWERS = "resolver.expired_answers"
    RESOLVER_SETTINGS = "resolver.settings"
    ANCHORS_COUNT = "anchors.count"
    ANCHORS_EXPIRY = "anchors.expiry"
    ANCHORS_INDEX = "anchors.index"
    CERTIFICATE_FILE = "certificate.file"
    CERTIFICATE_CHAIN = "certificate.chain"
    CERTIFICATE_EXPIRY = "certificate.expiry"
    CERTIFICATE_NAME = "certificate.name"
    CERTIFICATE_KEY = "certificate.key"
    CERTIFICATE_PURPOSE = "certificate.purpose"
    CERTIFICATE_RECORD = "certificate.record"
    SYNC_CONFIGURATION = "sync.configuration"
    SYNC_HINT_SOCKET = "sync.hint_socket"
    SYNC_WORKER = "sync.worker"
    SYNC_STATE = "sync.state"
    SYNC_REGISTRY = "sync.registry"
    SYNC_SESSIONS = "sync.sessions"
    STANDING_JOURNAL = "standing.journal"
    STANDING_FEED = "standing.feed"
    STANDING_REPORTS = "standing.reports"
    ACCOUNTING_MODULE = "accounting.module"
    ACCOUNTING_TABLE = "accounting.table"

    @property
    def link(self) -> str:
        """The section of the operator's guide that explains the subject."""
        return f"{GUIDE}#{_SECTIONS.get(self) or _AREA_SECTIONS[self.area]}"


_INSTALL, _RESOLVER, _MONITOR = "2-install", "1-set-up-a-validating-resolver", "4-monitor"
_THREADS, _WAITS = "threads-and-requests", "5-plan-for-dns-waits"
_AREA_SECTIONS = {
    "install": _INSTALL,
    "server": _INSTALL,
    "files": _INSTALL,
    "running": _MONITOR,
    "policy": _INSTALL,
    "resolver": _RESOLVER,
    "anchors": _INSTALL,
    "certificate": _INSTALL,
    "sync": "6-know-the-limits",
    "standing": "8-the-standing-of-devices",
    "accounting": "6-know-the-limits",
}
_SECTIONS = {
    Check.SERVER_THREADS: _THREADS,
    Check.SERVER_REQUESTS: _THREADS,
    Check.RUNNING_THREADS: _THREADS,
    Check.RUNNING_WAITING: _WAITS,
    Check.RUNNING_DESCRIPTORS: _WAITS,
    Check.RUNNING_SLOW_DOMAINS: "zones-that-do-not-answer",
    Check.RESOLVER_COLD_NAME: "early-lookups",
    Check.FILES_LOG: "3-find-out-why-a-device-was-refused",
}


# A finding of one of these checks.
Finding: TypeAlias = health_report.Finding[Check]
