"""The steps of an installation into a FreeRADIUS configuration, and of its removal.

A manifest records what was installed. A file that an operator has changed since is neither overwritten nor removed, and
a second run changes nothing.
"""

from __future__ import annotations

import hashlib
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dane_radius.install import files, server_limits, server_security
from dane_radius.install.errors import InstallError
from dane_radius.install.layout import Layout
from dane_radius.install.manifest import MANIFEST, encode_manifest, load_manifest
from dane_radius.install.radiusd import inaccessible_folder

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
# Stock sites that listen on the same ports, or that need the stock eap module. Only their links are removed, and the
# removal of the installation restores them.
_DISPLACED = ("sites-enabled/default", "sites-enabled/inner-tunnel", "mods-enabled/eap")


@dataclass
class Report:
    """The actions that were done, or would be done, one line each; and notes for the operator."""

    actions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return bool(self.actions)


class Installer:
    """Installs into one raddb, or removes the installation. With `dry_run`, it only reports."""

    def __init__(self, layout: Layout, *, dry_run: bool = False) -> None:
        """Raises InstallError if `layout.raddb` is not a FreeRADIUS 3 configuration, or the user does not exist."""
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

    def install(self) -> Report:
        """Write the files and enable them. Raises InstallError, OSError."""
        self._check_readable()
        values = self._layout.values()
        self._make_folder(self._layout.raddb / "mods-config/dane", 0o750)
        for name in _RADDB_FILES:
            self._write(self._layout.raddb / name, files.render(files.template(name), values), 0o640)
        self._make_folder(self._layout.config_dir, 0o750)
        for name in ("dane-radius.toml", "policy.yaml"):
            text = files.render(files.template(f"dane-radius/{name}"), values)
            self._write(self._layout.config_dir / name, text, 0o640)
        self._make_folder(self._layout.anchors / "ca", 0o755)
        self._make_folder(self._layout.session_dir, 0o700)
        for name, target in _ENABLED.items():
            self._link(self._layout.raddb / name, target)
        self._enable_accounting()
        if not self._layout.keep_default:
            for name in _DISPLACED:
                self._displace(name)
            self._require_signatures()
        if self._layout.threads:
            self._raise_limits()
        self._manifest["options"] = self._layout.options()
        if not self._dry_run:
            path = self._layout.raddb / MANIFEST
            files.write_file(path, encode_manifest(self._manifest), 0o640, self._user)
        return self._report

    def uninstall(self) -> Report:
        """Remove the installed files that are unchanged, and restore what the installation displaced."""
        for name in self._manifest["links"]:
            path = Path(name)
            if path.is_symlink():
                self._act(f"remove link {path}", path.unlink)
        removed = set()
        for name, digest in self._manifest["files"].items():
            path = Path(name)
            if not path.exists():
                continue
            if files.digest_of(path) != digest:
                self._report.notes.append(f"{path} was changed since it was installed; it is left where it is")
            else:
                removed.add(path)
                self._act(f"remove {path}", path.unlink)
        for name, target in self._manifest["displaced"].items():
            path = self._layout.raddb / name
            if not path.is_symlink() and not path.exists():
                self._act(f"restore link {path}", partial(path.symlink_to, target))
        self._restore_limits()
        self._restore_security()
        folder = self._layout.raddb / "mods-config/dane"
        if folder.is_dir() and removed.issuperset(folder.iterdir()):
            self._act(f"remove folder {folder}", folder.rmdir)
        manifest = self._layout.raddb / MANIFEST
        if manifest.exists():
            self._act(f"remove {manifest}", manifest.unlink)
        return self._report

    def _act(self, what: str, action: Callable[[], object]) -> None:
        self._report.actions.append(what)
        if not self._dry_run:
            action()

    def _write(self, path: Path, text: str, mode: int) -> None:
        octets = text.encode("utf-8")
        digest = hashlib.sha256(octets).hexdigest()
        installed = self._manifest["files"].get(str(path))
        if path.exists():
            current = files.digest_of(path)
            if current == digest:
                self._manifest["files"][str(path)] = digest
                return
            if current != installed:
                self._keep_edited(path, octets, mode)
                return
        self._manifest["files"][str(path)] = digest
        self._act(f"write {path}", lambda: files.write_file(path, octets, mode, self._user))

    def _keep_edited(self, path: Path, octets: bytes, mode: int) -> None:
        beside = path.with_name(path.name + ".dane-new")
        self._report.notes.append(f"{path} was changed by hand and is kept; compare it with {beside}")
        if not beside.exists() or beside.read_bytes() != octets:
            self._act(f"write {beside}", lambda: files.write_file(beside, octets, mode, self._user))

    def _make_folder(self, path: Path, mode: int) -> None:
        if path.is_dir():
            return
        by_user = path in (self._layout.session_dir, self._layout.accounting_db.parent)
        self._act(f"make folder {path}", lambda: files.make_folder(path, mode, self._user, owned_by_user=by_user))

    def _link(self, path: Path, target: str) -> None:
        self._manifest["links"][str(path)] = target
        if path.is_symlink() and os.readlink(path) == target:
            return
        if path.exists() or path.is_symlink():
            raise InstallError(f"{path}: something else is enabled under this name; remove it first")
        self._act(f"enable {path}", lambda: path.symlink_to(target))

    def _enable_accounting(self) -> None:
        """Enable the accounting database, or disable it if an earlier installation had enabled it."""
        link = self._layout.raddb / "mods-enabled/dane_sql"
        if self._layout.accounting == "sqlite":
            self._make_folder(self._layout.accounting_db.parent, 0o750)
            self._link(link, "../mods-available/dane_sql")
        elif self._manifest["links"].pop(str(link), None) and link.is_symlink():
            self._act(f"disable {link}", link.unlink)

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
        """Raise the limits in radiusd.conf: requests that wait for the DNS occupy threads (see `server_limits`)."""
        path = self._layout.raddb / "radiusd.conf"
        text, changes, missing = server_limits.raise_to(
            path.read_text(encoding="utf-8", errors="surrogateescape"), server_limits.required(self._layout.threads)
        )
        known = self._manifest.setdefault("limits", {})
        for key, change in changes.items():
            # The removal restores the value from before the first installation.
            old = known[key]["old"] if key in known else change.old
            known[key] = {"old": old, "new": change.new}
        if missing:
            self._report.notes.append(f"{path} does not set {', '.join(missing)}; docs/operator.md says what is needed")
        if changes:
            said = ", ".join(f"{key} {change.old} -> {change.new}" for key, change in changes.items())
            octets = text.encode("utf-8", "surrogateescape")
            self._act(f"raise limits in {path}: {said}", lambda: files.rewrite_file(path, octets))

    def _restore_limits(self) -> None:
        path = self._layout.raddb / "radiusd.conf"
        changes = {
            key: server_limits.Change(change["old"], change["new"])
            for key, change in self._manifest.get("limits", {}).items()
        }
        if not changes or not path.exists():
            return
        before = path.read_text(encoding="utf-8", errors="surrogateescape")
        text, kept = server_limits.restore(before, changes)
        for key in kept:
            self._report.notes.append(f"{path}: {key} was changed since it was installed; it is left as it is")
        if text != before:
            octets = text.encode("utf-8", "surrogateescape")
            self._act(f"restore limits in {path}", lambda: files.rewrite_file(path, octets))

    def _require_signatures(self) -> None:
        """Require Message-Authenticators. Not with --keep-default: clients of the default site may not send them."""
        path = self._layout.raddb / "radiusd.conf"
        text, changed = server_security.require_signatures(path.read_text(encoding="utf-8", errors="surrogateescape"))
        if changed:
            known = self._manifest.setdefault("security", [])
            known += [key for key in changed if key not in known]
            octets = text.encode("utf-8", "surrogateescape")
            self._act(f"set {' and '.join(changed)} to yes in {path}", lambda: files.rewrite_file(path, octets))

    def _restore_security(self) -> None:
        path = self._layout.raddb / "radiusd.conf"
        keys = self._manifest.get("security", [])
        if not keys or not path.exists():
            return
        before = path.read_text(encoding="utf-8", errors="surrogateescape")
        text = server_security.restore(before, keys)
        if text != before:
            octets = text.encode("utf-8", "surrogateescape")
            self._act(f"restore {' and '.join(keys)} in {path}", lambda: files.rewrite_file(path, octets))

    def _check_readable(self) -> None:
        """Raises InstallError unless the server's user may enter each folder of the Python path."""
        for entry in self._layout.values()["python_path"].split(":"):
            folder = inaccessible_folder(Path(entry), self._user)
            if folder is not None:
                raise InstallError(
                    f"{entry}: user {self._layout.user} may not enter {folder}; install the package where it"
                    " may, for example with:"
                    " /usr/bin/python3 -m venv /opt/dane-radius && /opt/dane-radius/bin/pip install ."
                )
