"""COMPUTE DH, COMPUTE PRF and COMPUTE HKDF: what a TLS handshake needs beside signatures."""

from __future__ import annotations

from iot_safe_sim.card import key_derivation
from iot_safe_sim.card.channels import Channel
from iot_safe_sim.card.conditions import require_function, require_handle, require_p1_p2, require_point
from iot_safe_sim.card.content import CardContent
from iot_safe_sim.card.object_tags import OBJECT_TAGS
from iot_safe_sim.card.objects import Function, PrivateKey, PublicKey, Secret
from iot_safe_sim.card.references import find_object, find_public_key
from iot_safe_sim.interface import HASH_ALGORITHMS, AppletError, Command, Fields, Response, StatusWord, Tag, TlvError

#: P1 of COMPUTE PRF: where the secret comes from.
_PRF_WITH_SECRET, _PRF_WITH_PSK, _PRF_WITH_PSK_AND_ECDHE = range(3)


def compute_dh(content: CardContent, channel: Channel, command: Command) -> Response:
    """The X coordinate of the shared point: 32 bytes, without a tag."""
    require_p1_p2(command, 0, 0)
    references = OBJECT_TAGS[PrivateKey].reference | OBJECT_TAGS[PublicKey].reference
    fields = Fields.parse(command.data, references)
    key = find_object(content.store, PrivateKey, fields)
    require_function(key, Function.AGREE)
    handle = require_handle(key)
    return Response(content.keys.agree(handle, require_point(find_public_key(content.store, fields))))


def compute_prf(content: CardContent, channel: Channel, command: Command) -> Response:
    """The TLS 1.2 PRF with SHA-256. The secret is in the command, a PSK on the card, or a PSK with an ECDH result."""
    if command.p1 > _PRF_WITH_PSK_AND_ECDHE or command.p2:
        raise AppletError(StatusWord.INCORRECT_P1_P2, "COMPUTE PRF has P1 00, 01 or 02 and P2 00")
    reference = OBJECT_TAGS[Secret].reference
    source = ({Tag.SECRET_VALUE}, reference, reference | {Tag.PREMASTER_SECRET})[command.p1]
    fields = Fields.parse(command.data, source | {Tag.LABEL_AND_SEED, Tag.OUTPUT_LENGTH})
    length = fields.number(Tag.OUTPUT_LENGTH, 1)
    if not length:
        raise TlvError("tag D3: 0 bytes asked for")
    label_and_seed = fields.require(Tag.LABEL_AND_SEED)
    if command.p1 == _PRF_WITH_SECRET:
        secret = fields.require(Tag.SECRET_VALUE)
    else:
        secret = _psk_premaster_secret(content, fields, ecdhe=command.p1 == _PRF_WITH_PSK_AND_ECDHE)
    return Response(key_derivation.tls12_prf(secret, label_and_seed, length))


def _psk_premaster_secret(content: CardContent, fields: Fields, *, ecdhe: bool) -> bytes:
    other = fields.require(Tag.PREMASTER_SECRET) if ecdhe else None
    psk = find_object(content.store, Secret, fields)
    require_function(psk, Function.DERIVE)
    return key_derivation.psk_premaster_secret(content.keys.secret(require_handle(psk)), other)


def compute_hkdf(content: CardContent, channel: Channel, command: Command) -> Response:
    """HKDF-Extract: the pseudo-random key, without a tag."""
    require_p1_p2(command, 0, 0)
    fields = Fields.parse(command.data, {Tag.SECRET_VALUE, Tag.SALT, Tag.HASH_ALGORITHM})
    algorithm = fields.number(Tag.HASH_ALGORITHM, 2)
    if algorithm not in HASH_ALGORITHMS:
        raise TlvError(f"hash algorithm {algorithm:04X}: expected 0001, 0002 or 0004")
    salt, key_material = fields.get(Tag.SALT) or b"", fields.require(Tag.SECRET_VALUE)
    return Response(key_derivation.hkdf_extract(HASH_ALGORITHMS[algorithm], salt, key_material))
