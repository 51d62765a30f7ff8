"""E0: create an object, or update the attributes that were sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from iot_safe_sim.card.content import CardContent
from iot_safe_sim.card.object_tags import OBJECT_TAGS
from iot_safe_sim.card.objects import (
    KEY_TYPE_P256_PERSISTENT,
    KEY_TYPE_P256_VOLATILE,
    MAX_FILE_SIZE,
    MAX_LABEL_LENGTH,
    MAX_OBJECTS,
    Access,
    AnyObject,
    File,
    Function,
    PrivateKey,
    PublicKey,
    Secret,
)
from iot_safe_sim.card.references import check_identifier
from iot_safe_sim.interface import AppletError, Fields, StatusWord, Tag, TlvError, encode_public_key, parse_tlv

#: Bytes of a shared secret.
MAX_SECRET = 64
_ALL_ACCESS = 0x03
_ALL_FUNCTIONS = 0x0F

ItemT = TypeVar("ItemT", PrivateKey, PublicKey, Secret, File)


def put_object(content: CardContent, value: bytes) -> bytes:
    """Returns the public key object when a key was generated, else nothing."""
    elements = parse_tlv(value)
    kinds = {tags.entry: kind for kind, tags in OBJECT_TAGS.items()}
    if len(elements) != 1 or elements[0].tag not in kinds:
        raise TlvError("expected exactly one object: C1, C2, C3 or C4")
    kind = kinds[Tag(elements[0].tag)]
    allowed = OBJECT_TAGS[kind].reference | {Tag.ACCESS} | _ATTRIBUTES[kind]
    fields = Fields.parse(elements[0].value, allowed)
    identifier = fields.require(OBJECT_TAGS[kind].id)
    check_identifier(identifier)
    if not content.store.has(kind, identifier):
        require_capacity(content)
    return _PUT[kind](content, identifier, fields)


def require_capacity(content: CardContent) -> None:
    """Raises AppletError when the card holds no more objects."""
    if len(content.store) >= MAX_OBJECTS:
        raise AppletError(StatusWord.CAPACITY, f"the card holds {MAX_OBJECTS} objects already")


def _put_file(content: CardContent, identifier: bytes, fields: Fields) -> bytes:
    file = _with_common_attributes(content.store.files.get(identifier) or File(identifier), fields)
    if Tag.FILE_USAGE in fields:
        file = replace(file, usage=fields.number(Tag.FILE_USAGE, 1))
    data = fields.get(Tag.CONTENT)
    if data is not None:
        if len(data) > MAX_FILE_SIZE:
            raise AppletError(StatusWord.MEMORY, f"file of {len(data)} bytes: at most {MAX_FILE_SIZE}")
        # An update with empty content empties the container.
        file = replace(file, content=data or None)
    content.commit(content.store.with_object(file))
    return b""


def _put_private_key(content: CardContent, identifier: bytes, fields: Fields) -> bytes:
    key = _with_common_attributes(content.store.private_keys.get(identifier) or PrivateKey(identifier), fields)
    if Tag.KEY_TYPE in fields:
        key_type = _key_type(fields)
        if key.filled and key_type != key.key_type:
            raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, "the type of a filled container cannot change")
        key = replace(key, key_type=key_type)
    if Tag.KEY_USAGE in fields:
        key = replace(key, usage=fields.number(Tag.KEY_USAGE, 1))
    if Tag.FUNCTIONS in fields:
        key = replace(key, functions=_functions(fields))
    if Tag.GENERATE_KEY not in fields:
        content.commit(content.store.with_object(key))
        return b""
    fields.require(Tag.GENERATE_KEY, 0)
    return encode_public_key(content.generate_key(key))


def _put_public_key(content: CardContent, identifier: bytes, fields: Fields) -> bytes:
    key = _with_common_attributes(content.store.public_keys.get(identifier) or PublicKey(identifier), fields)
    if Tag.KEY_TYPE in fields:
        key = replace(key, key_type=_key_type(fields))
    if Tag.FUNCTIONS in fields:
        key = replace(key, functions=_functions(fields))
    content.commit(content.store.with_object(key))
    return b""


def _put_secret(content: CardContent, identifier: bytes, fields: Fields) -> bytes:
    secret = _with_common_attributes(content.store.secrets.get(identifier) or Secret(identifier), fields)
    if Tag.FUNCTIONS in fields:
        secret = replace(secret, functions=_functions(fields))
    value = fields.get(Tag.SECRET_VALUE)
    if value is None:
        content.commit(content.store.with_object(secret))
        return b""
    if not 1 <= len(value) <= MAX_SECRET:
        raise TlvError(f"secret of {len(value)} bytes: expected 1 to {MAX_SECRET}")
    content.store_secret(secret, value)
    return b""


def _with_common_attributes(item: ItemT, fields: Fields) -> ItemT:
    """Label and access conditions, which every kind has."""
    label = fields.get(OBJECT_TAGS[type(item)].label)
    if label is not None:
        if len(label) > MAX_LABEL_LENGTH or not label.isascii():
            raise TlvError(f"label of {len(label)} bytes: expected ASCII, at most {MAX_LABEL_LENGTH}")
        item = replace(item, label=label.decode("ascii"))
    if Tag.ACCESS in fields:
        item = replace(item, access=Access(_bits(fields, Tag.ACCESS, _ALL_ACCESS)))
    return item


def _functions(fields: Fields) -> Function:
    return Function(_bits(fields, Tag.FUNCTIONS, _ALL_FUNCTIONS))


def _bits(fields: Fields, tag: Tag, mask: int) -> int:
    value = fields.number(tag, 1)
    if value & ~mask:
        raise TlvError(f"tag {tag:02X}: {value:02X} has bits outside {mask:02X}")
    return value


def _key_type(fields: Fields) -> int:
    value = fields.number(Tag.KEY_TYPE, 1)
    if value not in (KEY_TYPE_P256_PERSISTENT, KEY_TYPE_P256_VOLATILE):
        raise TlvError(f"key type {value:02X}: only P-256 is offered (13 persistent, 14 volatile)")
    return value


_PUT: dict[type[AnyObject], Callable[[CardContent, bytes, Fields], bytes]] = {
    PrivateKey: _put_private_key,
    PublicKey: _put_public_key,
    Secret: _put_secret,
    File: _put_file,
}
#: The tags that each kind takes beside identifier, label and access.
_ATTRIBUTES: dict[type[AnyObject], set[int]] = {
    PrivateKey: {Tag.KEY_TYPE, Tag.KEY_USAGE, Tag.FUNCTIONS, Tag.GENERATE_KEY},
    PublicKey: {Tag.KEY_TYPE, Tag.FUNCTIONS},
    Secret: {Tag.FUNCTIONS, Tag.SECRET_VALUE},
    File: {Tag.FILE_USAGE, Tag.CONTENT},
}
