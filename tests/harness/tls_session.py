"""SSL_SESSIONs as FreeRADIUS writes them: OpenSSL's server side of a handshake in memory, in DER."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from tests.harness.pki import Identity

TLS_1_2, TLS_1_3 = 0x0303, 0x0304
_P = ctypes.c_void_p
_VERIFY_REQUIRED = 0x03
_SET_MIN_PROTO_VERSION, _SET_MAX_PROTO_VERSION = 123, 124
_FILETYPE_PEM = 1
_VERIFY_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, _P)


def _load() -> tuple[Any, Any]:
    ssl, crypto = ctypes.CDLL("libssl.so.3"), ctypes.CDLL("libcrypto.so.3")
    for library, name, result, arguments in (
        (ssl, "TLS_method", _P, []),
        (ssl, "SSL_CTX_new", _P, [_P]),
        (ssl, "SSL_CTX_free", None, [_P]),
        (ssl, "SSL_CTX_ctrl", ctypes.c_long, [_P, ctypes.c_int, ctypes.c_long, _P]),
        (ssl, "SSL_CTX_use_certificate_file", ctypes.c_int, [_P, ctypes.c_char_p, ctypes.c_int]),
        (ssl, "SSL_CTX_use_PrivateKey_file", ctypes.c_int, [_P, ctypes.c_char_p, ctypes.c_int]),
        (ssl, "SSL_CTX_set_verify", None, [_P, ctypes.c_int, _P]),
        (ssl, "SSL_CTX_set_session_id_context", ctypes.c_int, [_P, ctypes.c_char_p, ctypes.c_uint]),
        (ssl, "SSL_new", _P, [_P]),
        (ssl, "SSL_free", None, [_P]),
        (ssl, "SSL_set_bio", None, [_P, _P, _P]),
        (ssl, "SSL_set_connect_state", None, [_P]),
        (ssl, "SSL_set_accept_state", None, [_P]),
        (ssl, "SSL_do_handshake", ctypes.c_int, [_P]),
        (ssl, "SSL_get_session", _P, [_P]),
        (ssl, "i2d_SSL_SESSION", ctypes.c_int, [_P, ctypes.POINTER(ctypes.c_char_p)]),
        (crypto, "BIO_new_bio_pair", ctypes.c_int, [ctypes.POINTER(_P), ctypes.c_size_t] * 2),
        (crypto, "ERR_clear_error", None, []),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return ssl, crypto


def _context(ssl: Any, version: int, identity: tuple[Path, Path] | None) -> Any:
    context = ssl.SSL_CTX_new(ssl.TLS_method())
    ssl.SSL_CTX_ctrl(context, _SET_MIN_PROTO_VERSION, version, None)
    ssl.SSL_CTX_ctrl(context, _SET_MAX_PROTO_VERSION, version, None)
    if identity is not None:
        certificate, key = (str(path).encode() for path in identity)
        if ssl.SSL_CTX_use_certificate_file(context, certificate, _FILETYPE_PEM) != 1:
            raise RuntimeError("OpenSSL does not take the certificate")
        if ssl.SSL_CTX_use_PrivateKey_file(context, key, _FILETYPE_PEM) != 1:
            raise RuntimeError("OpenSSL does not take the key")
    return context


def server_session(folder: Path, server: Identity, client: Identity | None, version: int = TLS_1_3) -> bytes:
    """The server's DER SSL_SESSION of a handshake with `client` (None: a client without a certificate)."""
    ssl, crypto = _load()
    accept_any = _VERIFY_CALLBACK(lambda _preverified, _store: 1)
    theirs = _context(ssl, version, client.save(folder, "session-client") if client else None)
    ours = _context(ssl, version, server.save(folder, "session-server"))
    ssl.SSL_CTX_set_session_id_context(ours, b"test", 4)
    if client is not None:
        ssl.SSL_CTX_set_verify(ours, _VERIFY_REQUIRED, ctypes.cast(accept_any, _P))
    connect, accept = ssl.SSL_new(theirs), ssl.SSL_new(ours)
    one, other = _P(), _P()
    crypto.BIO_new_bio_pair(ctypes.byref(one), 1 << 17, ctypes.byref(other), 1 << 17)
    ssl.SSL_set_bio(connect, one, one)
    ssl.SSL_set_bio(accept, other, other)
    ssl.SSL_set_connect_state(connect)
    ssl.SSL_set_accept_state(accept)
    try:
        for _ in range(8):
            done = [ssl.SSL_do_handshake(end) == 1 for end in (connect, accept)]
            if all(done):
                break
        else:
            raise RuntimeError("the handshake did not end")
        session = ssl.SSL_get_session(accept)
        buffer = ctypes.create_string_buffer(ssl.i2d_SSL_SESSION(session, None))
        pointer = ctypes.cast(buffer, ctypes.c_char_p)
        ssl.i2d_SSL_SESSION(session, ctypes.byref(pointer))
        return buffer.raw
    finally:
        for end in (connect, accept):
            ssl.SSL_free(end)
        for context in (theirs, ours):
            ssl.SSL_CTX_free(context)
        crypto.ERR_clear_error()
