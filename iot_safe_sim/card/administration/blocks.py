"""STORE DATA: collect the blocks of a command, then execute it."""

from __future__ import annotations

from collections.abc import Callable

from iot_safe_sim.card.administration.delete_object import delete_object
from iot_safe_sim.card.administration.generate_csr import generate_csr
from iot_safe_sim.card.administration.move_objects import move_objects
from iot_safe_sim.card.administration.put_object import put_object
from iot_safe_sim.card.channels import Channel
from iot_safe_sim.card.content import CardContent
from iot_safe_sim.card.store_data_session import StoreDataSession
from iot_safe_sim.interface import AppletError, Command, Response, StatusWord, Tag, TlvError, parse_tlv

#: P1: the last block; and GlobalPlatform's format bit for BER-TLV, which may be set.
_P1_LAST, _P1_BER_TLV = 0x80, 0x10


def store_data(content: CardContent, channel: Channel, command: Command) -> Response:
    """Take one block. With the last block, execute the command."""
    if command.p1 & ~(_P1_LAST | _P1_BER_TLV):
        raise AppletError(StatusWord.INCORRECT_P1_P2, f"P1 {command.p1:02X}: expected 00, 10, 80 or 90")
    session = channel.store_data
    session.check_number(command.p2)
    # Unless this block fits and is not the last, the next block starts a new command.
    channel.store_data = StoreDataSession()
    session = session.add(command.p2, command.data)
    if not command.p1 & _P1_LAST:
        channel.store_data = session
        return Response()
    return Response(_execute(content, session.received))


def _execute(content: CardContent, data: bytes) -> bytes:
    elements = parse_tlv(data)
    if len(elements) != 1 or elements[0].tag not in _COMMANDS:
        raise TlvError("expected exactly one of the command elements E0, E1, E2, E3")
    return _COMMANDS[elements[0].tag](content, elements[0].value)


_COMMANDS: dict[int, Callable[[CardContent, bytes], bytes]] = {
    Tag.PUT_OBJECT: put_object,
    Tag.DELETE_OBJECT: delete_object,
    Tag.GENERATE_CSR: generate_csr,
    Tag.MOVE_OBJECTS: move_objects,
}
