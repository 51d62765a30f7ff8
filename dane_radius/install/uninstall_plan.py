"""The plan of the removal of an installation. Pure: values in, steps out. The reverse order of an installation."""

from __future__ import annotations

from pathlib import Path

from dane_radius.install import places, server_limits, server_security
from dane_radius.install.builder import Builder, Scene
from dane_radius.install.manifest import MANIFEST, Manifest, StockLink
from dane_radius.install.nodes import Absent, File, Folder, Link
from dane_radius.install.steps import Plan


def plan_removal(scene: Scene, *, force: bool = False) -> Plan:
    """The steps that remove an installation. `force`: remove files too that the operator has changed."""
    if scene.manifest is None:
        return Plan()
    return _Removal(scene, scene.manifest, force).plan()


class _Removal:
    def __init__(self, scene: Scene, manifest: Manifest, force: bool) -> None:
        self._build = Builder(scene)
        self._raddb = scene.raddb
        self._manifest = manifest
        self._force = force

    def plan(self) -> Plan:
        self._build.check_folders()
        manifest = self._build.at(self._raddb / MANIFEST)
        with self._build.standing_in(manifest.gid if isinstance(manifest, File) else 0):
            self._links()
        self._radiusd_conf()
        policies = str(self._raddb / places.POLICY_FILE)
        for path in sorted(self._manifest.files, key=lambda path: path == policies):
            self._remove_file(Path(path))
        for folder in self._folders():
            self._remove_folder(folder)
        self._build.change(self._raddb / MANIFEST, Absent(), f"remove {self._raddb / MANIFEST}")
        return self._build.plan

    def _links(self) -> None:
        for name in reversed(places.DISPLACED):
            if name != places.STOCK_SITE:
                self._restore_link(name)
        self._site()
        links = {**places.ENABLED, places.ACCOUNTING: places.ACCOUNTING_TARGET}
        for link, target in reversed(links.items()):
            if str(self._raddb / link) in self._manifest.links:
                self._build.remove_link(self._raddb / link, target, "disable", force=self._force)

    def _site(self) -> None:
        """Replace our site by the stock one in one rename. Or only remove ours."""
        stock, ours = self._raddb / places.STOCK_SITE, self._raddb / places.SITE
        found = self._build.at(ours)
        if isinstance(found, Link) and found.target == places.SITE_TARGET and self._may_restore(places.STOCK_SITE):
            self._build.move(ours, stock, f"disable {ours}")
            self._build.change(stock, self._displaced(places.STOCK_SITE), f"restore link {stock}")
        elif str(ours) in self._manifest.links:
            self._build.remove_link(ours, places.SITE_TARGET, "disable", force=self._force)
            self._restore_link(places.STOCK_SITE)

    def _may_restore(self, name: StockLink) -> bool:
        return name in self._manifest.displaced and isinstance(self._build.at(self._raddb / name), Absent)

    def _displaced(self, name: StockLink) -> Link:
        # Manifests of earlier versions do not have the owner. Debian's links belong to the owner of their folder.
        folder = self._build.at((self._raddb / name).parent)
        owner = (folder.uid, folder.gid) if isinstance(folder, Folder) else (0, 0)
        uid, gid = self._manifest.owners.get(name, owner)
        return Link(self._manifest.displaced[name], uid, gid)

    def _restore_link(self, name: StockLink) -> None:
        if self._may_restore(name):
            self._build.change(self._raddb / name, self._displaced(name), f"restore link {self._raddb / name}")

    def _radiusd_conf(self) -> None:
        path = self._raddb / places.RADIUSD_CONF
        found = self._build.at(path)
        if not isinstance(found, File):
            return
        before = found.octets.decode("utf-8", "surrogateescape")
        changes = {key: server_limits.Change(limit.old, limit.new) for key, limit in self._manifest.limits.items()}
        text, kept = server_limits.restore(before, changes)
        for key in kept:
            self._build.note(f"{path}: {key} was changed since it was installed; it is left as it is")
        text = server_security.restore(text, self._manifest.security)
        node = File(text.encode("utf-8", "surrogateescape"), found.mode, found.uid, found.gid)
        self._build.change(path, node, f"restore settings in {path}")

    def _remove_file(self, path: Path) -> None:
        found = self._build.at(path)
        if isinstance(found, Absent):
            return
        if isinstance(found, File) and (self._force or found.digest == self._manifest.files[str(path)]):
            self._build.change(path, Absent(), f"remove {path}")
        else:
            self._build.note(
                f"{path} was changed since it was installed; it is left where it is (--force removes it, --diff shows "
                "the change)"
            )

    def _folders(self) -> list[Path]:
        """The folders that were made, the innermost first. Earlier versions did not record theirs in raddb."""
        folders = {Path(name) for name in self._manifest.folders} | {self._raddb / places.FOLDER}
        return sorted(folders, key=lambda path: len(path.parts), reverse=True)

    def _remove_folder(self, path: Path) -> None:
        found = self._build.at(path)
        if not isinstance(found, Folder):
            return
        remaining = [name for name in found.entries if not isinstance(self._build.nodes.get(path / name), Absent)]
        if not remaining:
            self._build.change(path, Absent(), f"remove folder {path}")
