"""Remote administration by GlobalPlatform STORE DATA: objects, on-card CSR, promotion of a key.

A command is one TLV, in as many blocks as it needs (P1 80 marks the last, P2 counts). It takes effect whole,
with the last block. Brackets mark what may be left out; an update leaves what was not sent as it is.

- `E0 { C3 { 83 id [73 label] [60 access] [21 usage] [70 content] } }`: create or update a file.
- `E0 { C1 { 84 id [74 label] [60 access] [4B type] [4E usage] [61 functions] [B9 00] } }`: a key pair
  container; with `B9 00`, a key is made in it now.
- `E0 { C2 { 85 id [75 label] [60 access] [4B type] [61 functions] } }`: container of a peer's public key.
- `E0 { C4 { 86 id [76 label] [60 access] [61 functions] [D1 value] } }`: a shared secret.
- `E1 { 83, 84, 85 or 86 id }`: delete.
- `E2 { 84 id or 74 label, 50 subject Name, [51 attributes] }`: sign a PKCS#10 request into file 80000000.
- `E3 { 84 from, 84 to, [83 from, 83 to] }`: move a key (and a file) over another, both in one step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from iot_safe_sim import crypto, csr, discovery, layout, tlv
from iot_safe_sim.apdu import AppletError, Command, StatusWord
from iot_safe_sim.commands import Result, fill_key, find_object, require_filled, require_function
from iot_safe_sim.objects import (
    KEY_TYPE_P256_PERSISTENT,
    KEY_TYPE_P256_VOLATILE,
    MAX_FILE_SIZE,
    MAX_ID_LENGTH,
    MAX_LABEL_LENGTH,
    MAX_OBJECTS,
    Access,
    AnyObject,
    File,
    Function,
    PrivateKey,
    PublicKey,
    Secret,
    Store,
)
from iot_safe_sim.tlv import Fields, TlvError

if TYPE_CHECKING:
    from iot_safe_sim.applet import Applet, Channel

#: A command carries at most one file and its attributes.
MAX_TRANSFER = MAX_FILE_SIZE + 512
MAX_SECRET = 64
TAG_ACCESS, TAG_KEY_TYPE, TAG_USAGE, TAG_FUNCTIONS = 0x60, 0x4B, 0x4E, 0x61
TAG_FILE_USAGE, TAG_CONTENT, TAG_GENERATE, TAG_SECRET = 0x21, 0x70, 0xB9, 0xD1
TAG_SUBJECT, TAG_ATTRIBUTES = 0x50, 0x51
#: P1: last block, and GlobalPlatform's "BER-TLV" format bit, which may be set.
_P1_LAST, _P1_BER = 0x80, 0x10

ItemT = TypeVar("ItemT", PrivateKey, PublicKey, Secret, File)


@dataclass
class Transfer:
    """The blocks of a command so far."""

    received: bytes = b""
    next_block: int = 0


def store_data(applet: Applet, channel: Channel, command: Command) -> Result:
    """STORE DATA: take a block; with the last one, carry out the command."""
    if not applet.administration_open:
        raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, "administration is closed on this card")
    if command.p1 & ~(_P1_LAST | _P1_BER):
        raise AppletError(StatusWord.INCORRECT_P1_P2, f"P1 {command.p1:02X}: expected 00, 10, 80 or 90")
    transfer = channel.stored_data
    if command.p2 == 0:
        transfer = Transfer()
    elif command.p2 != transfer.next_block:
        raise AppletError(
            StatusWord.INCORRECT_P1_P2,
            f"block {command.p2}, expected {transfer.next_block} or 0 to start again",
        )
    received = transfer.received + command.data
    if len(received) > MAX_TRANSFER:
        channel.stored_data = Transfer()
        raise AppletError(StatusWord.MEMORY, f"command of over {MAX_TRANSFER} bytes")
    if not command.p1 & _P1_LAST:
        channel.stored_data = Transfer(received, command.p2 + 1)
        return (b"",)
    channel.stored_data = Transfer()
    return (_carry_out(applet, received),)


def _carry_out(applet: Applet, data: bytes) -> bytes:
    elements = tlv.parse(data)
    if len(elements) != 1 or elements[0].tag not in _COMMANDS:
        raise TlvError("expected exactly one of the command elements E0, E1, E2, E3")
    return _COMMANDS[elements[0].tag](applet, elements[0].value)


def _put(applet: Applet, value: bytes) -> bytes:
    elements = tlv.parse(value)
    if len(elements) != 1 or elements[0].tag not in _BUILDERS:
        raise TlvError("expected exactly one object: C1, C2, C3 or C4")
    kind, build = _BUILDERS[elements[0].tag]
    _, label_tag, id_tag = discovery.TAGS[kind]
    fields = Fields.parse(elements[0].value, {id_tag, label_tag, TAG_ACCESS} | _ATTRIBUTES[kind])
    identifier = fields.require(id_tag)
    if not 1 <= len(identifier) <= MAX_ID_LENGTH:
        raise TlvError(f"identifier of {len(identifier)} bytes: expected 1 to {MAX_ID_LENGTH}")
    if not applet.store.has(kind, identifier) and len(applet.store) >= MAX_OBJECTS:
        raise AppletError(StatusWord.CAPACITY, f"the card holds {MAX_OBJECTS} objects already")
    return build(applet, identifier, fields)


def _common(item: ItemT, fields: Fields) -> ItemT:
    """Apply the attributes that every kind has; those not sent stay."""
    label = fields.get(discovery.TAGS[type(item)][1])
    if label is not None:
        if len(label) > MAX_LABEL_LENGTH or not label.isascii():
            raise TlvError(f"label of {len(label)} bytes: expected ASCII, at most {MAX_LABEL_LENGTH}")
        item = replace(item, label=label.decode("ascii"))
    if TAG_ACCESS in fields:
        item = replace(item, access=Access(_bits(fields, TAG_ACCESS, 0x03)))
    return item


def _bits(fields: Fields, tag: int, mask: int) -> int:
    value = fields.number(tag, 1)
    if value & ~mask:
        raise TlvError(f"tag {tag:02X}: {value:02X} has bits outside {mask:02X}")
    return value


def _put_file(applet: Applet, identifier: bytes, fields: Fields) -> bytes:
    file = _common(applet.store.files.get(identifier) or File(identifier), fields)
    if TAG_FILE_USAGE in fields:
        file = replace(file, usage=fields.number(TAG_FILE_USAGE, 1))
    content = fields.get(TAG_CONTENT)
    if content is not None:
        if len(content) > MAX_FILE_SIZE:
            raise AppletError(StatusWord.MEMORY, f"file of {len(content)} bytes: at most {MAX_FILE_SIZE}")
        # An update with empty content empties the container.
        file = replace(file, content=content or None)
    applet.commit(applet.store.with_object(file))
    return b""


def _put_private_key(applet: Applet, identifier: bytes, fields: Fields) -> bytes:
    key = _common(applet.store.private_keys.get(identifier) or PrivateKey(identifier), fields)
    if TAG_KEY_TYPE in fields:
        wanted = _key_type(fields)
        if key.filled and wanted != key.key_type:
            raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, "the type of a filled container cannot change")
        key = replace(key, key_type=wanted)
    if TAG_USAGE in fields:
        key = replace(key, usage=fields.number(TAG_USAGE, 1))
    if TAG_FUNCTIONS in fields:
        key = replace(key, functions=Function(_bits(fields, TAG_FUNCTIONS, 0x0F)))
    if TAG_GENERATE not in fields:
        applet.commit(applet.store.with_object(key))
        return b""
    fields.require(TAG_GENERATE, 0)
    filled = fill_key(applet, applet.store, key)
    assert filled.public is not None
    return crypto.encode_public_key(filled.public)


def _put_public_key(applet: Applet, identifier: bytes, fields: Fields) -> bytes:
    key = _common(applet.store.public_keys.get(identifier) or PublicKey(identifier), fields)
    if TAG_KEY_TYPE in fields:
        key = replace(key, key_type=_key_type(fields))
    if TAG_FUNCTIONS in fields:
        key = replace(key, functions=Function(_bits(fields, TAG_FUNCTIONS, 0x0F)))
    applet.commit(applet.store.with_object(key))
    return b""


def _put_secret(applet: Applet, identifier: bytes, fields: Fields) -> bytes:
    secret = _common(applet.store.secrets.get(identifier) or Secret(identifier), fields)
    if TAG_FUNCTIONS in fields:
        secret = replace(secret, functions=Function(_bits(fields, TAG_FUNCTIONS, 0x0F)))
    value = fields.get(TAG_SECRET)
    if value is None:
        applet.commit(applet.store.with_object(secret))
        return b""
    if not 1 <= len(value) <= MAX_SECRET:
        raise TlvError(f"secret of {len(value)} bytes: expected 1 to {MAX_SECRET}")
    handle = applet.keys.store_secret(value)
    try:
        applet.commit(applet.store.with_object(replace(secret, handle=handle)))
    except AppletError:
        applet.keys.destroy(handle)
        raise
    return b""


def _key_type(fields: Fields) -> int:
    value = fields.number(TAG_KEY_TYPE, 1)
    if value not in (KEY_TYPE_P256_PERSISTENT, KEY_TYPE_P256_VOLATILE):
        raise TlvError(f"key type {value:02X}: only P-256 is offered (13 persistent, 14 volatile)")
    return value


def _delete(applet: Applet, value: bytes) -> bytes:
    elements = tlv.parse(value)
    kinds = {tags[2]: kind for kind, tags in discovery.TAGS.items()}
    if len(elements) != 1 or elements[0].tag not in kinds:
        raise TlvError("expected exactly one identifier: 83, 84, 85 or 86")
    kind, identifier = kinds[elements[0].tag], elements[0].value
    if not applet.store.has(kind, identifier):
        raise AppletError(StatusWord.NOT_FOUND, f"no {kind.__name__} {identifier.hex()}")
    applet.commit(applet.store.without(kind, identifier))
    return b""


def _generate_csr(applet: Applet, value: bytes) -> bytes:
    fields = Fields.parse(value, {0x84, 0x74, TAG_SUBJECT, TAG_ATTRIBUTES})
    key = find_object(applet.store, PrivateKey, fields)
    require_function(key, Function.SIGN)
    require_filled(key)
    assert key.handle is not None
    assert key.public is not None
    handle = key.handle
    try:
        request = csr.build(
            fields.require(TAG_SUBJECT),
            key.public,
            fields.get(TAG_ATTRIBUTES) or b"",
            lambda data: crypto.raw_to_der(applet.keys.sign(handle, crypto.digest("sha256", data))),
        )
    except csr.RequestError as error:
        raise TlvError(str(error)) from error
    file = applet.store.files.get(layout.CSR_FILE) or File(layout.CSR_FILE, layout.CSR_LABEL)
    if layout.CSR_FILE not in applet.store.files and len(applet.store) >= MAX_OBJECTS:
        raise AppletError(StatusWord.CAPACITY, f"the card holds {MAX_OBJECTS} objects already")
    applet.commit(applet.store.with_object(replace(file, content=request)))
    return b""


def _move(applet: Applet, value: bytes) -> bytes:
    elements = tlv.parse(value)
    if [element.tag for element in elements] not in ([0x84, 0x84], [0x84, 0x84, 0x83, 0x83]):
        raise TlvError("expected 84 from, 84 to, and optionally 83 from, 83 to")
    store = _move_key(applet.store, elements[0].value, elements[1].value)
    if len(elements) == 4:
        store = _move_file(store, elements[2].value, elements[3].value)
    applet.commit(store)
    return b""


def _move_key(store: Store, source: bytes, target: bytes) -> Store:
    origin, goal = store.private_keys.get(source), store.private_keys.get(target)
    if origin is None or goal is None:
        raise AppletError(StatusWord.NOT_FOUND, f"no private key {(source if origin is None else target).hex()}")
    require_filled(origin)
    if source == target or origin.key_type != goal.key_type:
        raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, "the two containers must differ, and be of one type")
    return store.with_object(replace(goal, handle=origin.handle, public=origin.public)).with_object(
        replace(origin, handle=None, public=None)
    )


def _move_file(store: Store, source: bytes, target: bytes) -> Store:
    origin, goal = store.files.get(source), store.files.get(target)
    if origin is None or goal is None:
        raise AppletError(StatusWord.NOT_FOUND, f"no file {(source if origin is None else target).hex()}")
    require_filled(origin)
    if source == target:
        raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, "the two files must differ")
    return store.with_object(replace(goal, content=origin.content)).with_object(replace(origin, content=None))


_COMMANDS: dict[int, Callable[[Applet, bytes], bytes]] = {
    0xE0: _put,
    0xE1: _delete,
    0xE2: _generate_csr,
    0xE3: _move,
}
_BUILDERS: dict[int, tuple[type[PrivateKey | PublicKey | Secret | File], Callable[[Applet, bytes, Fields], bytes]]] = {
    0xC1: (PrivateKey, _put_private_key),
    0xC2: (PublicKey, _put_public_key),
    0xC3: (File, _put_file),
    0xC4: (Secret, _put_secret),
}
_ATTRIBUTES: dict[type[AnyObject], set[int]] = {
    PrivateKey: {TAG_KEY_TYPE, TAG_USAGE, TAG_FUNCTIONS, TAG_GENERATE},
    PublicKey: {TAG_KEY_TYPE, TAG_FUNCTIONS},
    File: {TAG_FILE_USAGE, TAG_CONTENT},
    Secret: {TAG_FUNCTIONS, TAG_SECRET},
}
