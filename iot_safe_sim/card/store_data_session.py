"""A STORE DATA session: the blocks of one administration command so far (GlobalPlatform 2.3, section 11.11)."""

from __future__ import annotations

from dataclasses import dataclass

from iot_safe_sim.card.objects import MAX_FILE_SIZE
from iot_safe_sim.interface import AppletError, StatusWord

#: Bytes of a command: it carries at most one file and its attributes.
MAX_COMMAND = MAX_FILE_SIZE + 512


@dataclass(frozen=True)
class StoreDataSession:
    """An immutable value; `add` returns the next one."""

    received: bytes = b""
    next_block: int = 0

    def check_number(self, number: int) -> None:
        """Raises AppletError unless block `number` is the next one, or 0, which starts a new command."""
        if number not in (0, self.next_block):
            raise AppletError(
                StatusWord.INCORRECT_P1_P2, f"block {number}, expected {self.next_block} or 0 to start again"
            )

    def add(self, number: int, data: bytes) -> StoreDataSession:
        """The session after block `number`. Raises AppletError when the command is too long."""
        received = (self.received if number else b"") + data
        if len(received) > MAX_COMMAND:
            raise AppletError(StatusWord.MEMORY, f"command of over {MAX_COMMAND} bytes")
        return StoreDataSession(received, number + 1)
