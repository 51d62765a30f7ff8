"""GET DATA and READ FILE."""

from __future__ import annotations

from iot_safe_sim.card import discovery
from iot_safe_sim.card.channels import Channel
from iot_safe_sim.card.conditions import require_access, require_content, require_no_data
from iot_safe_sim.card.content import CardContent
from iot_safe_sim.card.object_tags import OBJECT_TAGS
from iot_safe_sim.card.objects import MIN_CONTAINER_SIZE, Access, File, PrivateKey, PublicKey, Secret
from iot_safe_sim.card.references import find_object, find_public_key
from iot_safe_sim.interface import MAX_RESPONSE_DATA, AppletError, Command, Fields, Response, StatusWord, Tag


def get_data(content: CardContent, channel: Channel, command: Command) -> Response:
    """P1 P2 0000: the applet. 0100 and 0101: the object list. C100 to C400: one object."""
    match command.p1, command.p2:
        case 0x00, 0x00:
            require_no_data(command)
            return Response(discovery.application_information())
        case 0x01, 0x00 | 0x01:
            require_no_data(command)
            return _object_list(content, channel, first=command.p2 == 0)
        case ((Tag.PRIVATE_KEY_ENTRY | Tag.PUBLIC_KEY_ENTRY | Tag.FILE_ENTRY | Tag.SECRET_ENTRY), 0x00):
            return Response(_object(content, command))
    raise AppletError(StatusWord.INCORRECT_P1_P2, f"GET DATA {command.p1:02X}{command.p2:02X}")


def _object_list(content: CardContent, channel: Channel, *, first: bool) -> Response:
    """One page of the object list. Status 6300 means that there are more."""
    if first:
        channel.object_list = discovery.pages(discovery.object_list(content.store), MAX_RESPONSE_DATA)
    if not channel.object_list:
        raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, "there is no further part of the list")
    page = channel.object_list.pop(0)
    return Response(page, StatusWord.MORE_DATA if channel.object_list else StatusWord.OK)


def _object(content: CardContent, command: Command) -> bytes:
    kind = next(kind for kind, tags in OBJECT_TAGS.items() if tags.entry == command.p1)
    fields = Fields.parse(command.data, OBJECT_TAGS[kind].reference)
    if kind is File:
        return discovery.describe_file(find_object(content.store, File, fields))
    if kind is PublicKey:
        return discovery.describe(find_public_key(content.store, fields))
    if kind is PrivateKey:
        return discovery.describe(find_object(content.store, PrivateKey, fields))
    return discovery.describe(find_object(content.store, Secret, fields))


def read_file(content: CardContent, channel: Channel, command: Command) -> Response:
    """Bytes of a file from an offset (P1 P2), with zeros after the end of the content.

    Some clients ignore the size and read the whole container: an empty response would make them loop indefinitely, and
    an error would fail the read. Other clients count the bytes that they get. They send no Le, or Le 00, and get a last
    part that is short.
    """
    offset = command.p1 << 8 | command.p2
    file = find_object(content.store, File, Fields.parse(command.data, OBJECT_TAGS[File].reference))
    require_access(file, Access.READ)
    data = require_content(file)
    if offset >= max(MIN_CONTAINER_SIZE, file.size):
        raise AppletError(StatusWord.INCORRECT_P1_P2, f"offset {offset} is outside the file")
    size = min(command.wanted, MAX_RESPONSE_DATA)
    part = data[offset : offset + size]
    return Response(part if part and not command.le else part.ljust(size, b"\0"))
