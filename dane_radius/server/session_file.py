"""The client certificate out of a TLS session that FreeRADIUS wrote down.

With `cache { persist_dir = ... }` FreeRADIUS stores each new session as OpenSSL's DER SSL_SESSION, which holds
the peer's leaf certificate in context tag [3]. Those bytes prove which key was on the line; every
`TLS-Client-Cert-*` attribute is a string that the certificate's issuer chose.

The file also holds the session's master secret: it is read into memory, and nothing but the certificate leaves here.
"""

from __future__ import annotations

import os

from dane_radius.core import der
from dane_radius.core.reasons import ReasonCode, Refused

# An SSL_SESSION is a few hundred octets plus the leaf; OpenSSL's default limit for a whole chain is 100 KiB.
MAX_SESSION_OCTETS = 256 * 1024
_USUAL_OCTETS = 4096
# Non-blocking, for something that is no file: a FIFO reads as empty then, and a folder refuses.
_HOW = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_FILE = ("", ".", "..")
_PEER = der.context(3)


def leaf_from_session(data: bytes) -> bytes:
    """The DER of the peer's leaf certificate in an encoded SSL_SESSION.

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

    FreeRADIUS creates the file with mode 0200 and opens it up only after the EAP method has accepted; as its owner
    we may do so before. `directory` is the one folder that session files may come from: a path that leads
    elsewhere is refused unread. The file stays: with `Allow-Session-Resumption := No` FreeRADIUS removes it right after
    the decision, whichever it is.

    Raises Refused: `session_file_missing`, `_unreadable`, `_malformed`, `session_without_certificate`.
    """
    if not path:
        raise Refused(
            ReasonCode.SESSION_FILE_MISSING,
            "FreeRADIUS named no session file (TLS-Cache-Filename); is `cache { persist_dir }` set in its eap module?",
        )
    folder, _, file = path.rpartition("/")
    # A slash at the end of FreeRADIUS's setting makes two of them here.
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
    descriptor = os.open(path, _HOW)
    try:
        # A big buffer is dear even if little is read into it: the allocator maps and unmaps memory for it.
        data = os.read(descriptor, _USUAL_OCTETS)
        if len(data) == _USUAL_OCTETS:
            data += os.read(descriptor, MAX_SESSION_OCTETS + 1 - _USUAL_OCTETS)
    finally:
        os.close(descriptor)
    if len(data) > MAX_SESSION_OCTETS:
        raise Refused(ReasonCode.SESSION_FILE_MALFORMED, f"{path}: more than {MAX_SESSION_OCTETS} octets, the limit")
    return data
