"""The file name under which OpenSSL looks for a certificate in a hashed directory, without running openssl.

`<hash>.<number>`, where the hash is X509_NAME_hash: the first four octets, little-endian, of the SHA-1 over the
subject's canonical encoding (crypto/x509/x_name.c, x509_name_canon). Two names are the same name to OpenSSL exactly
when their canonical encodings are equal, so that the encoding also tells which anchors would shadow each other.
"""

from __future__ import annotations

import hashlib

from dane_radius.core import der

_SET = 0x31
_UTF8_STRING = 0x0C
# Octets per character of the string types that are canonicalized; 0: UTF-8 already. Others stay as they are.
_CHARACTER_OCTETS = {
    0x0C: 0,  # UTF8String
    0x13: 1,  # PrintableString
    0x14: 1,  # T61String, read as Latin-1
    0x16: 1,  # IA5String
    0x1A: 1,  # VisibleString
    0x1C: 4,  # UniversalString
    0x1E: 2,  # BMPString
}
_SPACES = b" \t\n\v\f\r"


def canonical_name(name: bytes) -> bytes:
    """OpenSSL's canonical encoding of a DER Name: equal for names that OpenSSL takes for the same.

    Text becomes UTF-8 in lower case (ASCII letters only), without spaces around it and with single ones within; the
    parts of each RDN are in DER order. Raises `der.DerError`.
    """
    rdns = b""
    for rdn in der.children(name, der.only(name, der.SEQUENCE, "Name")):
        if rdn.tag != _SET:
            raise der.DerError(f"RDN at octet {rdn.start}: tag 0x{rdn.tag:02x} found, 0x{_SET:02x} expected")
        parts = sorted(_canonical_part(name, part) for part in der.children(name, rdn))
        rdns += _element(_SET, b"".join(parts))
    return rdns


def _canonical_part(name: bytes, part: der.Tlv) -> bytes:
    pair = list(der.children(name, part))
    if part.tag != der.SEQUENCE or len(pair) != 2 or pair[0].tag != der.OBJECT_IDENTIFIER:
        raise der.DerError(f"AttributeTypeAndValue at octet {part.start}: SEQUENCE of OID and value expected")
    kind, value = pair
    octets = _CHARACTER_OCTETS.get(value.tag)
    text = value.whole(name) if octets is None else _element(_UTF8_STRING, _fold(_to_utf8(value.value(name), octets)))
    return _element(der.SEQUENCE, kind.whole(name) + text)


def _to_utf8(text: bytes, octets: int) -> bytes:
    if octets == 0:
        return text
    if len(text) % octets:
        raise der.DerError(f"string of {len(text)} octets, a multiple of {octets} expected")
    units = (int.from_bytes(text[i : i + octets], "big") for i in range(0, len(text), octets))
    try:
        return "".join(map(chr, units)).encode("utf-8")
    except (ValueError, OverflowError) as error:
        raise der.DerError(f"string that is not Unicode: {error}") from error


def _fold(text: bytes) -> bytes:
    folded = b" ".join(part for part in text.translate(_TO_SPACE).split(b" ") if part)
    return folded.translate(_TO_LOWER)


_TO_SPACE = bytes(0x20 if octet in _SPACES else octet for octet in range(256))
_TO_LOWER = bytes(octet + 32 if 0x41 <= octet <= 0x5A else octet for octet in range(256))


def _element(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


def name_hash(name: bytes) -> str:
    """X509_NAME_hash of a DER Name: eight hexadecimal digits. Raises `der.DerError`."""
    # Not for security: it is only how OpenSSL finds a file.
    digest = hashlib.sha1(canonical_name(name), usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"
