"""OpenSSL's canonical encoding and hash of a subject name. Pure.

In a hashed directory, OpenSSL looks for a certificate as `<hash>.<number>`. The hash is X509_NAME_hash: the first four
octets, little-endian, of the SHA-1 over the subject's canonical encoding (crypto/x509/x_name.c, x509_name_canon).
OpenSSL considers two names equal if and only if their canonical encodings are equal. The encoding therefore also shows
which anchors would shadow each other.
"""

from __future__ import annotations

import hashlib

from dane_radius.core import DER_OBJECT_IDENTIFIER, DER_SEQUENCE, DerElement, DerError, der_children, der_only

_SET = 0x31
_UTF8_STRING = 0x0C
# Octets per character of the string types that are canonicalized. 0: already UTF-8. Other types stay unchanged.
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
    """Encode a DER Name canonically, as OpenSSL does. Raises `DerError`.

    Text becomes UTF-8 in lower case (ASCII letters only). Leading and trailing spaces are removed, and inner ones
    reduced to one. The attributes of each RDN are in DER order.
    """
    rdns = b""
    for rdn in der_children(name, der_only(name, DER_SEQUENCE, "Name")):
        if rdn.tag != _SET:
            raise DerError(f"RDN at octet {rdn.start}: tag 0x{rdn.tag:02x} found, 0x{_SET:02x} expected")
        parts = sorted(_canonical_part(name, part) for part in der_children(name, rdn))
        rdns += _element(_SET, b"".join(parts))
    return rdns


def _canonical_part(name: bytes, part: DerElement) -> bytes:
    pair = list(der_children(name, part))
    if part.tag != DER_SEQUENCE or len(pair) != 2 or pair[0].tag != DER_OBJECT_IDENTIFIER:
        raise DerError(f"AttributeTypeAndValue at octet {part.start}: SEQUENCE of OID and value expected")
    kind, value = pair
    octets = _CHARACTER_OCTETS.get(value.tag)
    text = value.whole(name) if octets is None else _element(_UTF8_STRING, _fold(_to_utf8(value.value(name), octets)))
    return _element(DER_SEQUENCE, kind.whole(name) + text)


def _to_utf8(text: bytes, octets: int) -> bytes:
    if octets == 0:
        return text
    if len(text) % octets:
        raise DerError(f"string of {len(text)} octets, a multiple of {octets} expected")
    units = (int.from_bytes(text[i : i + octets], "big") for i in range(0, len(text), octets))
    try:
        return "".join(map(chr, units)).encode("utf-8")
    except (ValueError, OverflowError) as error:
        raise DerError(f"string that is not Unicode: {error}") from error


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
    """Compute X509_NAME_hash of a DER Name: eight hexadecimal digits. Raises `DerError`."""
    # SHA-1 only selects a file name here.
    digest = hashlib.sha1(canonical_name(name), usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"
