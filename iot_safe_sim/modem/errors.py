"""What can go wrong with the serial port."""

from __future__ import annotations


class PortError(Exception):
    """The port cannot be created; the text says why."""
