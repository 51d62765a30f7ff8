"""A PKCS#10 certification request (RFC 2986) around a signature that is made elsewhere: in the applet.

Libraries sign with a key that they hold; here only its public half is known, so the structure is put together
by hand.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from cryptography.x509.oid import NameOID

from iot_safe_sim.tlv import encode

#: RFC 5280, appendix A: ub-common-name.
MAX_COMMON_NAME = 64

_SEQUENCE, _SET, _BIT_STRING, _OCTET_STRING, _OID = 0x30, 0x31, 0x03, 0x04, 0x06
_VERSION_1 = b"\x02\x01\x00"
# id-ecPublicKey with prime256v1 (RFC 5480), ecdsa-with-SHA256 (RFC 5758), extensionRequest (RFC 2985),
# subjectAltName.
_EC_P256 = bytes.fromhex("301306072A8648CE3D020106082A8648CE3D030107")
_ECDSA_SHA256 = bytes.fromhex("300A06082A8648CE3D040302")
_EXTENSION_REQUEST = bytes.fromhex("2A864886F70D01090E")
_SUBJECT_ALT_NAME = bytes.fromhex("551D11")


class RequestError(ValueError):
    """The parts do not make a certification request."""


def device_subject(name: str) -> bytes:
    """The DER Name of a device: CN is its DNS name, or empty when the name is too long for one (it is in the
    SAN then).
    """
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if len(name) <= MAX_COMMON_NAME else []
    return x509.Name(attributes).public_bytes()


def device_attributes(name: str) -> bytes:
    """The request's attributes: a subject alternative name with the one dNSName."""
    general_names = x509.SubjectAlternativeName([x509.DNSName(name)]).public_bytes()
    extension = encode(_SEQUENCE, encode(_OID, _SUBJECT_ALT_NAME) + encode(_OCTET_STRING, general_names))
    return encode(_SEQUENCE, encode(_OID, _EXTENSION_REQUEST) + encode(_SET, encode(_SEQUENCE, extension)))


def build(subject: bytes, point: bytes, attributes: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """A DER CertificationRequest.

    `subject` is a DER Name, `attributes` the DER of each Attribute in a row; `sign` gets what is signed and
    gives an ECDSA-Sig-Value over its SHA-256. Raises RequestError when the result would not parse.
    """
    public_key = encode(_SEQUENCE, _EC_P256 + encode(_BIT_STRING, b"\0" + point))
    information = encode(_SEQUENCE, _VERSION_1 + subject + public_key + encode(0xA0, attributes))
    _check(encode(_SEQUENCE, information + _ECDSA_SHA256 + encode(_BIT_STRING, b"\0")))
    return encode(_SEQUENCE, information + _ECDSA_SHA256 + encode(_BIT_STRING, b"\0" + sign(information)))


def _check(request: bytes) -> None:
    """Parse before signing: the card must not sign something that only looks like a request."""
    try:
        parsed = x509.load_der_x509_csr(request)
        _ = parsed.subject, list(parsed.extensions)
    except (ValueError, x509.UnsupportedGeneralNameType) as error:
        raise RequestError(f"subject or attributes are not those of a certification request: {error}") from error
