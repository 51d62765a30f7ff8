"""Who signed a MUD file: detached CMS signatures, and the MUD extensions of device certificates."""

from mud.signature.certificate_extensions import (
    MUD_URL_OID,
    MUDSIGNER_OID,
    MudExtensionError,
    mud_url_of,
    mudsigner_of,
)
from mud.signature.reasons import SignatureReason, SignatureRefused
from mud.signature.verifier import VerifiedSignature, verify_signature

__all__ = [
    "MUDSIGNER_OID",
    "MUD_URL_OID",
    "MudExtensionError",
    "SignatureReason",
    "SignatureRefused",
    "VerifiedSignature",
    "mud_url_of",
    "mudsigner_of",
    "verify_signature",
]
