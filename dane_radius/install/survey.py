"""What an installer finds: the manifest, and what stands at each path that a plan may touch."""

from __future__ import annotations

import os
from pathlib import Path

from dane_radius.install import places
from dane_radius.install.builder import Scene
from dane_radius.install.errors import InstallError
from dane_radius.install.journal import ChangeEntry, saved
from dane_radius.install.layout import Layout
from dane_radius.install.manifest import MANIFEST, Manifest, Options, own_paths, read_manifest
from dane_radius.install.nodes import Absent, File, Folder, Link, Node
from dane_radius.install.transaction import pending
from dane_radius.install.tree import Tree

_DEFAULTS = Layout(raddb=Path("/"))


def open_raddb(raddb: Path) -> Tree:
    """The folder of a FreeRADIUS 3 configuration. Raises InstallError if it is none, or if this is not root."""
    if os.geteuid() != 0:
        raise InstallError("run this as root: the server's user may read what it writes, and not change it")
    tree = Tree(raddb)
    try:
        for name, kinds in ((places.RADIUSD_CONF, File | Link), ("mods-available", Folder)):
            if not isinstance(tree.observe(raddb / name), kinds):
                raise InstallError(f"{raddb}: radiusd.conf and mods-available expected; is this FreeRADIUS's raddb?")
    except BaseException:
        tree.close()
        raise
    return tree


def remembered_options(raddb: Path) -> Options:
    """The options of the last complete installation. Raises InstallError if its manifest cannot be trusted, OSError."""
    tree = open_raddb(raddb)
    try:
        node = tree.observe(raddb / MANIFEST)
        for number, entry in enumerate(pending(tree, places.paths_inside(raddb))):
            if not isinstance(entry, ChangeEntry) or Path(entry.path) != raddb / MANIFEST:
                continue
            # An interrupted run will be undone: the manifest from before counts.
            if node.trace() == entry.after:
                node = Absent() if entry.before.kind == "absent" else tree.observe(saved(raddb / MANIFEST, number))
        manifest = read_manifest(node, raddb / MANIFEST)
        return manifest.options if manifest else Options()
    finally:
        tree.close()


def survey(tree: Tree, layout: Layout) -> Scene:
    """What stands at each path. Raises InstallError if the manifest cannot be trusted, OSError."""
    raddb = tree.root
    manifest = read_manifest(tree.observe(raddb / MANIFEST), raddb / MANIFEST)
    inside, outside, folders = _paths(raddb, layout, manifest)
    if manifest:
        manifest = own_paths(manifest, raddb / MANIFEST, raddb, tree.real, inside | outside | folders)
    stock = {raddb, *(raddb / name for name in places.STOCK_FOLDERS)}
    nodes = {path: tree.observe(path) for path in sorted(stock | inside | outside)}
    nodes |= {path: _outside_folder(tree, path) for path in sorted(folders) if path not in nodes}
    return Scene(raddb, nodes, manifest)


def _paths(
    raddb: Path, layout: Layout, manifest: Manifest | None
) -> tuple[frozenset[Path], frozenset[Path], frozenset[Path]]:
    """The files inside and outside of raddb, and the folders, of this layout, of the last one, and of the defaults."""
    options = manifest.options if manifest else Options()
    config_dirs = {layout.config_dir, _DEFAULTS.config_dir, Path(options.config_dir or layout.config_dir)}
    made = {*layout.outside_folders(), *_DEFAULTS.outside_folders(), *config_dirs}
    if options.standing:
        made.add(Path(options.standing))
    if options.anchors:
        made |= {Path(options.anchors), Path(options.anchors) / "ca"}
    files = frozenset().union(*(places.settings_paths(folder) for folder in config_dirs))
    return places.paths_inside(raddb), files, places.folders_of(raddb, made)


def _outside_folder(tree: Tree, path: Path) -> Node:
    """A folder that nothing but further folders are made in: it may be a link to one."""
    node = tree.observe(path)
    return tree.observe(path.resolve()) if isinstance(node, Link) and path.is_dir() else node
