"""What GET DATA tells: the application's capabilities, and every object's attributes."""

from __future__ import annotations

from iot_safe_sim import tlv
from iot_safe_sim.objects import (
    MAX_OBJECTS,
    MIN_CONTAINER_SIZE,
    Access,
    AnyObject,
    File,
    PrivateKey,
    PublicKey,
    Secret,
    Store,
)

MAX_SESSIONS = 8
#: Tag 11 has 32 bytes.
APPLET_NAME = b"iot-safe-sim".ljust(32, b"\0")

#: Object kind: container tag, label tag, identifier tag.
TAGS: dict[type[AnyObject], tuple[int, int, int]] = {
    PrivateKey: (0xC1, 0x74, 0x84),
    PublicKey: (0xC2, 0x75, 0x85),
    Secret: (0xC4, 0x76, 0x86),
    File: (0xC3, 0x73, 0x83),
}


def application_information() -> bytes:
    """GET DATA 00 00: 44h bytes in the order that clients without a TLV parser expect."""
    return b"".join(
        tlv.encode(tag, value)
        for tag, value in (
            (0x10, b"\x01"),
            (0x11, APPLET_NAME),
            (0xB1, bytes([MAX_OBJECTS])),
            (0xB2, bytes([MAX_OBJECTS])),
            (0xB3, bytes([MAX_OBJECTS])),
            (0xB4, bytes([MAX_OBJECTS])),
            (0x90, b"\x0f"),
            (0x91, b"\x00\x07"),
            (0x92, b"\x04"),
            (0x93, b"\x01"),
            (0x94, b"\x03"),
            (0xB7, bytes([MAX_SESSIONS])),
        )
    )


def describe(item: AnyObject) -> bytes:
    """One entry of the object list, and the answer to GET DATA C1, C2 and C4."""
    return _entry(item, _size(item.size) + _usage(item) if isinstance(item, File) else _key_attributes(item))


def describe_file(item: File) -> bytes:
    """The answer to GET DATA C3: without label, usage before size.

    Of an empty file, the size of its container: Thales' client looks for a size that is not 0, for ever.
    """
    size = item.size if item.filled else MIN_CONTAINER_SIZE
    body = tlv.encode(0x83, item.id) + _common(item) + _usage(item) + _size(size)
    return tlv.encode(0xC3, body)


def object_list(store: Store) -> list[bytes]:
    """Every object's entry in the order private keys, public keys, secrets, files: one client reads only
    forward.
    """
    items: list[AnyObject] = [
        *store.private_keys.values(),
        *(public_half(key) for key in store.private_keys.values()),
        *store.public_keys.values(),
        *store.secrets.values(),
        *store.files.values(),
    ]
    return [describe(item) for item in items]


def public_half(key: PrivateKey) -> PublicKey:
    """The public key object that belongs to a key pair: same identifier, not for anybody to overwrite."""
    return PublicKey(key.id, key.label, Access.READ, key.key_type, key.usage, key.functions, key.public)


def pages(entries: list[bytes], size: int) -> list[bytes]:
    """Entries joined into answers of at most `size` bytes, never cutting an entry. At least one page."""
    result = [b""]
    for entry in entries:
        if len(result[-1]) + len(entry) > size:
            result.append(b"")
        result[-1] += entry
    return result


def _entry(item: AnyObject, attributes: bytes) -> bytes:
    outer, label_tag, id_tag = TAGS[type(item)]
    label = tlv.encode(label_tag, item.label.encode("ascii")) if item.label else b""
    return tlv.encode(outer, label + tlv.encode(id_tag, item.id) + _common(item) + attributes)


def _common(item: AnyObject) -> bytes:
    return tlv.encode(0x60, bytes([item.access])) + tlv.encode(0x4A, bytes([item.filled]))


def _size(octets: int) -> bytes:
    return tlv.encode(0x20, octets.to_bytes(2, "big"))


def _usage(item: File) -> bytes:
    return tlv.encode(0x21, bytes([item.usage]))


def _key_attributes(item: AnyObject) -> bytes:
    if isinstance(item, Secret):
        return b"\x4b\x01\xa0" + tlv.encode(0x61, bytes([item.functions])) + b"\x94\x01\x01"
    assert isinstance(item, PrivateKey | PublicKey)
    body = tlv.encode(0x4B, bytes([item.key_type])) + tlv.encode(0x4E, bytes([item.usage]))
    return body + tlv.encode(0x61, bytes([item.functions])) + b"\x92\x01\x04\x91\x02\x00\x07\x6f\x01\x01"
