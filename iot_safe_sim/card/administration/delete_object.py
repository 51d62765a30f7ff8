"""E1: delete an object, and the key behind it."""

from __future__ import annotations

from iot_safe_sim.card.content import CardContent
from iot_safe_sim.card.object_tags import OBJECT_TAGS
from iot_safe_sim.interface import AppletError, StatusWord, TlvError, parse_tlv


def delete_object(content: CardContent, value: bytes) -> bytes:
    """Returns nothing."""
    elements = parse_tlv(value)
    kinds = {int(tags.id): kind for kind, tags in OBJECT_TAGS.items()}
    if len(elements) != 1 or elements[0].tag not in kinds:
        raise TlvError("expected exactly one identifier: 83, 84, 85 or 86")
    kind, identifier = kinds[elements[0].tag], elements[0].value
    if not content.store.has(kind, identifier):
        raise AppletError(StatusWord.NOT_FOUND, f"no {kind.__name__} {identifier.hex()}")
    content.commit(content.store.without(kind, identifier))
    return b""
