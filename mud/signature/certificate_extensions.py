"""What a device certificate says about MUD (RFC 8520 section 11): where the file is, and who must have signed it."""

from __future__ import annotations

from asn1crypto import core
from asn1crypto import x509 as asn1_x509
from cryptography import x509

from mud.document import authority_of

MUD_URL_OID = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.25")
MUDSIGNER_OID = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.30")
# An option of DHCP has one octet for its length, and the URL is the same everywhere.
MAX_MUD_URL = 255


class MudExtensionError(ValueError):
    """A MUD extension of a certificate that is malformed. Such a certificate names no MUD file."""


def mud_url_of(certificate: x509.Certificate) -> str | None:
    """The https URL of the device's MUD file, or None without the extension. Raises MudExtensionError.

    The caller must have verified the certificate, and that the device has its key.
    """
    value = _value(certificate, MUD_URL_OID)
    if value is None:
        return None
    try:
        url = str(core.IA5String.load(value, strict=True).native)
        authority_of(url)
    except (ValueError, TypeError) as error:
        raise MudExtensionError(f"id-pe-mud-url: {error}") from error
    if len(url) > MAX_MUD_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise MudExtensionError(f"id-pe-mud-url: a URI of at most {MAX_MUD_URL} ASCII characters is expected")
    return url


def mudsigner_of(certificate: x509.Certificate) -> bytes | None:
    """The subject (DER) that the signer of the MUD file must have, or None without the extension.

    Raises MudExtensionError.
    """
    value = _value(certificate, MUDSIGNER_OID)
    if value is not None:
        read_name(value)
    return value


def read_name(der: bytes) -> asn1_x509.Name:
    """An X.501 Name. Raises MudExtensionError."""
    try:
        name = asn1_x509.Name.load(der, strict=True)
        # asn1crypto parses lazily.
        if not isinstance(name.chosen, asn1_x509.RDNSequence) or not name.native:
            raise ValueError("a name with at least one attribute is expected")
        hash(name.hashable)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MudExtensionError(f"a distinguished name is expected: {error}") from error
    return name


def _value(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> bytes | None:
    try:
        extension = certificate.extensions.get_extension_for_oid(oid)
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise MudExtensionError(f"the certificate's extensions are malformed: {error}") from error
    if not isinstance(extension.value, x509.UnrecognizedExtension):
        raise MudExtensionError(f"{oid.dotted_string} is read as {type(extension.value).__name__}")
    return extension.value.value
