"""The commands of the IoT SAFE interface (GSMA IoT.05). Each takes the applet, the channel and the command.

Each gives the response data, and the status word when it is not 9000. AppletError and TlvError refuse;
nothing has changed then.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from iot_safe_sim import crypto, discovery, tlv
from iot_safe_sim.apdu import MAX_RESPONSE_DATA, AppletError, Command, StatusWord
from iot_safe_sim.objects import (
    MAX_ID_LENGTH,
    MIN_CONTAINER_SIZE,
    Access,
    AnyObject,
    File,
    Function,
    ObjectT,
    PrivateKey,
    PublicKey,
    Secret,
    Store,
)
from iot_safe_sim.sessions import (
    TAG_HASH_ALGORITHM,
    TAG_MODE,
    TAG_SIGNATURE_ALGORITHM,
    PutPublicKeySession,
    SignatureSession,
)
from iot_safe_sim.tlv import Fields, TlvError

if TYPE_CHECKING:
    from iot_safe_sim.applet import Applet, Channel

Result = tuple[bytes, int] | tuple[bytes]
SessionT = TypeVar("SessionT", SignatureSession, PutPublicKeySession)

DONE: Result = (b"",)
P1_LAST = 0x80


def get_random(applet: Applet, channel: Channel, command: Command) -> Result:
    """GET RANDOM: exactly Le bytes."""
    _require_p1p2(command, 0, 0)
    if command.data or command.le is None:
        raise AppletError(StatusWord.WRONG_LENGTH, "GET RANDOM has Le and no data")
    return (os.urandom(command.wanted),)


def generate_key_pair(applet: Applet, channel: Channel, command: Command) -> Result:
    """GENERATE KEY PAIR: identifiers and public key; the private half stays here."""
    _require_p1p2(command, 0, 0)
    key = find_object(applet.store, PrivateKey, Fields.parse(command.data, {0x84, 0x74}))
    require_function(key, Function.GENERATE)
    filled = fill_key(applet, applet.store, key)
    assert filled.public is not None
    public = crypto.encode_public_key(filled.public)
    return (tlv.encode(0x84, filled.id) + tlv.encode(0x85, filled.id) + public,)


def fill_key(applet: Applet, store: Store, key: PrivateKey) -> PrivateKey:
    """Put a new key pair into a container and commit `store` with it. The key is made first, the old one goes
    last.
    """
    handle, point = applet.keys.generate(persistent=not key.volatile)
    filled = replace(key, handle=handle, public=point)
    try:
        applet.commit(store.with_object(filled))
    except AppletError:
        applet.keys.destroy(handle)
        raise
    return filled


def read_public_key(applet: Applet, channel: Channel, command: Command) -> Result:
    """READ PUBLIC KEY: a peer's key, or the public half of a key pair, which has the private key's
    identifier.
    """
    _require_p1p2(command, 0, 0)
    fields = Fields.parse(command.data, {0x85, 0x75})
    return (crypto.encode_public_key(_public_point(applet.store, fields, Access.READ)),)


def put_public_key_init(applet: Applet, channel: Channel, command: Command) -> Result:
    """PUT PUBLIC KEY INIT (P1 00), or the end of the session (P1 01)."""
    if _closes(command, channel.public_keys):
        return DONE
    fields = Fields.parse(command.data, {0x85, 0x75})
    key = find_object(applet.store, PublicKey, fields)
    _require_access(key, Access.UPDATE)
    channel.public_keys[command.p2] = PutPublicKeySession(key.id)
    return DONE


def put_public_key_update(applet: Applet, channel: Channel, command: Command) -> Result:
    """PUT PUBLIC KEY UPDATE: the object in one or more pieces, checked to be on the curve before
    it is kept.
    """
    session = _session(channel.public_keys, command)
    last = _is_last(command)
    try:
        following, point = session.update(command.data, last=last)
    except TlvError:
        raise
    except ValueError as error:
        raise AppletError(StatusWord.INCORRECT_DATA, str(error)) from error
    if last:
        key = applet.store.public_keys.get(session.key)
        if key is None:
            raise AppletError(StatusWord.NOT_FOUND, "the container was deleted meanwhile")
        applet.commit(applet.store.with_object(replace(key, point=point)))
    channel.public_keys[command.p2] = following
    return DONE


def compute_signature_init(applet: Applet, channel: Channel, command: Command) -> Result:
    """COMPUTE SIGNATURE INIT (P1 00), or the end of the session (P1 01)."""
    if _closes(command, channel.signatures):
        return DONE
    fields = _signature_fields(command, {0x84, 0x74})
    key = find_object(applet.store, PrivateKey, fields)
    require_function(key, Function.SIGN)
    require_filled(key)
    channel.signatures[command.p2] = SignatureSession.open(key.id, fields)
    return DONE


def compute_signature_update(applet: Applet, channel: Channel, command: Command) -> Result:
    """COMPUTE SIGNATURE UPDATE: with the last one comes the signature."""
    session = _session(channel.signatures, command)
    last = _is_last(command)
    following, digest, _ = session.update(command.data, last=last, verify=False)
    if not last:
        channel.signatures[command.p2] = following
        return DONE
    key = applet.store.private_keys.get(session.key)
    if key is None or key.handle is None:
        raise AppletError(StatusWord.NOT_FOUND, "the key was deleted meanwhile")
    signature = _sign_without_leading_zeros(applet, key.handle, digest)
    channel.signatures[command.p2] = following
    return (crypto.encode_signature(signature, wide_length=applet.wide_signature_length(channel)),)


def _sign_without_leading_zeros(applet: Applet, handle: str, digest: bytes) -> bytes:
    """Sign until neither r nor s starts with 00.

    Thales' client writes 32-byte INTEGERs into DER whatever they start with; a strict verifier refuses those
    with superfluous zeros, one signature in 128.
    """
    while True:
        signature = applet.keys.sign(handle, digest)
        if signature[0] and signature[32]:
            return signature


def verify_signature_init(applet: Applet, channel: Channel, command: Command) -> Result:
    """VERIFY SIGNATURE INIT (P1 00), or the end of the session (P1 01)."""
    if _closes(command, channel.verifications):
        return DONE
    fields = _signature_fields(command, {0x85, 0x75})
    key = _find_public(applet.store, fields)
    require_filled(key)
    channel.verifications[command.p2] = SignatureSession.open(key.id, fields)
    return DONE


def verify_signature_update(applet: Applet, channel: Channel, command: Command) -> Result:
    """VERIFY SIGNATURE UPDATE: 9000 when the signature is right, 6D01 when it is not."""
    session = _session(channel.verifications, command)
    last = _is_last(command)
    following, digest, signature = session.update(command.data, last=last, verify=True)
    if last:
        assert signature is not None
        point = _public_point(applet.store, Fields([tlv.Tlv(0x85, session.key)], {0x85}), Access.NONE)
        right = crypto.verify(point, digest, signature)
        channel.verifications[command.p2] = following
        return DONE if right else (b"", StatusWord.SIGNATURE_MISMATCH)
    channel.verifications[command.p2] = following
    return DONE


def compute_dh(applet: Applet, channel: Channel, command: Command) -> Result:
    """COMPUTE DH: the X coordinate, 32 raw bytes."""
    _require_p1p2(command, 0, 0)
    fields = Fields.parse(command.data, {0x84, 0x74, 0x85, 0x75})
    key = find_object(applet.store, PrivateKey, fields)
    require_function(key, Function.AGREE)
    require_filled(key)
    assert key.handle is not None
    return (applet.keys.agree(key.handle, _public_point(applet.store, fields, Access.NONE)),)


def compute_prf(applet: Applet, channel: Channel, command: Command) -> Result:
    """COMPUTE PRF (TLS 1.2, SHA-256). P1: 00 secret in the command, 01 PSK, 02 PSK with an ECDH result."""
    if command.p1 > 2 or command.p2:
        raise AppletError(StatusWord.INCORRECT_P1_P2, "COMPUTE PRF has P1 00, 01 or 02 and P2 00")
    source = ({0xD1}, {0x86, 0x76}, {0x86, 0x76, 0xD4})[command.p1]
    fields = Fields.parse(command.data, source | {0xD2, 0xD3})
    length = fields.number(0xD3, 1)
    if not length:
        raise TlvError("tag D3: 0 bytes asked for")
    label_and_seed = fields.require(0xD2)
    if command.p1 == 0:
        secret = fields.require(0xD1)
    else:
        other = fields.require(0xD4) if command.p1 == 2 else None
        held = find_object(applet.store, Secret, fields)
        require_function(held, Function.DERIVE)
        require_filled(held)
        assert held.handle is not None
        secret = crypto.psk_premaster_secret(applet.keys.secret(held.handle), other)
    return (crypto.tls12_prf(secret, label_and_seed, length),)


def compute_hkdf(applet: Applet, channel: Channel, command: Command) -> Result:
    """COMPUTE HKDF: extract; the pseudo-random key as raw bytes."""
    _require_p1p2(command, 0, 0)
    fields = Fields.parse(command.data, {0xD1, 0xD5, TAG_HASH_ALGORITHM})
    algorithm = fields.number(TAG_HASH_ALGORITHM, 2)
    if algorithm not in crypto.HASHES:
        raise TlvError(f"hash algorithm {algorithm:04X}: expected 0001, 0002 or 0004")
    return (crypto.hkdf_extract(crypto.HASHES[algorithm], fields.get(0xD5) or b"", fields.require(0xD1)),)


def get_data(applet: Applet, channel: Channel, command: Command) -> Result:
    """GET DATA: 0000 the application, 0100 and 0101 the object list, C1-C4 00 one object."""
    match command.p1, command.p2:
        case 0x00, 0x00:
            _require_no_data(command)
            return (discovery.application_information(),)
        case 0x01, 0x00 | 0x01:
            _require_no_data(command)
            if command.p2 == 0:
                channel.listing = discovery.pages(discovery.object_list(applet.store), MAX_RESPONSE_DATA)
            if not channel.listing:
                raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, "there is no further part of the list")
            page = channel.listing.pop(0)
            return page, StatusWord.MORE_DATA if channel.listing else StatusWord.OK
        case 0xC3, 0x00:
            return (discovery.describe_file(find_object(applet.store, File, Fields.parse(command.data, {0x83, 0x73}))),)
        case 0xC1, 0x00:
            return (
                discovery.describe(find_object(applet.store, PrivateKey, Fields.parse(command.data, {0x84, 0x74}))),
            )
        case 0xC2, 0x00:
            fields = Fields.parse(command.data, {0x85, 0x75})
            return (discovery.describe(_find_public(applet.store, fields)),)
        case 0xC4, 0x00:
            return (discovery.describe(find_object(applet.store, Secret, Fields.parse(command.data, {0x86, 0x76}))),)
    raise AppletError(StatusWord.INCORRECT_P1_P2, f"GET DATA {command.p1:02X}{command.p2:02X}")


def read_file(applet: Applet, channel: Channel, command: Command) -> Result:
    """READ FILE from an offset: as many bytes as wanted, or as there are, and zeros past the end of the content.

    Some clients ignore the size and read the whole container: an empty answer would make them loop for ever,
    an error would fail the read. Others count what they get: when they name no length, the last part is short.
    """
    offset = command.p1 << 8 | command.p2
    file = find_object(applet.store, File, Fields.parse(command.data, {0x83, 0x73}))
    _require_access(file, Access.READ)
    require_filled(file)
    if offset >= max(MIN_CONTAINER_SIZE, file.size):
        raise AppletError(StatusWord.INCORRECT_P1_P2, f"offset {offset} is outside the file")
    assert file.content is not None
    size = min(command.wanted, MAX_RESPONSE_DATA)
    part = file.content[offset : offset + size]
    return (part if part and not command.le else part.ljust(size, b"\0"),)


def _require_p1p2(command: Command, p1: int, p2: int) -> None:
    if (command.p1, command.p2) != (p1, p2):
        raise AppletError(
            StatusWord.INCORRECT_P1_P2, f"P1 P2 {command.p1:02X}{command.p2:02X}, expected {p1:02X}{p2:02X}"
        )


def _require_no_data(command: Command) -> None:
    if command.data:
        raise AppletError(StatusWord.WRONG_LENGTH, f"{len(command.data)} bytes of data, expected none")


def require_function(key: PrivateKey | Secret, function: Function) -> None:
    if not key.functions & function:
        raise AppletError(
            StatusWord.CONDITIONS_NOT_SATISFIED, f"key {key.id.hex()} may not be used for {function.name}"
        )


def _require_access(item: AnyObject, access: Access) -> None:
    if item.access & access != access:
        raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, f"object {item.id.hex()}: no {access.name} access")


def require_filled(item: AnyObject) -> None:
    if not item.filled:
        raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, f"container {item.id.hex()} is empty")


def _require_session_number(command: Command) -> None:
    if command.p2 >= discovery.MAX_SESSIONS:
        raise AppletError(
            StatusWord.INCORRECT_P1_P2, f"session {command.p2}: expected 0 to {discovery.MAX_SESSIONS - 1}"
        )


def _closes(command: Command, sessions: dict[int, SessionT]) -> bool:
    """True when the command was the end of a session (done here); False when it opens one."""
    _require_session_number(command)
    if command.p1 == 0x00:
        return False
    if command.p1 != 0x01:
        raise AppletError(StatusWord.INCORRECT_P1_P2, f"P1 {command.p1:02X}: expected 00 (open) or 01 (close)")
    _require_no_data(command)
    if sessions.pop(command.p2, None) is None:
        raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, f"session {command.p2} is not open")
    return True


def _session(sessions: dict[int, SessionT], command: Command) -> SessionT:
    _require_session_number(command)
    session = sessions.get(command.p2)
    if session is None or session.finished:
        raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, f"session {command.p2} was not opened")
    return session


def _is_last(command: Command) -> bool:
    if command.p1 not in (0x00, P1_LAST):
        raise AppletError(StatusWord.INCORRECT_P1_P2, f"P1 {command.p1:02X}: expected 00 or 80 (last)")
    return command.p1 == P1_LAST


def _signature_fields(command: Command, key_tags: set[int]) -> Fields:
    return Fields.parse(command.data, key_tags | {TAG_MODE, TAG_HASH_ALGORITHM, TAG_SIGNATURE_ALGORITHM})


def _reference(kind: type[AnyObject], fields: Fields) -> tuple[bytes | None, str | None]:
    """Identifier and label by which a command names an object. At least one must be there."""
    _, label_tag, id_tag = discovery.TAGS[kind]
    # An empty label names nothing; beside an identifier it is no contradiction either.
    identifier, label = fields.get(id_tag), fields.get(label_tag) or None
    if identifier is None and label is None:
        raise TlvError(f"tag {id_tag:02X} (identifier) or {label_tag:02X} (label) is missing")
    if identifier is not None and not 1 <= len(identifier) <= MAX_ID_LENGTH:
        raise TlvError(f"identifier of {len(identifier)} bytes: expected 1 to {MAX_ID_LENGTH}")
    return identifier, None if label is None else label.decode("ascii", "replace")


def find_object(store: Store, kind: type[ObjectT], fields: Fields) -> ObjectT:
    identifier, label = _reference(kind, fields)
    found = store.find(kind, id=identifier, label=label)
    if found is None:
        name = identifier.hex() if identifier is not None else repr(label)
        raise AppletError(StatusWord.NOT_FOUND, f"no {kind.__name__} {name}")
    return found


def _find_public(store: Store, fields: Fields) -> PublicKey:
    """A public key by reference: a peer's first, else the public half of the key pair of that identifier."""
    identifier, label = _reference(PublicKey, fields)
    peer = store.find(PublicKey, id=identifier, label=label)
    if peer is not None:
        return peer
    pair = store.find(PrivateKey, id=identifier, label=label)
    if pair is None:
        raise AppletError(StatusWord.NOT_FOUND, "no such public key")
    return discovery.public_half(pair)


def _public_point(store: Store, fields: Fields, access: Access) -> bytes:
    key = _find_public(store, fields)
    _require_access(key, access)
    require_filled(key)
    assert key.point is not None
    return key.point
