"""Which of two lengths a signature object gets: real cards and their clients differ."""

from __future__ import annotations

from enum import Enum

from iot_safe_sim.interface import GSMA_AID, THALES_AID, THALES_AID_2025

#: The AIDs of this applet, and whether clients that select it expect a 16-bit signature length.
WIDE_LENGTH_BY_AID = {GSMA_AID: True, THALES_AID: False, THALES_AID_2025: False}


class SignatureFormat(Enum):
    """The length field of a computed signature: fixed, or as the selected AID implies."""

    BY_AID = "by-aid"
    WIDE = "16-bit"
    SHORT = "8-bit"

    def is_wide(self, aid: bytes) -> bool:
        """Whether a client that selected `aid` gets the 16-bit length."""
        if self is SignatureFormat.BY_AID:
            return WIDE_LENGTH_BY_AID[aid]
        return self is SignatureFormat.WIDE
