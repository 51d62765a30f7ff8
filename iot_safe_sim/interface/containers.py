"""The container layout: which identifier holds which key or file.

CIRA's provisioning and wolfSSL's Raspberry Pi example share this layout, so one card serves both.
"""

from __future__ import annotations

DEVICE_KEY = b"\x01"
CLIENT_CERTIFICATE = b"\x02"
SERVER_CERTIFICATE = b"\x03"
EPHEMERAL_KEY = b"\x04"
PEER_PUBLIC_KEY = b"\x05"
ROOT_CA = b"\x06"
ISSUING_CA = b"\x07"
URL_BLOB = b"\x08"
URL_SIGNATURE = b"\x09"
SERVER_CERTIFICATE_SIGNATURE = b"\x0a"

# The containers of this project stay below 10 hexadecimal: a PKCS#11 library keeps a table of 16 containers, and
# writes past its end for higher identifiers.
#: A new key and its certificate, until they replace the current ones in one step.
PENDING_KEY = b"\x0b"
PENDING_CERTIFICATE = b"\x0c"
#: URLs and CA of the registry, which re-enrollment needs. Not secret.
REGISTRY_SETTINGS = b"\x0d"

#: The file into which the card writes a certification request that it made (GENERATE CSR).
CSR_FILE = bytes.fromhex("80000000")
CSR_LABEL = "CertificateSigningRequest"
