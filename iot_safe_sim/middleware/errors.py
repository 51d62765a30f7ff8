"""What can go wrong between a client and a card, and in TLS with the card's key."""

from __future__ import annotations

from iot_safe_sim.interface import Command, Ins, StatusWord


class CardError(Exception):
    """The card failed, or the connection to it."""


class TransportError(CardError):
    """No valid response from the modem: it is not there, is too slow, or does not speak AT."""


class CommandFailedError(CardError):
    """The applet refused a command. `status` is its status word."""

    def __init__(self, command: Command, status: int) -> None:
        name = Ins(command.ins).name if command.ins in list(Ins) else f"{command.ins:02X}"
        reason = StatusWord(status).name.lower().replace("_", " ") if status in list(StatusWord) else "unknown"
        super().__init__(f"{name}: the card answers {status:04X} ({reason})")
        self.status = status


class CardTlsError(OSError):
    """A TLS connection could not be made, or broke; the text says during which operation."""


class CardTlsBrokenError(CardTlsError, ConnectionError):
    """An established connection broke, or nothing came in time."""
