"""GENERATE KEY PAIR, READ PUBLIC KEY and PUT PUBLIC KEY."""

from __future__ import annotations

from dataclasses import replace

from iot_safe_sim.card.channels import Channel
from iot_safe_sim.card.commands.session_control import closes_session, is_last, open_session
from iot_safe_sim.card.conditions import require_access, require_function, require_p1_p2, require_point
from iot_safe_sim.card.content import CardContent
from iot_safe_sim.card.object_tags import OBJECT_TAGS
from iot_safe_sim.card.objects import Access, Function, PrivateKey, PublicKey
from iot_safe_sim.card.public_key_session import PutPublicKeySession
from iot_safe_sim.card.references import find_object, find_public_key
from iot_safe_sim.interface import (
    AppletError,
    Command,
    Fields,
    Response,
    StatusWord,
    Tag,
    TlvError,
    encode_public_key,
    encode_tlv,
)


def generate_key_pair(content: CardContent, channel: Channel, command: Command) -> Response:
    """Both identifiers, which are equal, and the public key. The private key stays in the key store."""
    require_p1_p2(command, 0, 0)
    key = find_object(content.store, PrivateKey, Fields.parse(command.data, OBJECT_TAGS[PrivateKey].reference))
    require_function(key, Function.GENERATE)
    point = content.generate_key(key)
    identifiers = encode_tlv(Tag.PRIVATE_KEY_ID, key.id) + encode_tlv(Tag.PUBLIC_KEY_ID, key.id)
    return Response(identifiers + encode_public_key(point))


def read_public_key(content: CardContent, channel: Channel, command: Command) -> Response:
    """A peer's key, or the public half of a key pair."""
    require_p1_p2(command, 0, 0)
    key = find_public_key(content.store, Fields.parse(command.data, OBJECT_TAGS[PublicKey].reference))
    require_access(key, Access.READ)
    return Response(encode_public_key(require_point(key)))


def put_public_key_init(content: CardContent, channel: Channel, command: Command) -> Response:
    """PUT PUBLIC KEY INIT: open a session (P1 00) or close it (P1 01)."""
    if closes_session(command, channel.public_keys):
        return Response()
    key = find_object(content.store, PublicKey, Fields.parse(command.data, OBJECT_TAGS[PublicKey].reference))
    require_access(key, Access.UPDATE)
    channel.public_keys[command.p2] = PutPublicKeySession(key.id)
    return Response()


def put_public_key_update(content: CardContent, channel: Channel, command: Command) -> Response:
    """PUT PUBLIC KEY UPDATE: a part of the object. A point that is not on the curve is not stored."""
    session = open_session(channel.public_keys, command)
    last = is_last(command)
    try:
        following, point = session.update(command.data, last=last)
    except TlvError:
        raise
    except ValueError as error:
        raise AppletError(StatusWord.INCORRECT_DATA, str(error)) from error
    if last:
        key = content.store.public_keys.get(session.key)
        if key is None:
            raise AppletError(StatusWord.NOT_FOUND, "the container was deleted meanwhile")
        content.commit(content.store.with_object(replace(key, point=point)))
    channel.public_keys[command.p2] = following
    return Response()
