"""What GET DATA returns: the capabilities of the applet, and the attributes of every object."""

from __future__ import annotations

from iot_safe_sim.card.object_store import ObjectStore
from iot_safe_sim.card.object_tags import OBJECT_TAGS
from iot_safe_sim.card.objects import (
    KEY_TYPE_HMAC,
    MAX_OBJECTS,
    MIN_CONTAINER_SIZE,
    AnyObject,
    File,
    PrivateKey,
    PublicKey,
    Secret,
)
from iot_safe_sim.card.references import public_half
from iot_safe_sim.interface import SignatureAlgorithm, Tag, encode_tlv

#: Signature sessions per channel, and as many PUT PUBLIC KEY sessions.
MAX_SESSIONS = 8
#: Tag 11 has 32 bytes.
APPLET_NAME = b"iot-safe-sim".ljust(32, b"\0")
#: SHA-256, SHA-384 and SHA-512.
_HASH_ALGORITHMS = b"\x00\x07"
_SIGNATURE_ALGORITHMS = bytes([SignatureAlgorithm.ECDSA])


def application_information() -> bytes:
    """GET DATA 0000: 44h bytes, in the order that clients without a TLV parser expect."""
    maximum = bytes([MAX_OBJECTS])
    return b"".join(
        encode_tlv(tag, value)
        for tag, value in (
            (Tag.VERSION, b"\x01"),
            (Tag.APPLET_NAME, APPLET_NAME),
            (Tag.MAX_FILES, maximum),
            (Tag.MAX_PRIVATE_KEYS, maximum),
            (Tag.MAX_PUBLIC_KEYS, maximum),
            (Tag.MAX_SECRETS, maximum),
            (Tag.CRYPTO_FUNCTIONS, b"\x0f"),
            (Tag.HASH_ALGORITHM, _HASH_ALGORITHMS),
            (Tag.SIGNATURE_ALGORITHM, _SIGNATURE_ALGORITHMS),
            (Tag.KEY_AGREEMENT_ALGORITHMS, b"\x01"),
            (Tag.KEY_DERIVATION_ALGORITHMS, b"\x03"),
            (Tag.MAX_SESSIONS, bytes([MAX_SESSIONS])),
        )
    )


def describe(item: AnyObject) -> bytes:
    """One entry of the object list, and the response to GET DATA C1, C2 and C4."""
    return _entry(item, _size(item.size) + _usage(item) if isinstance(item, File) else _key_attributes(item))


def describe_file(item: File) -> bytes:
    """The response to GET DATA C3: without a label, usage before size.

    The size of an empty file is that of its container: the Thales client repeats the command until the size is not 0.
    """
    size = item.size if item.filled else MIN_CONTAINER_SIZE
    body = encode_tlv(Tag.FILE_ID, item.id) + _common(item) + _usage(item) + _size(size)
    return encode_tlv(Tag.FILE_ENTRY, body)


def object_list(store: ObjectStore) -> list[bytes]:
    """The entries of all objects, ordered by kind (private keys, public keys, secrets, files) as one client needs."""
    items: list[AnyObject] = [
        *store.private_keys.values(),
        *(public_half(key) for key in store.private_keys.values()),
        *store.public_keys.values(),
        *store.secrets.values(),
        *store.files.values(),
    ]
    return [describe(item) for item in items]


def pages(entries: list[bytes], size: int) -> list[bytes]:
    """Join entries into responses of at most `size` bytes, without splitting an entry. At least one page."""
    result = [b""]
    for entry in entries:
        if len(result[-1]) + len(entry) > size:
            result.append(b"")
        result[-1] += entry
    return result


def _entry(item: AnyObject, attributes: bytes) -> bytes:
    tags = OBJECT_TAGS[type(item)]
    label = encode_tlv(tags.label, item.label.encode("ascii")) if item.label else b""
    return encode_tlv(tags.entry, label + encode_tlv(tags.id, item.id) + _common(item) + attributes)


def _common(item: AnyObject) -> bytes:
    return encode_tlv(Tag.ACCESS, bytes([item.access])) + encode_tlv(Tag.STATE, bytes([item.filled]))


def _size(octets: int) -> bytes:
    return encode_tlv(Tag.FILE_SIZE, octets.to_bytes(2, "big"))


def _usage(item: File) -> bytes:
    return encode_tlv(Tag.FILE_USAGE, bytes([item.usage]))


def _key_attributes(item: PrivateKey | PublicKey | Secret) -> bytes:
    functions = encode_tlv(Tag.FUNCTIONS, bytes([item.functions]))
    if isinstance(item, Secret):
        key_type = encode_tlv(Tag.KEY_TYPE, bytes([KEY_TYPE_HMAC]))
        return key_type + functions + encode_tlv(Tag.KEY_DERIVATION_ALGORITHMS, b"\x01")
    return b"".join(
        (
            encode_tlv(Tag.KEY_TYPE, bytes([item.key_type])),
            encode_tlv(Tag.KEY_USAGE, bytes([item.usage])),
            functions,
            encode_tlv(Tag.SIGNATURE_ALGORITHM, _SIGNATURE_ALGORITHMS),
            encode_tlv(Tag.HASH_ALGORITHM, _HASH_ALGORITHMS),
            encode_tlv(Tag.KEY_AGREEMENT, b"\x01"),
        )
    )
