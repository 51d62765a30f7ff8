"""Why the registry refuses a certificate request, beside the reasons that every service has (`web_service.core`)."""

from __future__ import annotations

from web_service.core import RefusalReason


class CsrReason(RefusalReason):
    """What is wrong with a certificate request, its encoding or its key."""

    BAD_ENCODING = "bad-encoding", 400
    CSR_MALFORMED = "csr-malformed", 400
    CSR_BAD_SIGNATURE = "csr-bad-signature", 400
    CSR_WEAK_KEY = "csr-weak-key", 400
    CSR_FOREIGN_NAME = "csr-foreign-name", 400
    CSR_EXTENSION = "csr-extension", 400
    CSR_WANTS_CA = "csr-wants-ca", 400
    KEY_REUSED = "key-reused", 409
