"""Reads the client certificate from a TLS session that FreeRADIUS has saved.

With `cache { persist_dir = ... }`, FreeRADIUS saves each new session as OpenSSL's DER SSL_SESSION, which contains the
peer's leaf certificate in context tag [3]. These are the bytes of the certificate whose key the handshake has verified.
The `TLS-Client-Cert-*` attributes are strings that the certificate's issuer chose.

The file also contains the session's master secret. It is read into memory, but only the certificate is returned.
"""

from __future__ import annotations

import os

from dane_radius.core import der
from dane_radius.core.reasons import ReasonCode, Refused

# An SSL_SESSION has a few hundred octets besides the leaf. OpenSSL's default limit for a whole chain is 100 KiB.
MAX_SESSION_OCTETS = 256 * 1024
_TYPICAL_OCTETS = 4096
# Non-blocking, in case the path is not a regular file: a FIFO then reads as empty, and a folder gives an error.
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_FILE = ("", ".", "..")
_PEER = der.context(3)


def leaf_from_session(data: bytes) -> bytes:
    """The peer's leaf certificate, in DER, from an encoded SSL_SESSION.

    Raises Refused: `session_file_malformed` or `session_without_certificate`.
    """
    try:
        session = der.only(data, der.SEQUENCE, "SSL_SESSION")
        peers = der.find(data, session, _PEER)
        if not peers:
            raise Refused(ReasonCode.SESSION_WITHOUT_CERTIFICATE, "the TLS session holds no client certificate")
        if len(peers) > 1:
            raise der.DerError(f"SSL_SESSION: {len(peers)} peer elements, 1 expected")
        certificate = peers[0].value(data)
        der.only(certificate, der.SEQUENCE, "peer certificate")
        return certificate
    except der.DerError as error:
        raise Refused(ReasonCode.SESSION_FILE_MALFORMED, str(error)) from error


def read_session_file(path: str, *, directory: str | None = None) -> bytes:
    """The leaf certificate from the session file at `path`.

    FreeRADIUS creates the file with mode 0200, and makes it readable only after the EAP method has accepted; the file's
    owner may do so earlier. `directory` is the only folder that session files may be in: any other path is refused
    unread. The file is not removed here: with `Allow-Session-Resumption := No`, FreeRADIUS removes it directly after
    the decision.

    Raises Refused: `session_file_missing`, `_unreadable`, `_malformed`, `session_without_certificate`.
    """
    if not path:
        raise Refused(
            ReasonCode.SESSION_FILE_MISSING,
            "FreeRADIUS named no session file (TLS-Cache-Filename); is `cache { persist_dir }` set in its eap module?",
        )
    folder, _, file = path.rpartition("/")
    # If FreeRADIUS's setting ends in a slash, the path contains two in a row.
    if directory is not None and (file in _NO_FILE or (folder != directory and folder.rstrip("/") != directory)):
        raise Refused(ReasonCode.SESSION_FILE_UNREADABLE, f"{path} is not in the session directory {directory}")
    try:
        data = _read_owned(path)
    except FileNotFoundError as error:
        raise Refused(ReasonCode.SESSION_FILE_MISSING, f"{path}: no such file") from error
    except OSError as error:
        raise Refused(ReasonCode.SESSION_FILE_UNREADABLE, f"{path}: {error.strerror}") from error
    return leaf_from_session(data)


def _read_owned(path: str) -> bytes:
    os.chmod(path, 0o600)
    descriptor = os.open(path, _OPEN_FLAGS)
    try:
        # A large buffer is expensive even for a small file: the allocator maps and unmaps memory for it.
        data = os.read(descriptor, _TYPICAL_OCTETS)
        if len(data) == _TYPICAL_OCTETS:
            data += os.read(descriptor, MAX_SESSION_OCTETS + 1 - _TYPICAL_OCTETS)
    finally:
        os.close(descriptor)
    if len(data) > MAX_SESSION_OCTETS:
        raise Refused(ReasonCode.SESSION_FILE_MALFORMED, f"{path}: more than {MAX_SESSION_OCTETS} octets, the limit")
    return data
