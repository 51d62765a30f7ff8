"""The plan of an installation or an upgrade. Pure: values in, steps out.

The server must start in every state between two steps. Files come before the links that enable them. Policies that a
site of the previous version calls stay until that site is replaced. The stock site is replaced by ours in one rename,
because two sites on the same ports, or none, do not start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dane_radius.install import places, policies, server_limits, server_security
from dane_radius.install.builder import Builder, Scene
from dane_radius.install.layout import Layout
from dane_radius.install.manifest import MANIFEST, Limit, Manifest, Options, StockLink, encode_manifest
from dane_radius.install.nodes import Absent, File, Folder, Link, name_of
from dane_radius.install.steps import Edit, Plan


@dataclass(frozen=True)
class Wanted:
    """What an installation shall result in.

    texts: the content of each file. uid, gid: of the server's user. force: replace files that the operator has changed.
    The settings are kept in any case.
    """

    layout: Layout
    texts: Mapping[Path, bytes]
    uid: int
    gid: int
    force: bool = False


def plan_installation(wanted: Wanted, scene: Scene) -> Plan:
    """The steps from `scene` to `wanted`, notes, and refusals."""
    return _Installation(wanted, scene).plan()


class _Installation:
    def __init__(self, wanted: Wanted, scene: Scene) -> None:
        self._wanted = wanted
        self._layout = wanted.layout
        self._raddb = scene.raddb
        self._build = Builder(scene)
        self._upgrade = scene.manifest is not None
        self._manifest = scene.manifest.model_copy(deep=True) if scene.manifest else Manifest()

    def plan(self) -> Plan:
        self._build.check_folders(self._raddb / places.FOLDER, self._layout.config_dir)
        self._folders()
        for name in places.SETTINGS:
            self._write(self._layout.config_dir / name, is_setting=True)
        self._raddb_files()
        self._radiusd_conf()
        with self._build.standing_in(self._wanted.gid):
            for name, target in places.ENABLED.items():
                self._link(name, target)
            self._accounting()
            self._site()
        self._final_policies()
        self._record()
        return self._build.plan

    def _folders(self) -> None:
        stock = self._build.at(self._raddb / "mods-config")
        if isinstance(stock, Folder):
            self._folder(self._raddb / places.FOLDER, Folder(stock.mode, stock.uid, stock.gid))
        of_root = Folder(0o755, 0, self._wanted.gid)
        self._folder(self._layout.config_dir, Folder(0o750, 0, self._wanted.gid))
        self._folder(self._layout.anchors, of_root)
        self._folder(self._layout.anchors / "ca", of_root)
        if self._layout.standing is not None:
            self._folder(self._layout.standing, of_root)
        if self._layout.accounting == "sqlite":
            self._folder(self._layout.accounting_db.parent, Folder(0o750, self._wanted.uid, self._wanted.gid))
        # The service makes /run/freeradius when it starts, and the module makes its folder there.
        if isinstance(self._build.at(self._layout.session_dir.parent), Folder):
            sessions = Folder(0o700, self._wanted.uid, self._wanted.gid)
            self._folder(self._layout.session_dir, sessions, is_recorded=False)

    def _folder(self, path: Path, node: Folder, *, is_recorded: bool = True) -> None:
        found = self._build.at(path)
        if isinstance(found, Folder):
            return
        if not isinstance(found, Absent):
            self._build.refuse(f"{path}: {name_of(found)} stands where the installer needs a folder; move it away")
            return
        if not path.is_relative_to(self._raddb) and isinstance(self._build.at(path.parent), Absent):
            self._folder(path.parent, Folder(0o755, 0, 0))
        self._build.change(path, node, f"make folder {path}")
        if is_recorded and str(path) not in self._manifest.folders:
            self._manifest.folders.append(str(path))

    def _raddb_files(self) -> None:
        """Policies and files; while sites of the previous version are in use, with the policies that they call."""
        path = self._raddb / places.POLICY_FILE
        before = self._build.at(path)
        if isinstance(before, File) and isinstance(self._build.at(self._raddb / places.SITE), Link):
            both = policies.with_missing(self._text(path), _decode(before.octets))
            self._write(path, octets=_encode(both))
        else:
            self._write(path)
        for name in places.RADDB_FILES:
            self._write(self._raddb / name)
        self._old_policies = _decode(before.octets) if isinstance(before, File) else ""
        # Earlier installers put the new version where the server reads it.
        misplaced = path.with_name(f"{path.name}.dane-new")
        if self._upgrade and isinstance(self._build.at(misplaced), File):
            self._build.change(misplaced, Absent(), f"remove {misplaced}, which the server reads")

    def _final_policies(self) -> None:
        """The policies of this version, and those that a site calls that the operator has changed."""
        path = self._raddb / places.POLICY_FILE
        if str(path) not in self._manifest.files or any(edit.path == path for edit in self._build.plan.edits):
            return
        callers = [_decode(e.current) for e in self._build.plan.edits if e.path.parent.name == "sites-available"]
        text = policies.with_required(self._text(path), self._old_policies, callers)
        self._put(path, _encode(text), f"write {path} without the policies of the previous version")

    def _text(self, path: Path) -> str:
        return _decode(self._wanted.texts[path])

    def _write(self, path: Path, octets: bytes | None = None, *, is_setting: bool = False) -> None:
        proposed = self._wanted.texts[path] if octets is None else octets
        found = self._build.at(path)
        if not self._build.is_file(path):
            return
        known = self._manifest.files.get(str(path))
        if isinstance(found, Absent) or found.trace().detail == known or found.trace().detail == _digest(proposed):
            self._put(path, proposed, f"write {path}")
            self._drop_beside(path)
        elif not self._upgrade and not is_setting:
            self._build.refuse(
                f"{path}: this file is not of dane-radius, which needs its name; move it away: mv {path} {path}.mine"
            )
        elif self._wanted.force and not is_setting:
            self._put(path, proposed, f"overwrite {path}, which was changed by hand")
            self._drop_beside(path)
        elif isinstance(found, File):
            self._keep(path, found, self._wanted.texts[path])

    def _put(self, path: Path, octets: bytes, what: str) -> None:
        """Write a file of ours. One that exists keeps its mode and owner."""
        found = self._build.at(path)
        if isinstance(found, File):
            node = File(octets, found.mode, found.uid, found.gid)
        else:
            node = File(octets, 0o640, 0, self._wanted.gid)
        self._build.change(path, node, what)
        self._manifest.files[str(path)] = node.digest

    def _keep(self, path: Path, found: File, proposed: bytes) -> None:
        """Keep a file that the operator has changed, and put the new version beside it."""
        beside = places.beside(path)
        self._build.plan.edits.append(Edit(path, found.octets, proposed))
        self._build.note(f"{path} was changed by hand and is kept; compare it: diff -u {path} {beside}")
        other = self._build.at(beside)
        known = self._manifest.files.get(str(beside))
        if isinstance(other, Absent) or (isinstance(other, File) and other.digest == known):
            pass
        elif not isinstance(other, File) or known is not None or not self._upgrade:
            self._build.note(
                f"{beside} is not as the installer wrote it, and is kept too: --diff shows the new version"
            )
            return
        self._put(beside, proposed, f"write {beside}")

    def _drop_beside(self, path: Path) -> None:
        beside = places.beside(path)
        found = self._build.at(beside)
        known = self._manifest.files.pop(str(beside), None)
        if known is not None and isinstance(found, File) and found.digest == known:
            self._build.change(beside, Absent(), f"remove {beside}")

    def _link(self, name: str, target: str) -> None:
        path = self._raddb / name
        self._manifest.links[str(path)] = target
        found = self._build.at(path)
        if isinstance(found, Link) and found.target == target:
            return
        if not isinstance(found, Absent):
            self._build.refuse(f"{path}: something else is enabled under this name; remove it first")
            return
        self._build.change(path, Link(target, 0, 0), f"enable {path}")

    def _accounting(self) -> None:
        """Enable the accounting database, or disable it if an earlier installation had enabled it."""
        if self._layout.accounting == "sqlite":
            self._link(places.ACCOUNTING, places.ACCOUNTING_TARGET)
        elif self._manifest.links.pop(str(self._raddb / places.ACCOUNTING), None):
            self._build.remove_link(self._raddb / places.ACCOUNTING, places.ACCOUNTING_TARGET, "disable")

    def _site(self) -> None:
        """Enable the site, and disable the stock ones."""
        stock, ours = self._raddb / places.STOCK_SITE, self._raddb / places.SITE
        if not self._layout.keep_default and isinstance(self._build.at(stock), Link) and self._is_free(ours):
            self._remember(places.STOCK_SITE)
            self._build.change(stock, Link(places.SITE_TARGET, 0, 0), f"disable {stock}")
            self._build.move(stock, ours, f"enable {ours}")
        self._link(places.SITE, places.SITE_TARGET)
        if not self._layout.keep_default:
            for name in places.DISPLACED:
                self._displace(name)

    def _is_free(self, path: Path) -> bool:
        return isinstance(self._build.at(path), Absent)

    def _displace(self, name: StockLink) -> None:
        path = self._raddb / name
        found = self._build.at(path)
        if isinstance(found, Link):
            self._remember(name)
            self._build.change(path, Absent(), f"disable {path}")
        elif not isinstance(found, Absent):
            self._build.note(
                f"{path} is {name_of(found)}, not a link, and stays enabled; "
                "on the same ports, the server will not start"
            )

    def _remember(self, name: StockLink) -> None:
        path = self._raddb / name
        found = self._build.at(path)
        if isinstance(found, Link):
            self._manifest.displaced[name] = found.target
            self._manifest.owners[name] = (found.uid, found.gid)
            self._build.note(f"{path} is disabled: it would use the same ports (--keep-default leaves it)")

    def _radiusd_conf(self) -> None:
        """Raise the limits, and require Message-Authenticators.

        Not the latter with --keep-default: clients of the default site may not send them.
        """
        path = self._raddb / places.RADIUSD_CONF
        found = self._build.at(path)
        if not isinstance(found, File):
            self._build.note(
                f"{path} is {name_of(found)}, which is not followed; docs/operator.md says what to set in it"
            )
            return
        text, said = _decode(found.octets), []
        if self._layout.threads:
            text, changes, missing = server_limits.raise_to(text, server_limits.required(self._layout.threads))
            if changes:
                self._record_limits(changes)
                listed = ", ".join(f"{key} {change.old} -> {change.new}" for key, change in changes.items())
                said.append(f"raise limits in {path}: {listed}")
            if missing:
                self._build.note(f"{path} does not set {', '.join(missing)}; docs/operator.md says what is needed")
        if not self._layout.keep_default:
            text, keys = server_security.require_signatures(text)
            if keys:
                self._manifest.security += [key for key in keys if key not in self._manifest.security]
                said.append(f"set {' and '.join(keys)} to yes in {path}")
        self._build.change(path, File(_encode(text), found.mode, found.uid, found.gid), "; ".join(said))

    def _record_limits(self, changes: Mapping[server_limits.LimitKey, server_limits.Change]) -> None:
        for key, change in changes.items():
            # The removal restores the value from before the first installation.
            known = self._manifest.limits.get(key)
            self._manifest.limits[key] = Limit(old=known.old if known else change.old, new=change.new)

    def _record(self) -> None:
        path = self._raddb / MANIFEST
        self._forget_elsewhere()
        self._manifest.options = Options(**self._layout.options())
        node = File(encode_manifest(self._manifest), 0o640, 0, self._wanted.gid)
        self._build.change(path, node, f"record the installation in {path}")

    def _forget_elsewhere(self) -> None:
        """Leave what is in the previous --config-dir to the operator."""
        files = places.paths_inside(self._raddb) | places.settings_paths(self._layout.config_dir)
        for name in [name for name in self._manifest.files if Path(name) not in files]:
            del self._manifest.files[name]
            self._build.note(f"{name} is no longer used; it is left where it is")
        folders = places.folders_of(self._raddb, self._layout.outside_folders())
        self._manifest.folders = [name for name in self._manifest.folders if Path(name) in folders]


def _digest(octets: bytes) -> str:
    return File(octets, 0, 0, 0).digest


def _decode(octets: bytes) -> str:
    # A file of the operator's may be in any encoding: its octets survive the way back.
    return octets.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
