"""What both ends of a card's interface agree on: APDUs, TLV, tags, encodings, algorithms, identifiers.

Source: GSMA IoT.05 on ISO/IEC 7816-4. Pure functions and values, no I/O. This room imports no other room; the card,
the modem, the key stores and the middleware import it.
"""

from iot_safe_sim.interface import containers
from iot_safe_sim.interface.algorithms import HASH_ALGORITHMS, HASH_NAME_BY_SIZE, SignatureAlgorithm, SignatureMode
from iot_safe_sim.interface.apdu import MAX_RESPONSE_DATA, AppletError, Command, Ins, Response, StatusWord
from iot_safe_sim.interface.application_ids import GSMA_AID, THALES_AID, THALES_AID_2025
from iot_safe_sim.interface.encodings import decode_public_key, encode_public_key, encode_signature
from iot_safe_sim.interface.p256 import (
    COORDINATE_SIZE,
    POINT_SIZE,
    SIGNATURE_SIZE,
    der_to_raw,
    point_of,
    prehashed,
    public_key,
    raw_to_der,
    verify_signature,
)
from iot_safe_sim.interface.tags import Tag
from iot_safe_sim.interface.tlv import Fields, Tlv, TlvError, encode_tlv, parse_tlv, read_tlv_header

__all__ = [
    "COORDINATE_SIZE",
    "GSMA_AID",
    "HASH_ALGORITHMS",
    "HASH_NAME_BY_SIZE",
    "MAX_RESPONSE_DATA",
    "POINT_SIZE",
    "SIGNATURE_SIZE",
    "THALES_AID",
    "THALES_AID_2025",
    "AppletError",
    "Command",
    "Fields",
    "Ins",
    "Response",
    "SignatureAlgorithm",
    "SignatureMode",
    "StatusWord",
    "Tag",
    "Tlv",
    "TlvError",
    "containers",
    "decode_public_key",
    "der_to_raw",
    "encode_public_key",
    "encode_signature",
    "encode_tlv",
    "parse_tlv",
    "point_of",
    "prehashed",
    "public_key",
    "raw_to_der",
    "read_tlv_header",
    "verify_signature",
]
