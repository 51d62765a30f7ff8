"""Finding the object that a command names by identifier or label."""

from __future__ import annotations

from iot_safe_sim.card.object_store import ObjectStore
from iot_safe_sim.card.object_tags import OBJECT_TAGS
from iot_safe_sim.card.objects import MAX_ID_LENGTH, Access, AnyObject, ObjectT, PrivateKey, PublicKey
from iot_safe_sim.interface import AppletError, Fields, StatusWord, TlvError


def find_object(store: ObjectStore, kind: type[ObjectT], fields: Fields) -> ObjectT:
    """The object of `kind` that `fields` name. Raises TlvError without a name, AppletError without an object."""
    identifier, label = _reference(kind, fields)
    found = store.find(kind, id=identifier, label=label)
    if found is None:
        name = identifier.hex() if identifier is not None else repr(label)
        raise AppletError(StatusWord.NOT_FOUND, f"no {kind.__name__} {name}")
    return found


def find_public_key(store: ObjectStore, fields: Fields) -> PublicKey:
    """A peer's public key, or else the public half of the key pair of that name. Raises as `find_object` does."""
    identifier, label = _reference(PublicKey, fields)
    peer = store.find(PublicKey, id=identifier, label=label)
    if peer is not None:
        return peer
    pair = store.find(PrivateKey, id=identifier, label=label)
    if pair is None:
        raise AppletError(StatusWord.NOT_FOUND, "no such public key")
    return public_half(pair)


def public_half(key: PrivateKey) -> PublicKey:
    """The public key object of a key pair: it has the same identifier, and no client may overwrite it."""
    return PublicKey(key.id, key.label, Access.READ, key.key_type, key.usage, key.functions, key.public)


def check_identifier(identifier: bytes) -> None:
    """Raises TlvError when an identifier is empty or too long."""
    if not 1 <= len(identifier) <= MAX_ID_LENGTH:
        raise TlvError(f"identifier of {len(identifier)} bytes: expected 1 to {MAX_ID_LENGTH}")


def _reference(kind: type[AnyObject], fields: Fields) -> tuple[bytes | None, str | None]:
    """Identifier and label, at least one of them not None."""
    tags = OBJECT_TAGS[kind]
    # An empty label names nothing. Beside an identifier it is no contradiction either.
    identifier, label = fields.get(tags.id), fields.get(tags.label) or None
    if identifier is None and label is None:
        raise TlvError(f"tag {tags.id:02X} (identifier) or {tags.label:02X} (label) is missing")
    if identifier is not None:
        check_identifier(identifier)
    return identifier, None if label is None else label.decode("ascii", "replace")
