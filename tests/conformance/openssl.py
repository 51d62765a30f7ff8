"""OpenSSL's own DANE verification (SSL_dane_*, X509_verify_cert), offline: the independent judge of the cases."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives import serialization

from dane_radius.core.tlsa import TlsaRecord

_P = ctypes.c_void_p
_X509_V_FLAG_PARTIAL_CHAIN = 0x80000
_DANETLS_USAGE_LAST = 3


def _load() -> tuple[Any, Any]:
    ssl, crypto = ctypes.CDLL("libssl.so.3"), ctypes.CDLL("libcrypto.so.3")
    for library, name, result, arguments in (
        (ssl, "TLS_method", _P, []),
        (ssl, "SSL_CTX_new", _P, [_P]),
        (ssl, "SSL_CTX_free", None, [_P]),
        (ssl, "SSL_CTX_dane_enable", ctypes.c_int, [_P]),
        (ssl, "SSL_new", _P, [_P]),
        (ssl, "SSL_free", None, [_P]),
        (ssl, "SSL_dane_enable", ctypes.c_int, [_P, ctypes.c_char_p]),
        (ssl, "SSL_dane_tlsa_add", ctypes.c_int, [_P] + [ctypes.c_uint8] * 3 + [ctypes.c_char_p, ctypes.c_size_t]),
        (ssl, "SSL_get0_dane", _P, [_P]),
        (ssl, "SSL_get0_param", _P, [_P]),
        (crypto, "d2i_X509", _P, [_P, ctypes.POINTER(ctypes.c_char_p), ctypes.c_long]),
        (crypto, "X509_free", None, [_P]),
        (crypto, "X509_STORE_new", _P, []),
        (crypto, "X509_STORE_free", None, [_P]),
        (crypto, "X509_STORE_add_cert", ctypes.c_int, [_P, _P]),
        (crypto, "OPENSSL_sk_new_null", _P, []),
        (crypto, "OPENSSL_sk_push", ctypes.c_int, [_P, _P]),
        (crypto, "OPENSSL_sk_free", None, [_P]),
        (crypto, "X509_STORE_CTX_new", _P, []),
        (crypto, "X509_STORE_CTX_free", None, [_P]),
        (crypto, "X509_STORE_CTX_init", ctypes.c_int, [_P] * 4),
        (crypto, "X509_STORE_CTX_set_default", ctypes.c_int, [_P, ctypes.c_char_p]),
        (crypto, "X509_STORE_CTX_set0_dane", None, [_P, _P]),
        (crypto, "X509_STORE_CTX_get0_param", _P, [_P]),
        (crypto, "X509_STORE_CTX_get_error", ctypes.c_int, [_P]),
        (crypto, "X509_VERIFY_PARAM_set1", ctypes.c_int, [_P, _P]),
        (crypto, "X509_VERIFY_PARAM_set_flags", ctypes.c_int, [_P, ctypes.c_ulong]),
        (crypto, "X509_VERIFY_PARAM_set_time", None, [_P, ctypes.c_long]),
        (crypto, "X509_VERIFY_PARAM_set_auth_level", None, [_P, ctypes.c_int]),
        (crypto, "X509_verify_cert", ctypes.c_int, [_P]),
        (crypto, "X509_verify_cert_error_string", ctypes.c_char_p, [ctypes.c_long]),
        (crypto, "ERR_clear_error", None, []),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return ssl, crypto


SSL, CRYPTO = _load()


@dataclass(frozen=True)
class Judgement:
    """`usable`: how many records OpenSSL can use. `accepted`: whether one of them matches. `error`: its text."""

    usable: int
    accepted: bool
    error: str


def _x509(der: bytes) -> Any:
    pointer = ctypes.c_char_p(der)
    certificate = CRYPTO.d2i_X509(None, ctypes.byref(pointer), len(der))
    if not certificate:
        raise ValueError("OpenSSL does not read this certificate")
    return certificate


def judge(
    leaf: bytes,
    name: str,
    records: Sequence[TlsaRecord],
    trusted: Sequence[bytes],
    sent: Sequence[bytes],
    now: datetime,
) -> Judgement:
    """Verify `leaf` as a TLS server with DANE does. `trusted`: the server's store. `sent`: what the client sends."""
    context = SSL.SSL_CTX_new(SSL.TLS_method())
    SSL.SSL_CTX_dane_enable(context)
    connection = SSL.SSL_new(context)
    store, stack, verify = CRYPTO.X509_STORE_new(), CRYPTO.OPENSSL_sk_new_null(), CRYPTO.X509_STORE_CTX_new()
    owned = []
    try:
        if SSL.SSL_dane_enable(connection, name.encode()) <= 0:
            raise ValueError(f"OpenSSL takes no DANE name {name}")
        usable = 0
        for r in records:
            added = SSL.SSL_dane_tlsa_add(connection, r.usage, r.selector, r.matching_type, r.data, len(r.data))
            usable += added > 0
            CRYPTO.ERR_clear_error()
        for der in trusted:
            owned.append(_x509(der))
            CRYPTO.X509_STORE_add_cert(store, owned[-1])
        for der in sent:
            owned.append(_x509(der))
            CRYPTO.OPENSSL_sk_push(stack, owned[-1])
        owned.append(_x509(leaf))
        CRYPTO.X509_STORE_CTX_init(verify, store, owned[-1], stack)
        CRYPTO.X509_STORE_CTX_set_default(verify, b"ssl_client")
        parameters = CRYPTO.X509_STORE_CTX_get0_param(verify)
        CRYPTO.X509_VERIFY_PARAM_set1(parameters, SSL.SSL_get0_param(connection))
        CRYPTO.X509_VERIFY_PARAM_set_flags(parameters, _X509_V_FLAG_PARTIAL_CHAIN)
        CRYPTO.X509_VERIFY_PARAM_set_time(parameters, int(now.timestamp()))
        CRYPTO.X509_VERIFY_PARAM_set_auth_level(parameters, 2)
        CRYPTO.X509_STORE_CTX_set0_dane(verify, SSL.SSL_get0_dane(connection))
        good = CRYPTO.X509_verify_cert(verify) == 1
        code = CRYPTO.X509_STORE_CTX_get_error(verify)
        # Without a usable record, OpenSSL falls back to plain PKIX. RFC 7671 section 10.3 rejects here.
        return Judgement(usable, good and usable > 0, CRYPTO.X509_verify_cert_error_string(code).decode())
    finally:
        CRYPTO.X509_STORE_CTX_free(verify)
        CRYPTO.OPENSSL_sk_free(stack)
        CRYPTO.X509_STORE_free(store)
        for certificate in owned:
            CRYPTO.X509_free(certificate)
        SSL.SSL_free(connection)
        SSL.SSL_CTX_free(context)
        CRYPTO.ERR_clear_error()


def sign_sha1(message: bytes, key: Any) -> bytes:
    """An ecdsa-with-SHA1 signature, by the openssl command."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with tempfile.NamedTemporaryFile(suffix=".key") as file:
        file.write(pem)
        file.flush()
        command = ["openssl", "dgst", "-sha1", "-sign", file.name]
        return subprocess.run(command, input=message, capture_output=True, check=True, timeout=30).stdout
