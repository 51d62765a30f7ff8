"""Examining an installation and reporting its state, for the `doctor` command of each product.

A product gathers facts, judges them by pure functions, and gives the findings to `print_report` or `json_report`. It
has its own closed enumeration of checks, a subclass of `CheckId`.

- `finding`: severities, the base of the checks' ids, findings. Pure.
- `fact`: facts that may be missing. Pure.
- `path_facts`: accounts, owners and modes. Pure.
- `probe`: probes at the same time, each with a deadline.
- `path_reading`: reads accounts, owners and modes.
- `dns_question`: asks a resolver or a server once, with DNSSEC.
- `output`: the findings as a table, or as JSON.
"""

from health_report.dns_question import QUESTION_SECONDS, WAIT_SECONDS, Ask, DnsReply, ask_once, over_udp, to_reply
from health_report.fact import CannotTry, Fact, NotTried, value
from health_report.finding import CheckId, Finding, Severity, error, has_failed, info, ok, warning
from health_report.output import json_report, print_report
from health_report.path_facts import Account, Node, PathFacts
from health_report.path_reading import read_account, read_paths
from health_report.probe import Pending

__all__ = [
    "QUESTION_SECONDS",
    "WAIT_SECONDS",
    "Account",
    "Ask",
    "CannotTry",
    "CheckId",
    "DnsReply",
    "Fact",
    "Finding",
    "Node",
    "NotTried",
    "PathFacts",
    "Pending",
    "Severity",
    "ask_once",
    "error",
    "has_failed",
    "info",
    "json_report",
    "ok",
    "over_udp",
    "print_report",
    "read_account",
    "read_paths",
    "to_reply",
    "value",
    "warning",
]
