"""Put the module into a FreeRADIUS configuration, and take it out again.

What was written is remembered in a manifest beside it, with its digest: a file that an operator changed since is never
overwritten or removed in silence, and running the installer twice changes nothing.
"""

from __future__ import annotations

import grp
import hashlib
import importlib.resources
import json
import os
import pwd
import re
import shutil
import stat
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dane_radius.install import server_limits

MANIFEST = ".dane-radius.json"
_MANIFEST_VERSION = 1

_ENABLED = {
    "mods-enabled/dane": "../mods-available/dane",
    "mods-enabled/dane_eap": "../mods-available/dane_eap",
    "mods-enabled/dane_seen": "../mods-available/dane_seen",
    "mods-enabled/dane_wait": "../mods-available/dane_wait",
    "sites-enabled/dane": "../sites-available/dane",
    "sites-enabled/dane-check": "../sites-available/dane-check",
}
_RADDB_FILES = (
    "mods-available/dane",
    "mods-available/dane_eap",
    "mods-available/dane_seen",
    "mods-available/dane_sql",
    "mods-available/dane_wait",
    "mods-config/dane/wait.pl",
    "sites-available/dane",
    "sites-available/dane-check",
    "policy.d/dane",
)
# Stock sites that listen on the same ports, or that need the stock eap module. Only links are removed, and put back.
_DISPLACED = ("sites-enabled/default", "sites-enabled/inner-tunnel", "mods-enabled/eap")

# What an operator chose at one installation holds for the next ones, which follow an upgrade.
_PATHS = frozenset({"config_dir", "anchors", "server_key", "server_certificate", "hint_socket"})
_OPTIONS = (*sorted(_PATHS), "user", "keep_default", "resumption", "accounting", "threads")

_HINT_SOCKET = "/run/trust-sync/trust-sync.sock"


class InstallError(RuntimeError):
    """The installation cannot be done as asked; nothing, or only what was reported, has changed."""


@dataclass(frozen=True)
class Layout:
    """Where everything goes, and what the files are told."""

    raddb: Path
    config_dir: Path = Path("/etc/dane-radius")
    anchors: Path = Path("/var/lib/dane-radius/anchors")
    session_dir: Path = Path("/run/freeradius/dane-sessions")
    log: str = "/var/log/freeradius/dane-radius.log"
    control_socket: Path = Path("/run/freeradius/dane-radius.sock")
    server_key: Path = Path("/etc/ssl/private/ssl-cert-snakeoil.key")
    server_certificate: Path = Path("/etc/ssl/certs/ssl-cert-snakeoil.pem")
    resolver_address: str = "127.0.0.1"
    resolver_port: int = 53
    metrics_port: int = 9812
    auth_port: int = 0
    acct_port: int = 0
    user: str = "freerad"
    keep_default: bool = False
    resumption: bool = False
    python_path: str = ""
    # Where trust-sync takes hints about unknown identities; None: no hints.
    hint_socket: Path | None = None
    # "none", or "sqlite": live sessions in a database of our own, for trust-sync.
    accounting: str = "none"
    accounting_db: Path = Path("/var/lib/dane-radius/accounting/radacct.db")
    # Worker threads of the server, at least; 0: radiusd.conf is left alone.
    threads: int = server_limits.DEFAULT_THREADS

    @classmethod
    def from_options(cls, raddb: Path, given: Mapping[str, object]) -> Layout:
        """A layout from the command line's options: those that are None stay as the last installation had them.

        An empty `hint_socket` means none. Raises InstallError when the last installation's manifest cannot be read.
        """
        remembered = load_manifest(raddb).get("options", {})
        chosen: dict[str, Any] = {}
        for name in _OPTIONS:
            value = given.get(name)
            if value is None:
                value = remembered.get(name)
            if value is not None:
                chosen[name] = value
        for name in _PATHS & chosen.keys():
            chosen[name] = Path(chosen[name]).absolute() if chosen[name] else None
        return cls(raddb=raddb, **chosen)

    def options(self) -> dict[str, Any]:
        """What `from_options` is to find again."""
        values = {name: getattr(self, name) for name in _OPTIONS}
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    def values(self) -> dict[str, str]:
        """What stands for each `@name@` in the files."""
        return {
            "python_path": self.python_path or python_path(),
            "config_file": str(self.config_dir / "dane-radius.toml"),
            "policy": str(self.config_dir / "policy.yaml"),
            "anchors": str(self.anchors),
            "session_dir": str(self.session_dir),
            "log": self.log,
            "control_socket": str(self.control_socket),
            "server_key": str(self.server_key),
            "server_certificate": str(self.server_certificate),
            "resolver_address": self.resolver_address,
            "resolver_port": str(self.resolver_port),
            "metrics_port": str(self.metrics_port),
            "auth_port": str(self.auth_port),
            "acct_port": str(self.acct_port),
            "accounting_db": str(self.accounting_db),
            "max_waiting": str(server_limits.places(max(self.threads, self._threads_now()))),
            "hints": "yes" if self.hint_socket else "no",
            "hint_socket": f'socket = "{self.hint_socket}"' if self.hint_socket else f'# socket = "{_HINT_SOCKET}"',
            "resumption": "true" if self.resumption else "false",
            "allow_session_resumption": "Yes" if self.resumption else "No",
            # As long as `lifetime` in mods-available/dane_eap, or until an abandoned handshake is surely over.
            "session_max_age": "3600" if self.resumption else "120",
        }

    def _threads_now(self) -> int:
        try:
            return server_limits.threads_of((self.raddb / "radiusd.conf").read_text(errors="replace")) or 0
        except OSError:
            return 0


@dataclass
class Report:
    """What was done, or would be: one line each, and what the operator must know."""

    actions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return bool(self.actions)


def load_manifest(raddb: Path) -> dict[str, Any]:
    """What was installed into `raddb`; an empty one when nothing was. Raises InstallError when it is unreadable."""
    path = raddb / MANIFEST
    try:
        data = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {"version": _MANIFEST_VERSION, "files": {}, "links": {}, "displaced": {}}
    except (OSError, ValueError) as error:
        raise InstallError(f"{path}: {error}") from error
    if not isinstance(data, dict) or data.get("version") != _MANIFEST_VERSION:
        raise InstallError(f"{path}: version {_MANIFEST_VERSION} expected")
    if not isinstance(data.get("options", {}), dict):
        raise InstallError(f"{path}: options is no object")
    return data


def python_path() -> str:
    """The search path that the embedded interpreter needs: this package, its libraries, the standard library.

    The folders of what is imported now come first, so that an editable installation works as an ordinary one does.
    """
    wanted = [str(Path(__file__).resolve().parent.parent), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    wanted += [entry for entry in sys.path if entry.startswith("/usr/lib/python3") and "packages" not in entry]
    return ":".join(dict.fromkeys(entry for entry in wanted if os.path.isdir(entry)))


def _template(name: str) -> str:
    return importlib.resources.files("freeradius").joinpath(name).read_text(encoding="utf-8")


def render(text: str, values: dict[str, str]) -> str:
    """Put `values` where `@name@` stands. Raises InstallError for a name without a value."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise InstallError(f"no value for @{match[1]}@")
        return values[match[1]]

    return re.sub(r"@([a-z_]+)@", value, text)


class Installer:
    """Installs into, or removes from, one raddb. With `dry_run`, only reports."""

    def __init__(self, layout: Layout, *, dry_run: bool = False) -> None:
        """Raises InstallError when `layout.raddb` is no FreeRADIUS 3 configuration, or the user does not exist."""
        self._layout = layout
        self._dry_run = dry_run
        self._report = Report()
        if not (layout.raddb / "radiusd.conf").is_file() or not (layout.raddb / "mods-available").is_dir():
            raise InstallError(f"{layout.raddb}: radiusd.conf and mods-available expected; is this FreeRADIUS's raddb?")
        try:
            self._user = pwd.getpwnam(layout.user)
        except KeyError as error:
            raise InstallError(f"user {layout.user!r} does not exist; is the freeradius package installed?") from error
        if layout.accounting not in ("none", "sqlite"):
            raise InstallError(f"accounting {layout.accounting!r}: none or sqlite is expected")
        self._manifest = load_manifest(layout.raddb)

    @property
    def _manifest_path(self) -> Path:
        return self._layout.raddb / MANIFEST

    def install(self) -> Report:
        """Write the files and enable them."""
        self._check_readable()
        values = self._layout.values()
        self._make_folder(self._layout.raddb / "mods-config/dane", 0o750)
        for name in _RADDB_FILES:
            self._write(self._layout.raddb / name, render(_template(name), values), 0o640)
        self._make_folder(self._layout.config_dir, 0o750)
        for name in ("dane-radius.toml", "policy.yaml"):
            self._write(self._layout.config_dir / name, render(_template(f"dane-radius/{name}"), values), 0o640)
        self._make_folder(self._layout.anchors / "ca", 0o755)
        self._make_folder(self._layout.session_dir, 0o700)
        for name, target in _ENABLED.items():
            self._link(self._layout.raddb / name, target)
        sql = self._layout.raddb / "mods-enabled/dane_sql"
        if self._layout.accounting == "sqlite":
            self._make_folder(self._layout.accounting_db.parent, 0o750)
            self._link(sql, "../mods-available/dane_sql")
        elif self._manifest["links"].pop(str(sql), None) and sql.is_symlink():
            self._act(f"disable {sql}", sql.unlink)
        if not self._layout.keep_default:
            for name in _DISPLACED:
                self._displace(name)
        if self._layout.threads:
            self._raise_limits()
        self._manifest["options"] = self._layout.options()
        self._save_manifest()
        return self._report

    def uninstall(self) -> Report:
        """Remove what was installed and is unchanged, and put back what it displaced."""
        for name in self._manifest["links"]:
            path = Path(name)
            if path.is_symlink():
                self._act(f"remove link {path}", path.unlink)
        for name, digest in self._manifest["files"].items():
            path = Path(name)
            if not path.exists():
                continue
            if _digest(path) != digest:
                self._report.notes.append(f"{path} was changed since it was installed; it is left where it is")
            else:
                self._act(f"remove {path}", path.unlink)
        for name, target in self._manifest["displaced"].items():
            path = self._layout.raddb / name
            if not path.is_symlink() and not path.exists():
                self._act(f"put back link {path}", lambda path=path, target=target: path.symlink_to(target))
        self._put_limits_back()
        folder = self._layout.raddb / "mods-config/dane"
        if folder.is_dir() and all(str(path) in self._manifest["files"] for path in folder.iterdir()):
            self._act(f"remove folder {folder}", folder.rmdir)
        if self._manifest_path.exists():
            self._act(f"remove {self._manifest_path}", self._manifest_path.unlink)
        return self._report

    def _act(self, what: str, action: Any) -> None:
        self._report.actions.append(what)
        if not self._dry_run:
            action()

    def _write(self, path: Path, text: str, mode: int) -> None:
        octets = text.encode("utf-8")
        digest = hashlib.sha256(octets).hexdigest()
        installed = self._manifest["files"].get(str(path))
        if path.exists():
            current = _digest(path)
            if current == digest:
                self._manifest["files"][str(path)] = digest
                return
            if current != installed:
                self._keep_edited(path, octets, mode)
                return
        self._manifest["files"][str(path)] = digest
        self._act(f"write {path}", lambda: self._put(path, octets, mode))

    def _keep_edited(self, path: Path, octets: bytes, mode: int) -> None:
        beside = path.with_name(path.name + ".dane-new")
        self._report.notes.append(f"{path} was changed by hand and is kept; compare it with {beside}")
        if not beside.exists() or beside.read_bytes() != octets:
            self._act(f"write {beside}", lambda: self._put(beside, octets, mode))

    def _put(self, path: Path, octets: bytes, mode: int) -> None:
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_bytes(octets)
        temporary.chmod(mode)
        self._own(temporary)
        temporary.replace(path)

    def _own(self, path: Path) -> None:
        # Without root, files belong to whoever runs this, as an unprivileged test setup wants it.
        if os.geteuid() == 0:
            os.chown(path, 0, self._user.pw_gid)

    def _make_folder(self, path: Path, mode: int) -> None:
        if path.is_dir():
            return
        self._act(f"make folder {path}", lambda: self._make(path, mode))

    def _make(self, path: Path, mode: int) -> None:
        path.mkdir(parents=True)
        path.chmod(mode)
        if path in (self._layout.session_dir, self._layout.accounting_db.parent) and os.geteuid() == 0:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)
        else:
            self._own(path)

    def _link(self, path: Path, target: str) -> None:
        self._manifest["links"][str(path)] = target
        if path.is_symlink() and os.readlink(path) == target:
            return
        if path.exists() or path.is_symlink():
            raise InstallError(f"{path}: something else is enabled under this name; remove it first")
        self._act(f"enable {path}", lambda: path.symlink_to(target))

    def _displace(self, name: str) -> None:
        path = self._layout.raddb / name
        if not path.is_symlink():
            if path.exists():
                self._report.notes.append(
                    f"{path} is a file, not a link, and stays enabled; on the same ports, the server will not start"
                )
            return
        self._manifest["displaced"][name] = os.readlink(path)
        self._report.notes.append(f"{path} is disabled: it would use the same ports (--keep-default leaves it)")
        self._act(f"disable {path}", path.unlink)

    def _raise_limits(self) -> None:
        """Requests that wait for the DNS need threads: see `server_limits`."""
        path = self._layout.raddb / "radiusd.conf"
        text, changes, missing = server_limits.raise_to(
            path.read_text(encoding="utf-8", errors="surrogateescape"), server_limits.wanted(self._layout.threads)
        )
        known = self._manifest.setdefault("limits", {})
        for key, change in changes.items():
            # What it was before the first installation is what an uninstallation gives back.
            old = known[key]["old"] if key in known else change.old
            known[key] = {"old": old, "new": change.new}
        if missing:
            self._report.notes.append(f"{path} does not set {', '.join(missing)}; docs/operator.md says what is needed")
        if changes:
            said = ", ".join(f"{key} {change.old} -> {change.new}" for key, change in changes.items())
            octets = text.encode("utf-8", "surrogateescape")
            self._act(f"raise limits in {path}: {said}", lambda: self._rewrite(path, octets))

    def _put_limits_back(self) -> None:
        path = self._layout.raddb / "radiusd.conf"
        changes = {
            key: server_limits.Change(change["old"], change["new"])
            for key, change in self._manifest.get("limits", {}).items()
        }
        if not changes or not path.exists():
            return
        before = path.read_text(encoding="utf-8", errors="surrogateescape")
        text, left = server_limits.put_back(before, changes)
        for key in left:
            self._report.notes.append(f"{path}: {key} was changed since it was installed; it is left as it is")
        if text != before:
            octets = text.encode("utf-8", "surrogateescape")
            self._act(f"put limits in {path} back", lambda: self._rewrite(path, octets))

    def _rewrite(self, path: Path, octets: bytes) -> None:
        """Replace a file that is not ours: its owner and mode stay."""
        status = path.stat()
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_bytes(octets)
        temporary.chmod(stat.S_IMODE(status.st_mode))
        if os.geteuid() == 0:
            os.chown(temporary, status.st_uid, status.st_gid)
        temporary.replace(path)

    def _save_manifest(self) -> None:
        if not self._dry_run:
            self._put(self._manifest_path, json.dumps(self._manifest, indent=2).encode() + b"\n", 0o640)

    def _check_readable(self) -> None:
        """The server runs without root: every folder of the Python path must be open to its user."""
        for entry in self._layout.values()["python_path"].split(":"):
            for folder in _self_and_parents(Path(entry)):
                if not _may_enter(folder, self._user):
                    raise InstallError(
                        f"{entry}: user {self._layout.user} may not enter {folder}; install the package where it"
                        " may, for example with:"
                        " /usr/bin/python3 -m venv /opt/dane-radius && /opt/dane-radius/bin/pip install ."
                    )


def _self_and_parents(path: Path) -> Iterator[Path]:
    yield path
    yield from path.parents


def _may_enter(folder: Path, user: pwd.struct_passwd) -> bool:
    status = folder.stat()
    if status.st_uid == user.pw_uid:
        return bool(status.st_mode & stat.S_IXUSR)
    groups = {user.pw_gid, *(group.gr_gid for group in grp.getgrall() if user.pw_name in group.gr_mem)}
    if status.st_gid in groups:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def radiusd_program() -> str | None:
    """The RADIUS server's program: `freeradius` on Debian, `radiusd` elsewhere."""
    search = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    return shutil.which("freeradius", path=search) or shutil.which("radiusd", path=search)
