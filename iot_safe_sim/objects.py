"""What the applet holds: private keys, public keys, secrets and files, each with its identifier and access
conditions.

The `Store` is a value: an update makes a new one, and the applet adopts it only after it is safely on disk.
So a refused or interrupted command leaves the old state.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntFlag
from typing import Any, Self, TypeVar

MAX_ID_LENGTH = 20
MAX_LABEL_LENGTH = 60
MAX_OBJECTS = 64
#: Container size of a file: clients that ignore the real size read this far (2,048) and expect zeros past the
#: end.
MIN_CONTAINER_SIZE = 2048
MAX_FILE_SIZE = 8192

KEY_TYPE_P256_PERSISTENT = 0x13
KEY_TYPE_P256_VOLATILE = 0x14
KEY_TYPE_HMAC = 0xA0
KEY_USAGE_GENERAL = 0x01
FILE_USAGE_GENERAL = 0x01
FILE_USAGE_X509 = 0x02


class Access(IntFlag):
    """Tag 60: what a client of the basic interface may do. Administration (STORE DATA) is not bound by it."""

    NONE = 0
    READ = 1
    UPDATE = 2


class Function(IntFlag):
    """Tag 61: what a key may be used for."""

    SIGN = 1
    GENERATE = 2
    AGREE = 4
    DERIVE = 8


@dataclass(frozen=True)
class PrivateKey:
    """A key pair container. `handle` names the key in the key store, `public` is the point; both None while
    empty.
    """

    id: bytes
    label: str = ""
    access: Access = Access.READ
    key_type: int = KEY_TYPE_P256_PERSISTENT
    usage: int = KEY_USAGE_GENERAL
    functions: Function = Function.SIGN
    handle: str | None = None
    public: bytes | None = None

    @property
    def volatile(self) -> bool:
        """True for a key that does not outlive a reset (an ephemeral TLS key)."""
        return self.key_type == KEY_TYPE_P256_VOLATILE

    @property
    def filled(self) -> bool:
        """Tag 4A: a container that holds nothing is deactivated."""
        return self.handle is not None


@dataclass(frozen=True)
class PublicKey:
    """A public key of somebody else, put by the client. `point` is 65 bytes, uncompressed, or None while
    empty.
    """

    id: bytes
    label: str = ""
    access: Access = Access.READ | Access.UPDATE
    key_type: int = KEY_TYPE_P256_PERSISTENT
    usage: int = KEY_USAGE_GENERAL
    functions: Function = Function.SIGN | Function.AGREE
    point: bytes | None = None

    @property
    def volatile(self) -> bool:
        """True for a key that does not outlive a reset."""
        return self.key_type == KEY_TYPE_P256_VOLATILE

    @property
    def filled(self) -> bool:
        """Tag 4A."""
        return self.point is not None


@dataclass(frozen=True)
class Secret:
    """A pre-shared secret. `handle` names it in the key store."""

    id: bytes
    label: str = ""
    access: Access = Access.NONE
    functions: Function = Function.DERIVE
    handle: str | None = None

    @property
    def filled(self) -> bool:
        """Tag 4A."""
        return self.handle is not None


@dataclass(frozen=True)
class File:
    """A file container; `content` is None until something was stored in it."""

    id: bytes
    label: str = ""
    access: Access = Access.READ
    usage: int = FILE_USAGE_GENERAL
    content: bytes | None = None

    @property
    def filled(self) -> bool:
        """Tag 4A."""
        return self.content is not None

    @property
    def size(self) -> int:
        """Bytes of content."""
        return len(self.content or b"")


AnyObject = PrivateKey | PublicKey | Secret | File
ObjectT = TypeVar("ObjectT", PrivateKey, PublicKey, Secret, File)

_KINDS: dict[type[AnyObject], str] = {
    PrivateKey: "private_keys",
    PublicKey: "public_keys",
    Secret: "secrets",
    File: "files",
}


@dataclass(frozen=True)
class Store:
    """All objects, by kind and identifier. The four kinds are separate namespaces."""

    private_keys: dict[bytes, PrivateKey] = field(default_factory=dict)
    public_keys: dict[bytes, PublicKey] = field(default_factory=dict)
    secrets: dict[bytes, Secret] = field(default_factory=dict)
    files: dict[bytes, File] = field(default_factory=dict)

    def kind(self, kind: type[ObjectT]) -> dict[bytes, ObjectT]:
        """The objects of one kind."""
        table: dict[bytes, ObjectT] = getattr(self, _KINDS[kind])
        return table

    def has(self, kind: type[AnyObject], id: bytes) -> bool:
        """Whether an object of that kind and identifier exists."""
        return id in getattr(self, _KINDS[kind])

    def find(self, kind: type[ObjectT], *, id: bytes | None, label: str | None) -> ObjectT | None:
        """The object of that identifier or, without one, of that label. None when there is none."""
        table = self.kind(kind)
        if id is not None:
            found = table.get(id)
            return found if found is None or label is None or found.label == label else None
        return next((item for item in table.values() if item.label == label), None)

    def with_object(self, item: AnyObject) -> Self:
        """A store in which `item` is created or replaces the one of its kind and identifier."""
        name = _KINDS[type(item)]
        return replace(self, **{name: {**getattr(self, name), item.id: item}})

    def without(self, kind: type[AnyObject], id: bytes) -> Self:
        """A store without that object."""
        name = _KINDS[kind]
        table = {key: item for key, item in getattr(self, name).items() if key != id}
        return replace(self, **{name: table})

    def __len__(self) -> int:
        return sum(len(getattr(self, name)) for name in _KINDS.values())

    def handles(self) -> set[str]:
        """Every key store handle that an object refers to."""
        holders: list[PrivateKey | Secret] = [*self.private_keys.values(), *self.secrets.values()]
        return {item.handle for item in holders if item.handle is not None}

    def to_json(self) -> dict[str, Any]:
        """A JSON document of the persistent part: contents of volatile containers are left out."""
        return {name: [_to_json(item) for item in getattr(self, name).values()] for name in _KINDS.values()}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError when the document is not one."""
        tables: dict[str, dict[bytes, AnyObject]] = {}
        for kind, name in _KINDS.items():
            items = [_from_json(kind, entry) for entry in document[name]]
            tables[name] = {item.id: item for item in items}
        return cls(**tables)  # type: ignore[arg-type]  # each name gets the table of its own kind


def _to_json(item: AnyObject) -> dict[str, Any]:
    if isinstance(item, PrivateKey) and item.volatile:
        item = replace(item, handle=None, public=None)
    if isinstance(item, PublicKey) and item.volatile:
        item = replace(item, point=None)
    return {
        name: value.hex() if isinstance(value, bytes) else int(value) if isinstance(value, IntFlag) else value
        for name, value in vars(item).items()
    }


def _from_json(kind: type[AnyObject], entry: dict[str, Any]) -> AnyObject:
    values = dict(entry)
    for name in ("id", "public", "point", "content"):
        if values.get(name) is not None:
            values[name] = bytes.fromhex(values[name])
    values["access"] = Access(values["access"])
    if "functions" in values:
        values["functions"] = Function(values["functions"])
    return kind(**values)
