"""All objects of a card as one immutable value, and its JSON form.

A change makes a new `ObjectStore`, which the applet adopts only once it is on disk. So a refused or interrupted command
leaves the old state.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntFlag
from typing import Any, Self

from iot_safe_sim.card.objects import Access, AnyObject, File, Function, ObjectT, PrivateKey, PublicKey, Secret

_KINDS: dict[type[AnyObject], str] = {
    PrivateKey: "private_keys",
    PublicKey: "public_keys",
    Secret: "secrets",
    File: "files",
}


@dataclass(frozen=True)
class ObjectStore:
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
        """The object of that identifier or, if `id` is None, of that label. None when there is no such object."""
        table = self.kind(kind)
        if id is not None:
            found = table.get(id)
            return found if found is None or label is None or found.label == label else None
        return next((item for item in table.values() if item.label == label), None)

    def with_object(self, item: AnyObject) -> Self:
        """A store with `item`, which replaces an object of its kind and identifier."""
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
        """A JSON document. Volatile containers appear in it as empty."""
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
    if isinstance(item, PrivateKey | PublicKey) and item.volatile:
        item = item.emptied()
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
