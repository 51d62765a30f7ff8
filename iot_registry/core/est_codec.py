"""Encodings of EST bodies (RFC 7030 section 4, clarified by RFC 8951): base64, certs-only PKCS #7. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates

from iot_registry.core.errors import CsrReason
from web_service.core import Refused

CERTS_ONLY = "application/pkcs7-mime; smime-type=certs-only"
CSR_ATTRS = "application/csrattrs"
CSR_MEDIA_TYPES = ("application/pkcs10",)

_WHITESPACE = re.compile(rb"[ \t\r\n]+")


def decode_body(body: bytes) -> bytes:
    """The octets of a base64 body, white space ignored (RFC 8951 section 3.1). Raises Refused."""
    compact = _WHITESPACE.sub(b"", body)
    if not compact:
        raise Refused(CsrReason.BAD_ENCODING, "found an empty body, expected a PKCS #10 request in base64", field="csr")
    try:
        return base64.b64decode(compact, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(
            CsrReason.BAD_ENCODING,
            f"found a body that is not base64 ({error}), expected a PKCS #10 request in base64",
            field="csr",
        ) from None


def encode_body(data: bytes) -> bytes:
    """Base64 on one line: RFC 8951 section 3 refers to RFC 4648, whose section 3.1 forbids line feeds.

    Some clients do not skip line feeds, for example strongSwan's `pki --estca`.
    """
    return base64.b64encode(data)


def certs_only(certificates: Sequence[x509.Certificate]) -> bytes:
    """A base64 certs-only PKCS #7 body."""
    return encode_body(serialize_certificates(list(certificates), Encoding.DER))


def csr_attributes() -> bytes:
    """The answer of /csrattrs: an EC key on P-256, signed with ECDSA and SHA-256 (RFC 7030 section 4.5.2).

    CsrAttrs ::= SEQUENCE { Attribute { id-ecPublicKey, SET { prime256v1 } }, ecdsa-with-SHA256 }
    """
    ec_public_key = bytes.fromhex("06072a8648ce3d0201")
    prime256v1 = bytes.fromhex("06082a8648ce3d030107")
    ecdsa_with_sha256 = bytes.fromhex("06082a8648ce3d040302")
    values = b"\x31" + bytes((len(prime256v1),)) + prime256v1
    attribute = ec_public_key + values
    attribute = b"\x30" + bytes((len(attribute),)) + attribute
    content = attribute + ecdsa_with_sha256
    return encode_body(b"\x30" + bytes((len(content),)) + content)
