"""Why a connection is refused or ended: a closed enumeration."""

from __future__ import annotations

from enum import StrEnum


class DropReason(StrEnum):
    """Why a connection was refused or ended. The value is a label of a metric."""

    ADDRESS_FULL = "address-full"
    ALL_FULL = "all-full"
    GAVE_WAY = "gave-way"
    NO_FILES = "no-files"
    HANDSHAKE_FAILED = "handshake-failed"
    HANDSHAKE_TIMEOUT = "handshake-timeout"
    HEADER_TIMEOUT = "header-timeout"
    SEND_TIMEOUT = "send-timeout"
    MALFORMED = "malformed"
    FLOODED = "flooded"
    UNEXPECTED = "unexpected"
