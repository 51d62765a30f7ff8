"""The IoT SAFE applet: an APDU in, an APDU out.

Logical channels, SELECT, GET RESPONSE and dispatch are here; what the commands do is in `commands` and
`administration`. A command either succeeds, with its effect durable before the answer, or is refused and
changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import structlog

from iot_safe_sim import administration, commands, layout
from iot_safe_sim.apdu import MAX_RESPONSE_DATA, AppletError, Command, Ins, Response, StatusWord
from iot_safe_sim.keystore import KeyStore, KeyStoreError
from iot_safe_sim.objects import PrivateKey, PublicKey, Store
from iot_safe_sim.sessions import PutPublicKeySession, SignatureSession
from iot_safe_sim.tlv import TlvError

log = structlog.get_logger("iot_safe_sim")

CHANNELS = 4
#: CLA 0x and 8x are accepted alike (clients differ); the low bits are the channel, the rest must be zero.
_CLA_MASK = 0x7C


class SignatureFormat(Enum):
    """How the length of a computed signature is written."""

    BY_AID = "by-aid"
    WIDE = "16-bit"
    SHORT = "8-bit"


#: AIDs of this applet; True where clients expect the 16-bit signature length.
AIDS = {layout.GSMA_AID: True, layout.THALES_AID: False, layout.THALES_AID_2025: False}


@dataclass
class Channel:
    """One logical channel. `aid` is None until the applet is selected on it."""

    number: int
    opened: bool = False
    last_used: int = 0
    aid: bytes | None = None
    #: An answer that GET RESPONSE collects, and the status word that ends it.
    pending: bytes = b""
    pending_status: int = StatusWord.OK
    signatures: dict[int, SignatureSession] = field(default_factory=dict)
    verifications: dict[int, SignatureSession] = field(default_factory=dict)
    public_keys: dict[int, PutPublicKeySession] = field(default_factory=dict)
    stored_data: administration.Transfer = field(default_factory=administration.Transfer)
    listing: list[bytes] = field(default_factory=list)

    def reset(self, aid: bytes | None) -> None:
        """Forget every session: what SELECT and closing do."""
        vars(self).update(vars(Channel(self.number, self.opened, self.last_used, aid)))


class Applet:
    """The card. `save` makes a store durable or raises OSError; it is called before a change
    becomes visible.
    """

    def __init__(
        self,
        store: Store,
        keys: KeyStore,
        save: Callable[[Store], None],
        *,
        signature_format: SignatureFormat = SignatureFormat.BY_AID,
        administration_open: bool = True,
    ) -> None:
        self.store = store
        self.keys = keys
        self.administration_open = administration_open
        self._save = save
        self._signature_format = signature_format
        self._clock = 0
        self.channels = [Channel(number, opened=number == 0) for number in range(CHANNELS)]
        self.last_detail = ""
        self._collect_strays()

    def _collect_strays(self) -> None:
        """Destroy keys that no object refers to: a crash between making a key and committing it
        leaves one.
        """
        for handle in self.keys.handles() - self.store.handles():
            self.keys.destroy(handle)
            log.info("stray_key_destroyed", handle=handle)

    def process(self, raw: bytes) -> bytes:
        """Execute one command. Any input gives a response that ends with a status word; nothing is raised."""
        self.last_detail = ""
        try:
            response = self._execute(Command.from_bytes(raw))
        except AppletError as error:
            self.last_detail = error.detail
            response = Response(b"", error.status)
        except TlvError as error:
            self.last_detail = str(error)
            response = Response(b"", StatusWord.INCORRECT_DATA)
        except KeyStoreError as error:
            self.last_detail = str(error)
            log.error("key_store_failed", error=str(error))
            response = Response(b"", StatusWord.UNKNOWN_ERROR)
        except Exception as error:
            # A defect here: refuse this command and go on serving. The fuzz tests count these as failures.
            self.last_detail = f"internal error: {type(error).__name__}"
            log.exception("internal_error", command_header=raw[:4].hex())
            response = Response(b"", StatusWord.UNKNOWN_ERROR)
        return response.to_bytes()

    def commit(self, store: Store) -> None:
        """Make `store` the state: durable first, then visible. Raises AppletError, and then nothing has
        changed.
        """
        if store.to_json() != self.store.to_json():
            try:
                self._save(store)
            except OSError as error:
                log.error("state_not_saved", error=str(error))
                raise AppletError(StatusWord.MEMORY, f"the state could not be saved: {error.strerror}") from error
        abandoned = self.store.handles() - store.handles()
        self.store = store
        for handle in abandoned:
            try:
                self.keys.destroy(handle)
            except KeyStoreError as error:
                # The change itself is done; the next start collects what is left.
                log.warning("old_key_not_destroyed", handle=handle, error=str(error))

    def wide_signature_length(self, channel: Channel) -> bool:
        """Whether signatures on `channel` carry the 16-bit length."""
        if self._signature_format is SignatureFormat.BY_AID:
            return AIDS.get(channel.aid or b"", True)
        return self._signature_format is SignatureFormat.WIDE

    def reset(self) -> None:
        """A card reset: channels closed, sessions and volatile keys gone."""
        for channel in self.channels:
            channel.opened = channel.number == 0
            channel.reset(None)
        store = self.store
        for key in list(store.private_keys.values()):
            if key.volatile and key.handle is not None:
                store = store.with_object(_emptied(key))
        for peer in list(store.public_keys.values()):
            if peer.volatile and peer.point is not None:
                store = store.with_object(_emptied_peer(peer))
        self.commit(store)

    def _execute(self, command: Command) -> Response:
        if command.cla & _CLA_MASK:
            raise AppletError(StatusWord.UNKNOWN_CLASS, f"CLA {command.cla:02X}: expected 00-03 or 80-83")
        channel = self.channels[command.channel]
        self._clock += 1
        channel.last_used = self._clock
        if command.ins == Ins.GET_RESPONSE:
            return self._get_response(channel, command)
        channel.pending = b""
        if command.ins == Ins.MANAGE_CHANNEL:
            return self._answer(channel, command, self._manage_channel(command))
        if command.ins == Ins.SELECT:
            return self._select(channel, command)
        handler = _HANDLERS.get(command.ins)
        if handler is None:
            raise AppletError(StatusWord.UNKNOWN_INSTRUCTION, f"INS {command.ins:02X}")
        if channel.aid is None:
            raise AppletError(
                StatusWord.CONDITIONS_NOT_SATISFIED, f"the applet is not selected on channel {channel.number}"
            )
        return self._answer(channel, command, *handler(self, channel, command))

    def _answer(self, channel: Channel, command: Command, data: bytes = b"", status: int = StatusWord.OK) -> Response:
        """Send data at once when the client asked for it (Le), else announce it (61xx).

        Data that start with 61 are always announced: wolfSSL takes them for a status word.
        """
        if not data:
            return Response(b"", status)
        if command.le is None or data[0] == 0x61:
            channel.pending, channel.pending_status = data, status
            return Response(b"", 0x6100 | min(len(data), MAX_RESPONSE_DATA))
        return self._chunk(channel, data, status, command.wanted)

    def _chunk(self, channel: Channel, data: bytes, status: int, wanted: int) -> Response:
        size = min(wanted, MAX_RESPONSE_DATA)
        channel.pending, channel.pending_status = data[size:], status
        left = len(channel.pending)
        return Response(data[:size], 0x6100 | min(left, MAX_RESPONSE_DATA) if left else status)

    def _get_response(self, channel: Channel, command: Command) -> Response:
        if command.p1 or command.p2:
            raise AppletError(StatusWord.INCORRECT_P1_P2, "GET RESPONSE has P1 P2 0000")
        if command.data:
            raise AppletError(StatusWord.WRONG_LENGTH, "GET RESPONSE has no data")
        if not channel.pending:
            raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, "no response is waiting")
        return self._chunk(channel, channel.pending, channel.pending_status, command.wanted)

    def _manage_channel(self, command: Command) -> bytes:
        if command.data:
            raise AppletError(StatusWord.WRONG_LENGTH, "MANAGE CHANNEL has no data")
        if (command.p1, command.p2) == (0x00, 0x00):
            return bytes([self._open_channel()])
        if command.p1 == 0x80:
            number = command.p2 or command.channel
            if not 1 <= number < CHANNELS:
                raise AppletError(StatusWord.INCORRECT_P1_P2, f"channel {number} cannot be closed")
            channel = self.channels[number]
            if not channel.opened and channel.aid is None:
                raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, f"channel {number} is not open")
            channel.opened = False
            channel.reset(None)
            return b""
        raise AppletError(StatusWord.INCORRECT_P1_P2, f"MANAGE CHANNEL P1 {command.p1:02X} P2 {command.p2:02X}")

    def _open_channel(self) -> int:
        """The lowest free channel, else the one that was unused longest.

        A deviation from ISO 7816-4, which refuses: clients that died left their channels open, and nothing
        else would ever close them. A channel on which a client selected without opening it counts as free.
        """
        candidates = [channel for channel in self.channels[1:] if not channel.opened]
        channel = candidates[0] if candidates else min(self.channels[1:], key=lambda entry: entry.last_used)
        channel.reset(None)
        channel.opened = True
        channel.last_used = self._clock
        return channel.number

    def _select(self, channel: Channel, command: Command) -> Response:
        """SELECT by AID. It works on a channel that was never opened: wolfSSL uses channel 1 that way."""
        if command.p1 != 0x04 or command.p2 not in (0x00, 0x0C):
            raise AppletError(StatusWord.INCORRECT_P1_P2, "SELECT is by AID: P1 04, P2 00 or 0C")
        if command.data not in AIDS:
            raise AppletError(StatusWord.NOT_FOUND, f"no applet {command.data.hex().upper() or '(empty)'} here")
        channel.reset(command.data)
        return Response(b"", StatusWord.OK)


def _emptied(key: PrivateKey) -> PrivateKey:
    return PrivateKey(**{**vars(key), "handle": None, "public": None})


def _emptied_peer(key: PublicKey) -> PublicKey:
    return PublicKey(**{**vars(key), "point": None})


Handler = Callable[[Applet, Channel, Command], tuple[bytes, int] | tuple[bytes]]

_HANDLERS: dict[int, Handler] = {
    Ins.GET_RANDOM: commands.get_random,
    Ins.GENERATE_KEY_PAIR: commands.generate_key_pair,
    Ins.READ_PUBLIC_KEY: commands.read_public_key,
    Ins.PUT_PUBLIC_KEY_INIT: commands.put_public_key_init,
    Ins.PUT_PUBLIC_KEY_UPDATE: commands.put_public_key_update,
    Ins.COMPUTE_SIGNATURE_INIT: commands.compute_signature_init,
    Ins.COMPUTE_SIGNATURE_UPDATE: commands.compute_signature_update,
    Ins.VERIFY_SIGNATURE_INIT: commands.verify_signature_init,
    Ins.VERIFY_SIGNATURE_UPDATE: commands.verify_signature_update,
    Ins.COMPUTE_DH: commands.compute_dh,
    Ins.COMPUTE_PRF: commands.compute_prf,
    Ins.COMPUTE_HKDF: commands.compute_hkdf,
    Ins.GET_DATA: commands.get_data,
    Ins.READ_FILE: commands.read_file,
    Ins.STORE_DATA: administration.store_data,
}
