"""A PKCS#10 certification request (RFC 2986) from the DER parts that GENERATE CSR receives.

The client sends the subject and the attributes in DER, and the card must sign exactly those. The request builder of
`cryptography` takes no DER, so the parts are put together here. The builder is used where a request starts
from a name, in `iot_safe_sim.device.build_request`.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from iot_safe_sim.interface import encode_tlv, public_key

_SEQUENCE, _BIT_STRING, _ATTRIBUTES = 0x30, 0x03, 0xA0
_VERSION_1 = b"\x02\x01\x00"
#: AlgorithmIdentifier of ecdsa-with-SHA256 (RFC 5758 section 3.2).
_ECDSA_SHA256 = bytes.fromhex("300A06082A8648CE3D040302")


class RequestError(ValueError):
    """The parts do not make a certification request."""


def build(subject: bytes, point: bytes, attributes: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """A CertificationRequest in DER.

    `subject` is a Name and `attributes` a series of Attributes, both in DER. `sign` returns an ECDSA-Sig-Value over the
    SHA-256 of its argument. Raises RequestError when the result would not parse; nothing is signed then.
    """
    spki = public_key(point).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    information = encode_tlv(_SEQUENCE, _VERSION_1 + subject + spki + encode_tlv(_ATTRIBUTES, attributes))
    _check(_signed(information, b""))
    return _signed(information, sign(information))


def _signed(information: bytes, signature: bytes) -> bytes:
    return encode_tlv(_SEQUENCE, information + _ECDSA_SHA256 + encode_tlv(_BIT_STRING, b"\0" + signature))


def _check(request: bytes) -> None:
    try:
        parsed = x509.load_der_x509_csr(request)
        _ = parsed.subject, list(parsed.extensions)
    except (ValueError, x509.UnsupportedGeneralNameType) as error:
        raise RequestError(f"subject or attributes are not those of a certification request: {error}") from error
