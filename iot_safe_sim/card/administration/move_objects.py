"""E3: move a key, and optionally a file, to another container. Both move in one step.

This is how a new key and its certificate replace the current ones. The card never holds a key and a certificate that
do not belong together.
"""

from __future__ import annotations

from dataclasses import replace

from iot_safe_sim.card.conditions import require_content, require_handle
from iot_safe_sim.card.content import CardContent
from iot_safe_sim.card.object_store import ObjectStore
from iot_safe_sim.interface import AppletError, StatusWord, Tag, TlvError, parse_tlv

_KEYS = [Tag.PRIVATE_KEY_ID, Tag.PRIVATE_KEY_ID]
_KEYS_AND_FILES = [*_KEYS, Tag.FILE_ID, Tag.FILE_ID]


def move_objects(content: CardContent, value: bytes) -> bytes:
    """Returns nothing."""
    elements = parse_tlv(value)
    if [element.tag for element in elements] not in (_KEYS, _KEYS_AND_FILES):
        raise TlvError("expected 84 from, 84 to, and optionally 83 from, 83 to")
    store = _with_moved_key(content.store, elements[0].value, elements[1].value)
    if len(elements) == len(_KEYS_AND_FILES):
        store = _with_moved_file(store, elements[2].value, elements[3].value)
    content.commit(store)
    return b""


def _with_moved_key(store: ObjectStore, source: bytes, target: bytes) -> ObjectStore:
    old, new = store.private_keys.get(source), store.private_keys.get(target)
    if old is None or new is None:
        raise AppletError(StatusWord.NOT_FOUND, f"no private key {(source if old is None else target).hex()}")
    require_handle(old)
    if source == target or old.key_type != new.key_type:
        raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, "the two containers must differ, and be of one type")
    filled = replace(new, handle=old.handle, public=old.public)
    return store.with_object(filled).with_object(old.emptied())


def _with_moved_file(store: ObjectStore, source: bytes, target: bytes) -> ObjectStore:
    old, new = store.files.get(source), store.files.get(target)
    if old is None or new is None:
        raise AppletError(StatusWord.NOT_FOUND, f"no file {(source if old is None else target).hex()}")
    content = require_content(old)
    if source == target:
        raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, "the two files must differ")
    return store.with_object(replace(new, content=content)).with_object(replace(old, content=None))
