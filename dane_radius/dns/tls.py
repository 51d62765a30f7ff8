"""The verification of server certificates, the same with every version of Python."""

from __future__ import annotations

import ssl


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """A client's context that verifies servers against `ca_file` (PEM), or against the system's CAs if None.

    Raises OSError if the file cannot be used.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python 3.13 adds VERIFY_X509_STRICT, which refuses a CA without keyUsage, and VERIFY_X509_PARTIAL_CHAIN, which
    # trusts an intermediate CA without its root. An upgrade of Python must do neither.
    context.verify_flags = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
    return context
