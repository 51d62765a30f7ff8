"""Gathers facts about what runs: the module, its process, trust-sync, and the accounting database."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import struct
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dane_radius.doctor.facts import AccountingFacts, PolicyFacts, ProcessFacts, RunningFacts, SyncFacts
from dane_radius.local import ControlError, ask, read_toml
from health_report import CannotTry, Fact, NotTried
from policy import PolicyError, load_policy

_ASK_SECONDS = 4.0
_DATABASE_SECONDS = 3
_SYNC_SOCKET = "/run/trust-sync/trust-sync.sock"
_SYNC_USERS = ("freerad",)


def read_running(path: str | None) -> RunningFacts:
    """The running module, over its control socket. Raises CannotTry."""
    if path is None:
        raise CannotTry("dane-radius.toml has no control_socket, so the running module cannot be asked")
    try:
        status = ask(path, "status", timeout=_ASK_SECONDS)
    except ControlError as error:
        raise CannotTry(str(error)) from error
    return RunningFacts(path, status, _read_process(path))


def _read_process(path: str) -> Fact[ProcessFacts]:
    """The process behind the socket, which the kernel names (unix(7), SO_PEERCRED)."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(_ASK_SECONDS)
            connection.connect(path)
            octets = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid = struct.unpack("3i", octets)[0]
        folder = Path("/proc", str(pid))
        limits, status = (folder / "limits").read_text(), (folder / "status").read_text()
    except OSError as error:
        return NotTried(f"the server's process cannot be examined: {error.strerror or error}")
    limit = next((line.split()[3] for line in limits.splitlines() if line.startswith("Max open files")), "unlimited")
    threads = next((line.split()[1] for line in status.splitlines() if line.startswith("Threads:")), "0")
    descriptors: Fact[int]
    try:
        descriptors = len(os.listdir(folder / "fd"))
    except OSError as error:
        descriptors = NotTried(error.strerror or str(error))
    return ProcessFacts(pid, int(limit) if limit.isdigit() else None, descriptors, int(threads))


def read_policy(file: str) -> PolicyFacts:
    """The policy file. Raises CannotTry with all its problems."""
    try:
        policy = load_policy(file)
    except PolicyError as error:
        raise CannotTry(str(error)) from error
    return PolicyFacts(file, policy.digest, len(policy.rules), policy.monitor, tuple(policy.suffixes()))


def read_sync(file: str, *, is_named: bool) -> SyncFacts | None:
    """trust-sync's configuration and state. None if its file is missing and was not named. Raises ConfigError."""
    if not is_named and not Path(file).exists():
        return None
    data = read_toml(file)
    path = _text(data, "socket") or _SYNC_SOCKET
    users = data.get("socket_users", list(_SYNC_USERS))
    sessions = data.get("sessions")
    database = _text(sessions, "database") if isinstance(sessions, dict) else None
    status: Fact[dict[str, Any]]
    try:
        status = ask(path, "status", timeout=_ASK_SECONDS)
    except ControlError as error:
        status = NotTried(str(error))
    return SyncFacts(file, path, tuple(map(str, users)) if isinstance(users, list) else (), database, status)


def accepts(path: str | None) -> bool | None:
    """True if a socket accepts a connection, None without a path. Raises OSError."""
    if path is None:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(_ASK_SECONDS)
        connection.connect(path)
    return True


def unbound_socket(file: str) -> str | None:
    """Unbound's control socket as trust-sync.toml names it, or None. Never raises."""
    try:
        section = read_toml(file).get("unbound")
    except ValueError:
        return None
    return _text(section, "control_socket") if isinstance(section, dict) else None


def _text(data: dict[str, Any], key: str) -> str | None:
    value = data.get(key)
    return value if isinstance(value, str) else None


def read_accounting(url: str | None) -> AccountingFacts | None:
    """Whether the accounting database has its table. None without a database."""
    if url is None:
        return None
    if urlsplit(url).scheme == "sqlite":
        path = url.removeprefix("sqlite://").replace("//", "/", 1)
        return AccountingFacts(path, _sqlite_has_table(path))
    parts = urlsplit(url)
    return AccountingFacts(f"PostgreSQL on {parts.hostname or 'this host'}", _postgresql_has_table(url))


def _sqlite_has_table(path: str) -> Fact[bool]:
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'radacct'"
    try:
        uri = f"{Path(path).absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_DATABASE_SECONDS)) as connection:
            return bool(connection.execute(query).fetchone()[0])
    except sqlite3.Error as error:
        return NotTried(str(error))


def _postgresql_has_table(url: str) -> Fact[bool]:
    try:
        import psycopg
    except ImportError:
        return NotTried("psycopg is not installed")
    try:
        with psycopg.connect(url, connect_timeout=_DATABASE_SECONDS, autocommit=True) as connection:
            row = connection.execute("SELECT to_regclass('radacct') IS NOT NULL").fetchone()
            return bool(row and row[0])
    except psycopg.Error as error:
        # libpq's message names host and user, but never the password.
        return NotTried(str(error).strip())
