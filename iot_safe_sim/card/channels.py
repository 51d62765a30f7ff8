"""Logical channels (ISO/IEC 7816-4, ETSI TS 102 221 section 8.7) and what a client has open on each."""

from __future__ import annotations

from dataclasses import dataclass, field

from iot_safe_sim.card.public_key_session import PutPublicKeySession
from iot_safe_sim.card.signature_session import SignatureSession
from iot_safe_sim.card.store_data_session import StoreDataSession
from iot_safe_sim.interface import AppletError, StatusWord

#: The basic channel 0, and three more.
CHANNELS = 4


@dataclass
class Channel:
    """One logical channel. `aid` is None until the applet is selected on it."""

    number: int
    opened: bool = False
    #: Counts commands, not seconds: the channel with the lowest number was unused longest.
    last_used: int = 0
    aid: bytes | None = None
    wide_signature_length: bool = True
    #: A response that GET RESPONSE collects, and the status word that ends it.
    pending: bytes = b""
    pending_status: int = StatusWord.OK
    signatures: dict[int, SignatureSession] = field(default_factory=dict)
    verifications: dict[int, SignatureSession] = field(default_factory=dict)
    public_keys: dict[int, PutPublicKeySession] = field(default_factory=dict)
    store_data: StoreDataSession = field(default_factory=StoreDataSession)
    #: What is left of an object list that the client is reading.
    object_list: list[bytes] = field(default_factory=list)

    def reset(self, aid: bytes | None = None) -> None:
        """Drop every session and the pending response, as SELECT and closing do. `aid` is selected then."""
        vars(self).update(vars(Channel(self.number, self.opened, self.last_used, aid)))


class LogicalChannels:
    """The channels of one card."""

    def __init__(self) -> None:
        self.channels = tuple(Channel(number, opened=number == 0) for number in range(CHANNELS))
        self._commands = 0

    def use(self, number: int) -> Channel:
        """The channel of the command that has arrived."""
        self._commands += 1
        channel = self.channels[number]
        channel.last_used = self._commands
        return channel

    def open(self) -> int:
        """Open the lowest free channel, or else the one that was unused longest. Returns its number.

        This deviates from ISO/IEC 7816-4, which refuses when no channel is free. Clients that crashed leave their
        channels open, and nothing else would close them. A channel on which a client selected the applet without
        opening it counts as free.
        """
        free = [channel for channel in self.channels[1:] if not channel.opened]
        channel = free[0] if free else min(self.channels[1:], key=lambda entry: entry.last_used)
        channel.reset()
        channel.opened = True
        channel.last_used = self._commands
        return channel.number

    def close(self, number: int) -> None:
        """Close a channel. Raises AppletError when it is the basic one, or is not open."""
        if not 1 <= number < CHANNELS:
            raise AppletError(StatusWord.INCORRECT_P1_P2, f"channel {number} cannot be closed")
        channel = self.channels[number]
        if not channel.opened and channel.aid is None:
            raise AppletError(StatusWord.CONDITIONS_NOT_SATISFIED, f"channel {number} is not open")
        channel.opened = False
        channel.reset()

    def reset(self) -> None:
        """Close every channel but the basic one, and drop all sessions."""
        for channel in self.channels:
            channel.opened = channel.number == 0
            channel.reset()
