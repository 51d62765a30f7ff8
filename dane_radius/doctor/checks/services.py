"""Checks of trust-sync, of the socket for hints, and of accounting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dane_radius.doctor.checks.replies import mapping, number
from dane_radius.doctor.facts import AccountingFacts, Facts, SyncFacts
from dane_radius.doctor.findings import Check, Finding, error, info, ok, warning
from health_report import Fact, NotTried

_START = "run `systemctl start trust-sync`, and read `journalctl -u trust-sync` if it does not start"
# Longer than the longest poll and several retries.
_LATE_SECONDS = 600


def check_sync(facts: Facts) -> list[Finding]:
    """The hint socket, and the state of trust-sync if it is configured on this host."""
    findings = check_hint(facts)
    sync = facts.sync
    if sync is None:
        return [*findings, info(Check.SYNC_CONFIGURATION, "trust-sync is not configured on this host")]
    if isinstance(sync, NotTried):
        fix = "correct the file, or name another one with --trust-sync-config"
        return [*findings, error(Check.SYNC_CONFIGURATION, sync.why, "a valid trust-sync.toml", fix)]
    findings.append(ok(Check.SYNC_CONFIGURATION, f"{sync.file} can be read"))
    if isinstance(sync.status, NotTried):
        return [*findings, error(Check.SYNC_WORKER, sync.status.why, "trust-sync answers", _START)]
    return [*findings, *check_status(sync.status)]


def check_hint(facts: Facts) -> list[Finding]:
    """The socket through which the module tells trust-sync about unknown identities."""
    check = Check.SYNC_HINT_SOCKET
    config, sync, account, path = facts.config, facts.sync, facts.account, facts.paths.get("hint_socket")
    if isinstance(config, NotTried) or isinstance(account, NotTried):
        return []
    if config.hint.socket is None or path is None:
        fix = "run `dane-radius install --hint-socket /run/trust-sync/trust-sync.sock` if trust-sync is installed"
        return [info(check, "hints are off: devices of an unknown CA are refused", "", fix)]
    if path.node is None:
        return [error(check, f"{path.path} cannot be used: {path.missing}", "the socket of trust-sync", _START)]
    blocked = path.obstacle(account, 6)
    if blocked is not None:
        found = f"user {account.name} may not use {path.path}: {blocked.path} has mode {blocked.permissions}"
        fix = f"give the group of {account.name} access, as the unit in containers/systemd does"
        return [error(check, found, f"user {account.name} may use it", fix)]
    if isinstance(sync, SyncFacts):
        if sync.socket != path.path:
            found = f"the module sends hints to {path.path}, and trust-sync listens on {sync.socket}"
            fix = f"run `dane-radius install --hint-socket {sync.socket}`, and restart the server"
            return [error(check, found, "the same socket", fix)]
        if account.name not in sync.users:
            found = f"socket_users in {sync.file} does not list {account.name}"
            return [error(check, found, f"it lists {account.name}", f"add {account.name}, and restart trust-sync")]
    if isinstance(facts.hint_accepts, NotTried):
        found = f"{path.path} accepts no connection: {facts.hint_accepts.why}"
        return [error(check, found, "trust-sync answers", _START)]
    return [ok(check, f"user {account.name} may send hints to {path.path}")]


def check_status(status: Mapping[str, Any]) -> list[Finding]:
    """What trust-sync says of its state, its registries, and the sessions that it ends."""
    findings = []
    if status.get("state_error"):
        found = f"trust-sync cannot save its state: {status['state_error']}"
        fix = "free space on its disk, or correct the owner of its state folder"
        findings.append(error(Check.SYNC_STATE, found, "a saved state", fix))
    else:
        found = f"trust-sync {status.get('version')} has run since {status.get('started')}"
        findings.append(ok(Check.SYNC_STATE, f"{found}, with {status.get('anchor_count', 0)} anchors"))
    registries = mapping(status, "registries")
    findings += [_check_registry(name, mapping(registries, name)) for name in registries]
    findings.append(_check_sessions(mapping(status, "sessions")))
    return findings


def _check_registry(name: str, feed: Mapping[str, Any]) -> Finding:
    age, said = number(feed, "last_success_seconds"), feed.get("error")
    reached = "was never reached" if age is None else f"was reached {age} s ago"
    found = f"registry {name} {reached}"
    if not said and age is not None and age <= _LATE_SECONDS:
        return ok(Check.SYNC_REGISTRY, f"{found}, at change {feed.get('seq')}")
    if said:
        found += f"; {feed.get('failures')} failures, last: {said}"
    fix = f"check the address, key and certificate of registry {name} in trust-sync.toml"
    kind = error if age is None or age > _LATE_SECONDS else warning
    return kind(Check.SYNC_REGISTRY, found, f"reached within {_LATE_SECONDS} s", fix)


def _check_sessions(sessions: Mapping[str, Any]) -> Finding:
    if sessions.get("error"):
        found = f"trust-sync cannot read live sessions: {sessions['error']}"
        fix = "correct sessions.database in trust-sync.toml, or the database's permissions"
        return error(Check.SYNC_SESSIONS, found, "live sessions", fix)
    pending = number(sessions, "pending_count") or 0
    found = f"{sessions.get('watched_names', 0)} names with live sessions, {pending} sessions are to be ended"
    if pending:
        fix = "run `trust-sync status`, which names the NASes that do not answer, and correct their secret or route"
        return warning(Check.SYNC_SESSIONS, found, "none", fix)
    return ok(Check.SYNC_SESSIONS, found)


def check_accounting(
    sync: Fact[SyncFacts | None], accounting: Fact[AccountingFacts | None], modules: tuple[str, ...]
) -> list[Finding]:
    """Accounting in SQL, which trust-sync needs to disconnect revoked devices."""
    enabled = f"enabled: {', '.join(modules)}" if modules else "no sql module is enabled"
    if not isinstance(sync, SyncFacts) or sync.database is None:
        found = f"trust-sync does not use accounting; {enabled}"
        fix = "set sessions.database in trust-sync.toml, so that revoked devices are disconnected"
        return [info(Check.ACCOUNTING_MODULE, found, "", fix)]
    findings = []
    if modules:
        findings.append(ok(Check.ACCOUNTING_MODULE, enabled))
    else:
        fix = "run `dane-radius install --accounting sqlite`, or enable an sql module of your own"
        found = f"{enabled}: trust-sync sees no session"
        findings.append(error(Check.ACCOUNTING_MODULE, found, "dane_sql or sql in mods-enabled", fix))
    if len(modules) > 1:
        fix = "remove the link of one of them from mods-enabled"
        findings.append(warning(Check.ACCOUNTING_MODULE, f"{enabled}: each session is written twice", "one", fix))
    return [*findings, *_check_table(accounting)]


def _check_table(accounting: Fact[AccountingFacts | None]) -> list[Finding]:
    check = Check.ACCOUNTING_TABLE
    if accounting is None:
        return []
    if isinstance(accounting, NotTried):
        return [warning(check, f"not checked: {accounting.why}", "a table radacct", "run this command as root")]
    table = accounting.has_table
    if isinstance(table, NotTried):
        fix = "start the server once, which makes the file of SQLite, or correct sessions.database in trust-sync.toml"
        return [error(check, f"{accounting.database}: {table.why}", "a table radacct", fix)]
    if not table:
        fix = "load the schema from mods-config/sql/main, or correct sessions.database in trust-sync.toml"
        return [error(check, f"{accounting.database} has no table radacct", "a table radacct", fix)]
    return [ok(check, f"{accounting.database} has the table radacct")]
