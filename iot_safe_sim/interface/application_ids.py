"""Application identifiers (AIDs) by which clients select the IoT SAFE applet."""

from __future__ import annotations

#: GSMA IoT.05. wolfSSL, Orange and others select it, and expect a 16-bit length in signatures.
GSMA_AID = bytes.fromhex("A0000005590010")
#: The Thales middleware, in CIRA's fork and as published since. Both expect an 8-bit length in signatures.
THALES_AID = bytes.fromhex("A0000002480400")
THALES_AID_2025 = bytes.fromhex("A00000003053F12401770101495341")
