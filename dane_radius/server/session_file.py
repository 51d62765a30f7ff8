"""The client certificate out of a TLS session that FreeRADIUS wrote down.

With `cache { persist_dir = ... }` FreeRADIUS stores each new session as OpenSSL's DER SSL_SESSION, which holds
the peer's leaf certificate in context tag [3]. Those bytes prove which key was on the line; every
`TLS-Client-Cert-*` attribute is a string that the certificate's issuer chose.

The file also holds the session's master secret: it is read into memory, and nothing but the certificate leaves here.
"""

from __future__ import annotations

import hashlib
import os
import re

from dane_radius.core import der
from dane_radius.core.reasons import ReasonCode, Refused

# An SSL_SESSION is a few hundred octets plus the leaf; OpenSSL's default limit for a whole chain is 100 KiB.
MAX_SESSION_OCTETS = 256 * 1024
_USUAL_OCTETS = 4096
# Non-blocking, for something that is no file: a FIFO reads as empty then, and a folder refuses.
_HOW = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_FILE = ("", ".", "..")
_PEER = der.context(3)
# With its header of four octets. One shorter than that would have its length in one octet.
_MIN_USUAL_OCTETS = 4 + 0x100


def leaf_from_session(data: bytes) -> bytes:
    """The DER of the peer's leaf certificate in an encoded SSL_SESSION.

    Raises Refused: `session_file_malformed` or `session_without_certificate`.
    """
    return _usual_leaf(data) or _read_leaf(data)


def _usual_leaf(data: bytes) -> bytes | None:
    """As `_read_leaf` for what OpenSSL usually writes: a certificate of 256 octets to 64 KiB among short elements.

    None for everything else, broken or not. No call and no object per element: between two packets, the server's
    cryptography has had the processor forget the interpreter, and each step costs many times what it does in a loop.
    """
    end = len(data)
    try:
        if data[0] != der.SEQUENCE or data[1] != 0x82 or 4 + (data[2] << 8 | data[3]) != end:
            return None
        before = _skip_short(data, 4, end)
        # The peer's element, and the certificate in it, each with two octets of length.
        if data[before] != _PEER or data[before + 1] != 0x82:
            return None
        start = before + 4
        stop = start + (data[before + 2] << 8 | data[before + 3])
        if data[start] != der.SEQUENCE or data[start + 1] != 0x82:
            return None
        if start + 4 + (data[start + 2] << 8 | data[start + 3]) != stop or _skip_short(data, stop, end) != end:
            return None
    except IndexError:
        return None
    # Shorter ones would have their length in one octet; the strict reader says so.
    return data[start:stop] if stop - start >= _MIN_USUAL_OCTETS else None


def _skip_short(data: bytes, offset: int, end: int) -> int:
    """The offset behind the elements of up to 127 octets that come first and are not the peer's."""
    while offset < end:
        tag = data[offset]
        length = data[offset + 1]
        if tag == _PEER or length > 0x7F or tag & 0x1F == 0x1F:
            break
        offset += length + 2
    return offset


def _read_leaf(data: bytes) -> bytes:
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


_STORED = re.compile(r"dane1 ([0-9a-f]{64}) (/\S+)\Z")


def to_store(leaf_fingerprint: str, path: str) -> str:
    """What an accepted session keeps for its resumption: which certificate it was for, and where that stands."""
    return f"dane1 {leaf_fingerprint} {path}"


def read_resumed(stored: str, *, directory: str | None = None) -> bytes:
    """The leaf certificate of a resumed session, from what `to_store` left with it.

    A resumed handshake shows no certificate; the one of the full handshake is still in its session file, and the
    decision is made on it anew (RFC 9190 section 5.7). Raises Refused: `resumption_data_missing` when the file is gone,
    `resumption_data_invalid` for anything that does not verify.
    """
    match = _STORED.match(stored)
    if not match:
        raise Refused(ReasonCode.RESUMPTION_DATA_INVALID, f"the session carries {stored[:40]!r}, which is not ours")
    fingerprint, path = match.groups()
    try:
        leaf = read_session_file(path, directory=directory)
    except Refused as refusal:
        gone = refusal.code is ReasonCode.SESSION_FILE_MISSING
        code = ReasonCode.RESUMPTION_DATA_MISSING if gone else ReasonCode.RESUMPTION_DATA_INVALID
        raise Refused(code, refusal.detail) from refusal
    if hashlib.sha256(leaf).hexdigest() != fingerprint:
        raise Refused(ReasonCode.RESUMPTION_DATA_INVALID, f"{path} holds another certificate than the session was for")
    return leaf


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
