"""COMPUTE SIGNATURE and VERIFY SIGNATURE."""

from __future__ import annotations

from iot_safe_sim.card.channels import Channel
from iot_safe_sim.card.commands.session_control import closes_session, is_last, open_session
from iot_safe_sim.card.conditions import require_function, require_handle, require_point
from iot_safe_sim.card.content import CardContent
from iot_safe_sim.card.object_tags import OBJECT_TAGS
from iot_safe_sim.card.objects import Function, PrivateKey, PublicKey
from iot_safe_sim.card.references import find_object, find_public_key
from iot_safe_sim.card.signature_session import SIGNATURE_PARAMETERS, SignatureSession
from iot_safe_sim.interface import (
    COORDINATE_SIZE,
    AppletError,
    Command,
    Fields,
    Response,
    StatusWord,
    Tag,
    Tlv,
    encode_signature,
    verify_signature,
)
from iot_safe_sim.keystore import KeyStore


def compute_signature_init(content: CardContent, channel: Channel, command: Command) -> Response:
    """COMPUTE SIGNATURE INIT: open a session (P1 00) or close it (P1 01)."""
    if closes_session(command, channel.signatures):
        return Response()
    fields = Fields.parse(command.data, OBJECT_TAGS[PrivateKey].reference | SIGNATURE_PARAMETERS)
    key = find_object(content.store, PrivateKey, fields)
    require_function(key, Function.SIGN)
    require_handle(key)
    channel.signatures[command.p2] = SignatureSession.open(key.id, fields)
    return Response()


def compute_signature_update(content: CardContent, channel: Channel, command: Command) -> Response:
    """COMPUTE SIGNATURE UPDATE. The response to the last one is the signature."""
    session = open_session(channel.signatures, command)
    last = is_last(command)
    following, digest, _ = session.update(command.data, last=last, verify=False)
    if not last:
        channel.signatures[command.p2] = following
        return Response()
    key = content.store.private_keys.get(session.key)
    if key is None or key.handle is None:
        raise AppletError(StatusWord.NOT_FOUND, "the key was deleted meanwhile")
    signature = _sign_without_leading_zeros(content.keys, key.handle, digest)
    channel.signatures[command.p2] = following
    return Response(encode_signature(signature, wide_length=channel.wide_signature_length))


def _sign_without_leading_zeros(keys: KeyStore, handle: str, digest: bytes) -> bytes:
    """Sign until neither r nor s starts with 00.

    The Thales client writes r and s into DER as INTEGERs of 32 bytes each. A strict verifier refuses a leading zero
    there, which one signature in 128 has.
    """
    while True:
        signature = keys.sign(handle, digest)
        if signature[0] and signature[COORDINATE_SIZE]:
            return signature


def verify_signature_init(content: CardContent, channel: Channel, command: Command) -> Response:
    """VERIFY SIGNATURE INIT: open a session (P1 00) or close it (P1 01)."""
    if closes_session(command, channel.verifications):
        return Response()
    fields = Fields.parse(command.data, OBJECT_TAGS[PublicKey].reference | SIGNATURE_PARAMETERS)
    key = find_public_key(content.store, fields)
    require_point(key)
    channel.verifications[command.p2] = SignatureSession.open(key.id, fields)
    return Response()


def verify_signature_update(content: CardContent, channel: Channel, command: Command) -> Response:
    """VERIFY SIGNATURE UPDATE. The last one gives 9000 for a right signature and 6D01 for a wrong one."""
    session = open_session(channel.verifications, command)
    last = is_last(command)
    following, digest, signature = session.update(command.data, last=last, verify=True)
    status = StatusWord.OK
    if signature is not None:
        identifier = Tlv(Tag.PUBLIC_KEY_ID, session.key)
        point = require_point(find_public_key(content.store, Fields([identifier], {Tag.PUBLIC_KEY_ID})))
        status = StatusWord.OK if verify_signature(point, digest, signature) else StatusWord.SIGNATURE_MISMATCH
    channel.verifications[command.p2] = following
    return Response(status=status)
