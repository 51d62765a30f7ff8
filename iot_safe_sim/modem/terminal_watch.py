"""Which clients have a terminal open, by the kernel's file notifications (inotify)."""

from __future__ import annotations

import ctypes
import os
import struct

from iot_safe_sim.modem.errors import PortError

# inotify(7).
_IN_CLOSE_WRITE, _IN_CLOSE_NOWRITE, _IN_OPEN = 0x08, 0x10, 0x20
_EVENT = struct.Struct("iIII")
_READ_SIZE = 4096


class TerminalWatch:
    """Counts the clients of a terminal. `descriptor` becomes readable when one opens or closes it."""

    def __init__(self, device: str) -> None:
        """Watch `device`, a path below /dev. Raises PortError."""
        library = ctypes.CDLL(None, use_errno=True)
        self.descriptor: int = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = _IN_OPEN | _IN_CLOSE_WRITE | _IN_CLOSE_NOWRITE
        if self.descriptor < 0 or library.inotify_add_watch(self.descriptor, device.encode(), mask) < 0:
            raise PortError(f"{device}: cannot be watched: {os.strerror(ctypes.get_errno())}")
        self.clients = 0

    def last_client_left(self) -> bool:
        """Read what has happened. True when the last client left, whether or not another has come since."""
        left = False
        while True:
            try:
                data = os.read(self.descriptor, _READ_SIZE)
            except BlockingIOError:
                return left
            offset = 0
            while offset < len(data):
                _, mask, _, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size + length
                if mask & _IN_OPEN:
                    self.clients += 1
                elif mask & (_IN_CLOSE_WRITE | _IN_CLOSE_NOWRITE):
                    self.clients = max(0, self.clients - 1)
                    left = left or self.clients == 0

    def close(self) -> None:
        """Stop watching."""
        os.close(self.descriptor)
