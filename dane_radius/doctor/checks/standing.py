"""Checks of the standing of devices: the journal that the module reads, and the feed that trust-sync writes it from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dane_radius.doctor.checks.replies import mapping, number
from dane_radius.doctor.facts import Facts, SyncFacts
from dane_radius.doctor.findings import Check, Finding, error, info, ok, warning
from health_report import NotTried

# Longer than the longest poll and several retries.
_LATE_SECONDS = 600
_FOLLOW = "add [operations] to trust-sync.toml, and restart trust-sync"


def check_standing(facts: Facts) -> list[Finding]:
    """The standing in the running module and in trust-sync, as far as it is configured."""
    if isinstance(facts.config, NotTried):
        return []
    sync = facts.sync.status if isinstance(facts.sync, SyncFacts) else None
    feed = mapping(sync, "operations") if sync is not None and not isinstance(sync, NotTried) else {}
    if facts.config.standing is None:
        if feed:
            fix = f"run `dane-radius install --standing {_folder(feed)}`, and restart the server"
            found = "trust-sync writes the standing of devices, and the module does not read it"
            return [error(Check.STANDING_JOURNAL, found, "`standing` in dane-radius.toml", fix)]
        return [info(Check.STANDING_JOURNAL, "no standing of devices is looked at: `standing` is not configured")]
    findings = []
    if not isinstance(facts.running, NotTried):
        findings.append(_check_journal(mapping(facts.running.status, "standing"), facts.config.standing))
    if isinstance(sync, NotTried) or isinstance(facts.sync, NotTried):
        # The check of trust-sync itself says so.
        return findings
    if not feed:
        found = f"{facts.config.standing} is read, and trust-sync on this host follows no operations service"
        return [*findings, warning(Check.STANDING_FEED, found, "an operations service", _FOLLOW)]
    return [*findings, *_check_feed(feed), *_check_reports(feed)]


def _folder(feed: Mapping[str, Any]) -> str:
    return str(feed.get("journal") or "").rpartition("/")[0] or "DIR"


def _check_journal(standing: Mapping[str, Any], folder: str) -> Finding:
    check = Check.STANDING_JOURNAL
    if not standing:
        fix = "restart the server"
        return error(check, "the running module does not read the standing of devices", f"it reads {folder}", fix)
    problem = standing.get("error")
    if not standing.get("available"):
        fix = "start trust-sync with [operations]; see `trust-sync status`"
        return error(check, f"every device is refused: {problem}", "a journal that can be read", fix)
    if problem:
        fix = "see `trust-sync status`; trust-sync writes the journal again after the next snapshot"
        return error(check, f"the last known standing counts: {problem}", "a journal that can be read", fix)
    counts = ", ".join(f"{count} {word}" for word, count in mapping(standing, "devices").items())
    return ok(check, f"in force up to change {standing.get('sequence')}: {counts or 'no device with a standing'}")


def _check_feed(feed: Mapping[str, Any]) -> list[Finding]:
    check = Check.STANDING_FEED
    age, said = number(feed, "last_success_seconds"), feed.get("error")
    found = "the operations service was " + ("never reached" if age is None else f"reached {age} s ago")
    if said:
        found += f"; {feed.get('failures')} failures, last: {said}"
    fix = "check url, api_key_file and ca_file of [operations] in trust-sync.toml, and whether the service runs"
    findings = []
    if age is None or age > _LATE_SECONDS:
        findings.append(error(check, found, f"reached within {_LATE_SECONDS} s", fix))
    elif said:
        findings.append(warning(check, found, "no failure", fix))
    else:
        findings.append(ok(check, f"{found}, at change {feed.get('seq')}"))
    kept = number(feed, "kept") or 0
    if kept:
        found = f"{kept} standings are those of an earlier service, and the present one does not confirm them"
        fix = "compare with `dane-operations list`, and then run `trust-sync standing adopt`"
        findings.append(warning(check, found, "none", fix))
    waiting = number(feed, "waiting_for_accounting") or 0
    if waiting:
        found = f"{waiting} changes of standing are not applied to live sessions, because accounting cannot be read"
        findings.append(error(check, found, "none", "correct sessions.database in trust-sync.toml"))
    return findings


def _check_reports(feed: Mapping[str, Any]) -> list[Finding]:
    check = Check.STANDING_REPORTS
    failing = {kind: said for kind, said in mapping(feed, "reports").items() if said}
    lost = number(feed, "decisions_lost") or 0
    if failing:
        found = "; ".join(f"{kind} are not taken: {said}" for kind, said in failing.items())
        fix = "check that the key in api_key_file has the scope node:write, and whether the service runs"
        return [warning(check, found, "reports are taken", fix)]
    if lost:
        fix = "keep rotated logs uncompressed for longer than the longest outage of the service (delaycompress)"
        return [warning(check, f"{lost} decisions were never reported", "none", fix)]
    return [ok(check, "decisions and sessions are reported")] if mapping(feed, "reports") else []
