"""What stands at a path, as values: a file, a symbolic link, a folder, something else, or nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Trace:
    """A node without its content, for comparison and for the journal. `detail`: SHA-256, or the target of a link."""

    kind: str
    detail: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "detail": self.detail, "mode": self.mode, "uid": self.uid, "gid": self.gid}


@dataclass(frozen=True)
class Absent:
    """Nothing stands there."""

    def trace(self) -> Trace:
        return Trace("absent")


@dataclass(frozen=True)
class File:
    """A regular file. `mode`: the permission bits."""

    octets: bytes
    mode: int
    uid: int
    gid: int

    @property
    def digest(self) -> str:
        """SHA-256 of the content, in hexadecimal."""
        return hashlib.sha256(self.octets).hexdigest()

    def trace(self) -> Trace:
        return Trace("file", self.digest, self.mode, self.uid, self.gid)


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str
    uid: int
    gid: int

    def trace(self) -> Trace:
        return Trace("link", self.target, 0, self.uid, self.gid)


@dataclass(frozen=True)
class Folder:
    """A folder. `entries`: the names in it, which its trace leaves out."""

    mode: int
    uid: int
    gid: int
    entries: frozenset[str] = frozenset()

    def trace(self) -> Trace:
        return Trace("folder", "", self.mode, self.uid, self.gid)


@dataclass(frozen=True)
class Special:
    """A device, a pipe, a socket, or a file that is too large to be a configuration file. `kind`: which of them."""

    kind: str

    def trace(self) -> Trace:
        return Trace("special", self.kind)


Node = Absent | File | Link | Folder | Special


def name_of(node: Node) -> str:
    """How a message names the node: "a folder"."""
    match node:
        case Absent():
            return "nothing"
        case File():
            return "a file"
        case Link():
            return f"a symbolic link to {node.target}"
        case Folder():
            return "a folder"
        case Special():
            return node.kind
