"""Ways to a card that carry one APDU at a time."""

from __future__ import annotations

from typing import Protocol


class Transport(Protocol):
    """How APDUs reach a card."""

    def transmit(self, apdu: bytes) -> bytes:
        """Send a command APDU and return the response APDU. Raises TransportError."""


class _Processor(Protocol):
    def process(self, raw: bytes) -> bytes: ...


class MemoryTransport:
    """Passes APDUs to an applet in this process, or to anything else with the method `process`."""

    def __init__(self, applet: _Processor) -> None:
        self._applet = applet

    def transmit(self, apdu: bytes) -> bytes:
        """See Transport.transmit."""
        return self._applet.process(apdu)
