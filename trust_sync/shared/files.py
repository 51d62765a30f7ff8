"""Writes to files that must survive a crash."""

from __future__ import annotations

import os
from pathlib import Path


def write_all(descriptor: int, octets: bytes) -> None:
    """Write all octets, however many system calls that takes. Raises OSError."""
    view = memoryview(octets)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(path: Path) -> None:
    """Make the entries of a folder durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
