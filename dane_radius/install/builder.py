"""Builds a plan step by step, over a picture of the files that each step changes. Pure: it reads and writes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dane_radius.install import places
from dane_radius.install.manifest import Manifest
from dane_radius.install.nodes import Absent, File, Folder, Link, Node, name_of
from dane_radius.install.steps import Change, Move, Plan


@dataclass(frozen=True)
class Scene:
    """What an installer has found. `nodes` has each path that a plan may touch, and the folders that contain them.

    manifest: None if nothing is installed.
    """

    raddb: Path
    nodes: Mapping[Path, Node]
    manifest: Manifest | None


@dataclass
class Builder:
    """A plan in the making. `nodes`: what stands where after the steps so far."""

    scene: Scene
    plan: Plan = field(default_factory=Plan)
    nodes: dict[Path, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = dict(self.scene.nodes)

    def at(self, path: Path) -> Node:
        return self.nodes.get(path, Absent())

    def change(self, path: Path, after: Node, what: str) -> None:
        """Add a step, unless `after` stands there already."""
        before = self.at(path)
        if before.trace() != after.trace():
            self.plan.steps.append(Change(path, before, after, what))
            self.nodes[path] = after

    def move(self, source: Path, path: Path, what: str) -> None:
        """Add the renaming of a link."""
        node = self.at(source)
        self.plan.steps.append(Move(source, path, node, what))
        self.nodes[source], self.nodes[path] = Absent(), node

    @contextlib.contextmanager
    def standing_in(self, gid: int) -> Iterator[None]:
        """The stand-in is there during the steps that are added within."""
        path, start = self.scene.raddb / places.STAND_IN, len(self.plan.steps)
        node = File(places.STAND_IN_TEXT.encode(), 0o640, 0, gid)
        if not isinstance(self.at(path), Absent):
            self.refuse(f"{path}: {name_of(self.at(path))} of an earlier installation found; remove it")
        yield
        if len(self.plan.steps) > start:
            self.plan.steps.insert(start, Change(path, Absent(), node, f"write {path} for the time of the changes"))
            self.plan.steps.append(Change(path, node, Absent(), f"remove {path}"))

    def note(self, text: str) -> None:
        self.plan.notes.append(text)

    def refuse(self, text: str) -> None:
        self.plan.refusals.append(text)

    def is_file(self, path: Path) -> bool:
        """Whether a file can be written at `path`. Refuses the plan if anything else than a file stands there."""
        node = self.at(path)
        if isinstance(node, File | Absent):
            return True
        self.refuse(f"{path}: {name_of(node)} stands where the installer writes a file; move it away")
        return False

    def check_folders(self, *others: Path) -> None:
        """Refuse a raddb that lacks its folders, and folders that anyone may write into."""
        raddb = self.scene.raddb
        for name in places.STOCK_FOLDERS:
            if not isinstance(self.at(raddb / name), Folder):
                found = name_of(self.at(raddb / name))
                self.refuse(f"{raddb / name}: {found} found, a folder expected; is this FreeRADIUS's raddb?")
        for path in (raddb, *(raddb / name for name in places.STOCK_FOLDERS), *others):
            node = self.at(path)
            if isinstance(node, Folder) and node.mode & 0o002:
                self.refuse(f"{path}: anyone may write into this folder; correct that first: chmod o-w {path}")

    def remove_link(self, path: Path, target: str, what: str, *, force: bool = False) -> None:
        """Remove a link of ours. A link to something else, or another file, is the operator's and stays."""
        node = self.at(path)
        if isinstance(node, Link) and (node.target == target or force):
            self.change(path, Absent(), f"{what} {path}")
        elif not isinstance(node, Absent):
            self.note(f"{path}: {name_of(node)} found, a link to {target} expected; it is left as it is")
