"""How much a MUD file and its signature may contain. Checked before anything is built from them.

The largest published file has 95 kB, 201 access control entries and 47 names.
"""

from __future__ import annotations

MAX_FILE_OCTETS = 512 * 1024
# A complete file with a TLS profile (RFC 9761) needs 12.
MAX_NESTING = 16
# Objects, arrays, members and values in all.
MAX_NODES = 60_000

MAX_ACLS = 64
MAX_ACES = 512
MAX_NAMES = 256

# Characters.
MAX_TEXT = 1024
MAX_URL = 512
MAX_LISTED_NAME = 64
MAX_EXTENSIONS = 32

# RFC 9761: profiles of one entry, and values in one of their lists.
MAX_TLS_PROFILES = 16
MAX_TLS_VALUES = 128
MAX_TRUST_ANCHOR_CHARACTERS = 64 * 1024

MAX_SIGNATURE_OCTETS = 64 * 1024
MAX_SIGNATURE_CERTIFICATES = 8
# Intermediate CAs between signer and root.
MAX_CHAIN_DEPTH = 3

# Findings that are kept for one file. The text of a finding has at most this many characters of the file.
MAX_FINDINGS = 2000
MAX_PROBLEMS = 100
MAX_FOUND_CHARACTERS = 80
MAX_MESSAGE = 400
