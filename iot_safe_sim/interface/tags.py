"""Tags of the IoT SAFE interface and of this applet's administration commands. Each is one byte."""

from __future__ import annotations

from enum import IntEnum


class Tag(IntEnum):
    """GSMA IoT.05, unless a comment says otherwise."""

    # What GET DATA 0000 says of the applet.
    VERSION = 0x10
    APPLET_NAME = 0x11
    CRYPTO_FUNCTIONS = 0x90
    KEY_AGREEMENT_ALGORITHMS = 0x93
    KEY_DERIVATION_ALGORITHMS = 0x94
    MAX_FILES = 0xB1
    MAX_PRIVATE_KEYS = 0xB2
    MAX_PUBLIC_KEYS = 0xB3
    MAX_SECRETS = 0xB4
    MAX_SESSIONS = 0xB7

    # Names of objects, and the entries of the object list.
    FILE_LABEL = 0x73
    PRIVATE_KEY_LABEL = 0x74
    PUBLIC_KEY_LABEL = 0x75
    SECRET_LABEL = 0x76
    FILE_ID = 0x83
    PRIVATE_KEY_ID = 0x84
    PUBLIC_KEY_ID = 0x85
    SECRET_ID = 0x86
    PRIVATE_KEY_ENTRY = 0xC1
    PUBLIC_KEY_ENTRY = 0xC2
    FILE_ENTRY = 0xC3
    SECRET_ENTRY = 0xC4

    # Attributes of objects.
    FILE_SIZE = 0x20
    FILE_USAGE = 0x21
    STATE = 0x4A
    KEY_TYPE = 0x4B
    KEY_USAGE = 0x4E
    ACCESS = 0x60
    FUNCTIONS = 0x61
    KEY_AGREEMENT = 0x6F

    # Signatures and public keys.
    SIGNATURE = 0x33
    PUBLIC_KEY = 0x34
    EC_PUBLIC_KEY = 0x49
    #: Inside 49 only; elsewhere 86 is the identifier of a secret.
    EC_POINT = 0x86
    HASH_ALGORITHM = 0x91
    SIGNATURE_ALGORITHM = 0x92
    LAST_BLOCK = 0x9A
    FULL_TEXT = 0x9B
    INTERMEDIATE_HASH = 0x9C
    BYTES_HASHED = 0x9D
    EXTERNAL_HASH = 0x9E
    SIGNATURE_MODE = 0xA1

    # Derivation.
    SECRET_VALUE = 0xD1
    LABEL_AND_SEED = 0xD2
    OUTPUT_LENGTH = 0xD3
    PREMASTER_SECRET = 0xD4
    SALT = 0xD5

    # Administration by STORE DATA. Not in GSMA IoT.05, which leaves it to the card issuer.
    SUBJECT = 0x50
    ATTRIBUTES = 0x51
    CONTENT = 0x70
    GENERATE_KEY = 0xB9
    PUT_OBJECT = 0xE0
    DELETE_OBJECT = 0xE1
    GENERATE_CSR = 0xE2
    MOVE_OBJECTS = 0xE3
