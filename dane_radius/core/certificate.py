"""The parts of a client certificate that a decision needs: its exact bytes, its key's exact bytes, names and dates.

They are parsed strictly, and without a library, for three reasons: DANE digests the original bytes, not a re-encoding;
names must be complete, NUL octets included; and the cost arises in each authentication. OpenSSL has already parsed the
same bytes, and has verified the handshake's signature with the same key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from dane_radius.core import der
from dane_radius.core.names import normalize
from dane_radius.core.reasons import ReasonCode, Refused

# Two orders of magnitude more than a device certificate. A session file cannot contain much more.
MAX_CERTIFICATE_OCTETS = 192 * 1024
# A device has one name. This is enough for a hundred long ones, and limits the work that a certificate can cause.
MAX_SAN_OCTETS = 32 * 1024

_SAN_OID = bytes.fromhex("551d11")  # 2.5.29.17
_DSA_OID = bytes.fromhex("2a8648ce380401")  # 1.2.840.10040.4.1
_GENERAL_NAMES = {
    0xA0: "otherName",
    0x81: "rfc822Name",
    0x82: "dNSName",
    0xA3: "x400Address",
    0xA4: "directoryName",
    0xA5: "ediPartyName",
    0x86: "uniformResourceIdentifier",
    0x87: "iPAddress",
    0x88: "registeredID",
}
_DNS_NAME = 0x82
_OPTIONAL_FIELDS = (0x81, 0x82, der.context(3))
_EXTENSION_FORMS = (
    [der.OBJECT_IDENTIFIER, der.OCTET_STRING],
    [der.OBJECT_IDENTIFIER, der.BOOLEAN, der.OCTET_STRING],
)


# Compared by identity, so that it can be a cache key without hashing its contents.
@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """An end-entity certificate.

    `dns_names` are the exact octets of the SAN's dNSNames, not normalized. It is None if the certificate has no SAN
    extension. `san_types` names each GeneralName type in the SAN.
    """

    der: bytes
    spki: bytes
    issuer: bytes
    subject: bytes
    serial: int
    not_before: datetime
    not_after: datetime
    dns_names: tuple[bytes, ...] | None
    san_types: frozenset[str]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the whole certificate, in hexadecimal."""
        return hashlib.sha256(self.der).hexdigest()


def parse_leaf(data: bytes) -> Leaf:
    """Read a DER certificate.

    Raises Refused: `certificate_oversized`, `certificate_malformed`, `san_oversized` or `san_malformed`.
    """
    if len(data) > MAX_CERTIFICATE_OCTETS:
        raise Refused(
            ReasonCode.CERTIFICATE_OVERSIZED, f"{len(data)} octets, at most {MAX_CERTIFICATE_OCTETS} expected"
        )
    try:
        return _parse(data)
    except der.DerError as error:
        raise Refused(ReasonCode.CERTIFICATE_MALFORMED, str(error)) from error


def candidate_names(leaf: Leaf) -> list[str]:
    """The distinct DNS names that a certificate claims, normalized, in their order in the SAN.

    Only SAN dNSNames count, never the subject. One invalid name refuses the whole certificate: if a CA signs `*` or a
    NUL, its other names are not trustworthy either.

    Raises Refused: one of the `san_*` and `name_*` codes.
    """
    if leaf.dns_names is None:
        raise Refused(ReasonCode.SAN_MISSING, "the certificate has no subjectAltName; its dNSName is the identity")
    if not leaf.dns_names:
        if not leaf.san_types:
            raise Refused(ReasonCode.SAN_EMPTY, "the certificate's subjectAltName is empty")
        found = ", ".join(sorted(leaf.san_types))
        if leaf.san_types == {"iPAddress"}:
            raise Refused(
                ReasonCode.SAN_IP_ADDRESS, "the subjectAltName holds IP addresses only; a dNSName is expected"
            )
        raise Refused(ReasonCode.SAN_WITHOUT_DNS_NAME, f"the subjectAltName holds {found}; a dNSName is expected")
    return list(dict.fromkeys(normalize(raw) for raw in leaf.dns_names))


def check_key(leaf: Leaf) -> None:
    """Raises Refused (`certificate_key_unusable`, `certificate_malformed`) if devices may not use this type of key.

    DSA is refused: TLS 1.3 has no signatures for it, and FIPS 186-5 has withdrawn it. Short RSA keys are not checked,
    because OpenSSL refuses them in the handshake.
    """
    spki = leaf.spki
    try:
        algorithm = der.expect(
            spki, der.only(spki, der.SEQUENCE, "subjectPublicKeyInfo").content, len(spki), der.SEQUENCE, "algorithm"
        )
        oid = der.expect(spki, algorithm.content, algorithm.end, der.OBJECT_IDENTIFIER, "algorithm")
    except der.DerError as error:
        raise Refused(ReasonCode.CERTIFICATE_MALFORMED, str(error)) from error
    if oid.value(spki) == _DSA_OID:
        raise Refused(ReasonCode.CERTIFICATE_KEY_UNUSABLE, "the certificate's key is DSA; EC, EdDSA or RSA is expected")


def _parse(data: bytes) -> Leaf:
    certificate = der.only(data, der.SEQUENCE, "Certificate")
    parts = list(der.children(data, certificate))
    if [part.tag for part in parts] != [der.SEQUENCE, der.SEQUENCE, der.BIT_STRING]:
        raise der.DerError("Certificate: TBSCertificate, signatureAlgorithm and signatureValue expected")
    # A signature consists of whole octets. With unused bits, one signature would have several encodings that verify.
    if parts[2].value(data)[:1] != b"\0":
        raise der.DerError("signatureValue: a bit string of whole octets expected")
    fields = list(der.children(data, parts[0]))
    if fields and fields[0].tag == der.context(0):
        fields = fields[1:]
    if len(fields) < 6:
        raise der.DerError(f"TBSCertificate: {len(fields)} fields, at least 6 expected")
    serial, _signature, issuer, validity, subject, spki = fields[:6]
    for element, tag, what in (
        (serial, der.INTEGER, "serialNumber"),
        (issuer, der.SEQUENCE, "issuer"),
        (validity, der.SEQUENCE, "validity"),
        (subject, der.SEQUENCE, "subject"),
        (spki, der.SEQUENCE, "subjectPublicKeyInfo"),
    ):
        if element.tag != tag:
            raise der.DerError(f"{what}: tag 0x{element.tag:02x} found, 0x{tag:02x} expected")
    dates = [_time(data, element) for element in der.children(data, validity)]
    if len(dates) != 2:
        raise der.DerError(f"validity: {len(dates)} times, 2 expected")
    san = _find_san(data, fields[6:])
    names, types = (None, frozenset[str]()) if san is None else _general_names(san)
    return Leaf(
        der=data,
        spki=spki.whole(data),
        issuer=issuer.whole(data),
        subject=subject.whole(data),
        serial=int.from_bytes(serial.value(data), "big", signed=True),
        not_before=dates[0],
        not_after=dates[1],
        dns_names=names,
        san_types=types,
    )


def _extensions(data: bytes, optional_fields: list[der.Tlv]) -> Iterator[list[der.Tlv]]:
    """The parts of each extension.

    The fields after the public key must be issuerUniqueID, subjectUniqueID and extensions, each at most once and in
    this order: a second list of extensions could contain a second name.
    """
    tags = [field.tag for field in optional_fields]
    if any(tag not in _OPTIONAL_FIELDS for tag in tags) or sorted(set(tags), key=_OPTIONAL_FIELDS.index) != tags:
        found = ", ".join(f"0x{tag:02x}" for tag in tags)
        raise der.DerError(f"TBSCertificate: tags {found} found behind subjectPublicKeyInfo")
    if not tags or tags[-1] != der.context(3):
        return
    field = optional_fields[-1]
    sequence = der.expect(data, field.content, field.end, der.SEQUENCE, "extensions")
    if sequence.end != field.end:
        raise der.DerError(f"extensions: {field.end - sequence.end} octets left over")
    for extension in der.children(data, sequence):
        if extension.tag != der.SEQUENCE:
            raise der.DerError(f"extension: tag 0x{extension.tag:02x} found, 0x{der.SEQUENCE:02x} expected")
        yield list(der.children(data, extension))


def _find_san(data: bytes, optional_fields: list[der.Tlv]) -> bytes | None:
    found: bytes | None = None
    for parts in _extensions(data, optional_fields):
        if [part.tag for part in parts] not in _EXTENSION_FORMS:
            raise der.DerError("extension: OBJECT IDENTIFIER, optional BOOLEAN and OCTET STRING expected")
        if parts[0].value(data) == _SAN_OID:
            if found is not None:
                # RFC 5280 section 4.2: an extension occurs at most once. Two parsers could use different ones.
                raise Refused(ReasonCode.SAN_MALFORMED, "the certificate has two subjectAltName extensions")
            found = parts[-1].value(data)
    return found


def _general_names(san: bytes) -> tuple[tuple[bytes, ...], frozenset[str]]:
    if len(san) > MAX_SAN_OCTETS:
        raise Refused(
            ReasonCode.SAN_OVERSIZED,
            f"subjectAltName of {len(san)} octets, at most {MAX_SAN_OCTETS} expected",
        )
    names = []
    types = set()
    try:
        for element in der.children(san, der.only(san, der.SEQUENCE, "GeneralNames")):
            if element.tag not in _GENERAL_NAMES:
                raise der.DerError(f"GeneralName with unknown tag 0x{element.tag:02x}")
            types.add(_GENERAL_NAMES[element.tag])
            if element.tag == _DNS_NAME:
                names.append(element.value(san))
    except der.DerError as error:
        raise Refused(ReasonCode.SAN_MALFORMED, str(error)) from error
    return tuple(names), frozenset(types)


def _time(data: bytes, element: der.Tlv) -> datetime:
    """RFC 5280 section 4.1.2.5: YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ, and none of the other forms of ASN.1."""
    text = element.value(data)
    octets = {der.UTC_TIME: 13, der.GENERALIZED_TIME: 15}.get(element.tag)
    if octets != len(text) or text[-1:] != b"Z" or not text[:-1].isdigit():
        raise der.DerError(f"validity: tag 0x{element.tag:02x}, {text!r} is not a time as RFC 5280 writes it")
    if element.tag == der.UTC_TIME:
        # Section 4.1.2.5.1: 50 and above are 19xx.
        text = (b"19" if text >= b"50" else b"20") + text
    try:
        year, month, day = int(text[:4]), int(text[4:6]), int(text[6:8])
        return datetime(year, month, day, int(text[8:10]), int(text[10:12]), int(text[12:14]), tzinfo=UTC)
    except ValueError as error:
        raise der.DerError(f"validity: {text!r} is no point in time ({error})") from error
