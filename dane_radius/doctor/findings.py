"""Findings: the result of one check each, with a stable id, a severity, and what to do about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

GUIDE = "docs/operator.md"


class Severity(StrEnum):
    """How serious a finding is. Only `ERROR` makes the command fail."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Check(StrEnum):
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
    ACCOUNTING_MODULE = "accounting.module"
    ACCOUNTING_TABLE = "accounting.table"

    @property
    def area(self) -> str:
        """The part of the id before the dot."""
        return self.value.partition(".")[0]

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


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    found: what was found. expected: what a good installation has, or "". fix: one sentence that says what to do, or "".
    """

    check: Check
    severity: Severity
    found: str
    expected: str = ""
    fix: str = ""

    @property
    def problem(self) -> bool:
        """Whether it is a warning or an error."""
        return self.severity in (Severity.WARNING, Severity.ERROR)

    def to_json(self) -> dict[str, Any]:
        """The finding as a JSON object."""
        return {
            "id": self.check.value,
            "area": self.check.area,
            "severity": self.severity.value,
            "found": self.found,
            "expected": self.expected,
            "fix": self.fix,
            "link": self.check.link,
        }


def ok(check: Check, found: str) -> Finding:
    """The check found what it expects."""
    return Finding(check, Severity.OK, found)


def info(check: Check, found: str, expected: str = "", fix: str = "") -> Finding:
    """The check found what an operator may want to know."""
    return Finding(check, Severity.INFO, found, expected, fix)


def warning(check: Check, found: str, expected: str, fix: str) -> Finding:
    """The check found what may become an error, or makes one worse."""
    return Finding(check, Severity.WARNING, found, expected, fix)


def error(check: Check, found: str, expected: str, fix: str) -> Finding:
    """The check found what refuses devices, admits wrong ones, or exposes a secret."""
    return Finding(check, Severity.ERROR, found, expected, fix)
