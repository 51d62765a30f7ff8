"""The IoT SAFE applet: a command APDU in, a response APDU out.

This module does dispatch, SELECT, MANAGE CHANNEL and GET RESPONSE. A command either succeeds, and its effect is durable
before the response, or it is refused and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from iot_safe_sim.card.channels import CHANNELS, Channel, LogicalChannels
from iot_safe_sim.card.content import CardContent
from iot_safe_sim.card.dispatch import HANDLERS
from iot_safe_sim.card.object_store import ObjectStore
from iot_safe_sim.card.signature_format import WIDE_LENGTH_BY_AID, SignatureFormat
from iot_safe_sim.interface import (
    MAX_RESPONSE_DATA,
    AppletError,
    Command,
    Ins,
    Response,
    StatusWord,
    TlvError,
)
from iot_safe_sim.keystore import KeyStore, KeyStoreError

log = structlog.get_logger("iot_safe_sim")

#: Bits of CLA that must be zero. Clients send 0x or 8x, which mean the same here; the two low bits are the channel.
_CLA_MASK = 0x7C


class Applet:
    """`save` makes an object store durable, or raises OSError. It is called before a change becomes visible."""

    def __init__(
        self,
        store: ObjectStore,
        keys: KeyStore,
        save: Callable[[ObjectStore], None],
        *,
        signature_format: SignatureFormat = SignatureFormat.BY_AID,
        administration_open: bool = True,
    ) -> None:
        self.content = CardContent(store, keys, save)
        #: Why the last command was refused, for a trace; empty when it was not.
        self.last_detail = ""
        self._administration_open = administration_open
        self._signature_format = signature_format
        self._channels = LogicalChannels()

    @property
    def store(self) -> ObjectStore:
        """The objects as they are now."""
        return self.content.store

    @property
    def keys(self) -> KeyStore:
        """The key store behind the objects."""
        return self.content.keys

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The logical channels, by number."""
        return self._channels.channels

    def is_open(self, channel: int) -> bool:
        """Whether a client has opened logical channel `channel` (MANAGE CHANNEL)."""
        return 1 <= channel < CHANNELS and self.channels[channel].opened

    def process(self, raw: bytes) -> bytes:
        """Execute one command. Raises nothing: any input gives a response that ends with a status word."""
        self.last_detail = ""
        try:
            response = self._execute(Command.from_bytes(raw))
        except AppletError as error:
            response = self._refused(error.status, error.detail)
        except TlvError as error:
            response = self._refused(StatusWord.INCORRECT_DATA, str(error))
        except KeyStoreError as error:
            response = self._refused(StatusWord.UNKNOWN_ERROR, str(error))
            log.error("key_store_failed", error=str(error))
        except Exception as error:
            # A defect here: refuse this command and go on serving. The fuzz tests count these as failures.
            response = self._refused(StatusWord.UNKNOWN_ERROR, f"internal error: {type(error).__name__}")
            log.exception("internal_error", command_header=raw[:4].hex())
        return response.to_bytes()

    def reset(self) -> None:
        """A card reset: channels are closed, sessions and volatile keys are deleted."""
        self._channels.reset()
        self.content.delete_volatile_keys()

    def _refused(self, status: StatusWord, detail: str) -> Response:
        self.last_detail = detail
        return Response(status=status)

    def _execute(self, command: Command) -> Response:
        if command.cla & _CLA_MASK:
            raise AppletError(StatusWord.UNKNOWN_CLASS, f"CLA {command.cla:02X}: expected 00-03 or 80-83")
        channel = self._channels.use(command.channel)
        if command.ins == Ins.GET_RESPONSE:
            return _get_response(channel, command)
        channel.pending = b""
        if command.ins == Ins.MANAGE_CHANNEL:
            return _respond(channel, command, self._manage_channel(command))
        if command.ins == Ins.SELECT:
            return self._select(channel, command)
        handler = HANDLERS.get(command.ins)
        if handler is None:
            raise AppletError(StatusWord.UNKNOWN_INSTRUCTION, f"INS {command.ins:02X}")
        if channel.aid is None:
            raise AppletError(
                StatusWord.CONDITIONS_NOT_SATISFIED, f"the applet is not selected on channel {channel.number}"
            )
        if command.ins == Ins.STORE_DATA and not self._administration_open:
            raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, "administration is closed on this card")
        return _respond(channel, command, handler(self.content, channel, command))

    def _manage_channel(self, command: Command) -> Response:
        if command.data:
            raise AppletError(StatusWord.WRONG_LENGTH, "MANAGE CHANNEL has no data")
        if (command.p1, command.p2) == (0x00, 0x00):
            return Response(bytes([self._channels.open()]))
        if command.p1 == 0x80:
            self._channels.close(command.p2 or command.channel)
            return Response()
        raise AppletError(StatusWord.INCORRECT_P1_P2, f"MANAGE CHANNEL P1 {command.p1:02X} P2 {command.p2:02X}")

    def _select(self, channel: Channel, command: Command) -> Response:
        """SELECT by AID. It works on a channel that was never opened, because wolfSSL uses channel 1 that way."""
        if command.p1 != 0x04 or command.p2 not in (0x00, 0x0C):
            raise AppletError(StatusWord.INCORRECT_P1_P2, "SELECT is by AID: P1 04, P2 00 or 0C")
        if command.data not in WIDE_LENGTH_BY_AID:
            raise AppletError(StatusWord.NOT_FOUND, f"no applet {command.data.hex().upper() or '(empty)'} here")
        channel.reset(command.data)
        channel.wide_signature_length = self._signature_format.is_wide(command.data)
        return Response()


def _respond(channel: Channel, command: Command, response: Response) -> Response:
    """Send the data at once when the client asked for them (Le), else announce them (61xx).

    Data that start with 61 are always announced, because wolfSSL takes them for a status word.
    """
    data, status = response.data, response.status
    if not data:
        return response
    if command.le is None or data[0] == 0x61:
        channel.pending, channel.pending_status = data, status
        return Response(status=0x6100 | min(len(data), MAX_RESPONSE_DATA))
    return _chunk(channel, data, status, command.wanted)


def _chunk(channel: Channel, data: bytes, status: int, wanted: int) -> Response:
    size = min(wanted, MAX_RESPONSE_DATA)
    channel.pending, channel.pending_status = data[size:], status
    left = len(channel.pending)
    return Response(data[:size], 0x6100 | min(left, MAX_RESPONSE_DATA) if left else status)


def _get_response(channel: Channel, command: Command) -> Response:
    if command.p1 or command.p2:
        raise AppletError(StatusWord.INCORRECT_P1_P2, "GET RESPONSE has P1 P2 0000")
    if command.data:
        raise AppletError(StatusWord.WRONG_LENGTH, "GET RESPONSE has no data")
    if not channel.pending:
        raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, "no response is waiting")
    return _chunk(channel, channel.pending, channel.pending_status, command.wanted)
