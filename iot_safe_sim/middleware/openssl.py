"""The functions of OpenSSL 3 that TLS with a card's key needs, called by ctypes with their C types."""

from __future__ import annotations

import ctypes

from iot_safe_sim.middleware.errors import CardTlsError

# Constants of OpenSSL's headers, under their names there.
NID_X9_62_PRIME256V1 = 415
SSL_VERIFY_PEER = 1
X509_V_FLAG_PARTIAL_CHAIN = 0x80000
TLS1_2_VERSION = 0x0303
SSL_CTRL_EXTRA_CHAIN_CERT = 14
SSL_CTRL_SET_TLSEXT_HOSTNAME = 55
SSL_CTRL_SET_MIN_PROTO_VERSION = 123
SSL_ERROR_WANT_READ = 2
SSL_ERROR_SYSCALL = 5
SSL_ERROR_ZERO_RETURN = 6
#: The signing function of an EC_KEY_METHOD: type, digest and its length, signature and its length, kinv, r, key.
SIGN_FUNCTION = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_ubyte),
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_ubyte),
    ctypes.POINTER(ctypes.c_uint),
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
)


class OpenSsl:
    """`ssl` is libssl, `crypto` is libcrypto. Raises CardTlsError when OpenSSL 3 is not installed."""

    def __init__(self) -> None:
        try:
            self.ssl, self.crypto = ctypes.CDLL("libssl.so.3"), ctypes.CDLL("libcrypto.so.3")
        except OSError as error:
            raise CardTlsError(f"OpenSSL 3 is needed for TLS with the card's key: {error}") from error
        pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
        for library, name, result, arguments in (
            (self.crypto, "EC_KEY_OpenSSL", pointer, []),
            (self.crypto, "EC_KEY_METHOD_new", pointer, [pointer]),
            (self.crypto, "EC_KEY_METHOD_free", None, [pointer]),
            (self.crypto, "EC_KEY_METHOD_set_sign", None, [pointer, pointer, pointer, pointer]),
            (self.crypto, "EC_KEY_new_by_curve_name", pointer, [number]),
            (self.crypto, "EC_KEY_oct2key", number, [pointer, text, ctypes.c_size_t, pointer]),
            (self.crypto, "EC_KEY_set_method", number, [pointer, pointer]),
            (self.crypto, "EC_KEY_free", None, [pointer]),
            (self.crypto, "EVP_PKEY_new", pointer, []),
            (self.crypto, "EVP_PKEY_set1_EC_KEY", number, [pointer, pointer]),
            (self.crypto, "EVP_PKEY_free", None, [pointer]),
            (self.crypto, "d2i_X509", pointer, [pointer, ctypes.POINTER(text), ctypes.c_long]),
            (self.crypto, "X509_free", None, [pointer]),
            (self.crypto, "X509_STORE_add_cert", number, [pointer, pointer]),
            (self.crypto, "X509_VERIFY_PARAM_set1_ip_asc", number, [pointer, text]),
            (self.crypto, "X509_VERIFY_PARAM_set_flags", number, [pointer, ctypes.c_ulong]),
            (self.crypto, "X509_verify_cert_error_string", text, [ctypes.c_long]),
            (self.crypto, "ERR_get_error", ctypes.c_ulong, []),
            (self.crypto, "ERR_clear_error", None, []),
            (self.crypto, "ERR_error_string_n", None, [ctypes.c_ulong, text, ctypes.c_size_t]),
            (self.ssl, "TLS_client_method", pointer, []),
            (self.ssl, "SSL_CTX_new", pointer, [pointer]),
            (self.ssl, "SSL_CTX_free", None, [pointer]),
            (self.ssl, "SSL_CTX_ctrl", ctypes.c_long, [pointer, number, ctypes.c_long, pointer]),
            (self.ssl, "SSL_CTX_set_verify", None, [pointer, number, pointer]),
            (self.ssl, "SSL_CTX_get_cert_store", pointer, [pointer]),
            (self.ssl, "SSL_CTX_use_certificate_ASN1", number, [pointer, number, text]),
            (self.ssl, "SSL_CTX_use_PrivateKey", number, [pointer, pointer]),
            (self.ssl, "SSL_new", pointer, [pointer]),
            (self.ssl, "SSL_free", None, [pointer]),
            (self.ssl, "SSL_get0_param", pointer, [pointer]),
            (self.ssl, "SSL_set1_host", number, [pointer, text]),
            (self.ssl, "SSL_ctrl", ctypes.c_long, [pointer, number, ctypes.c_long, pointer]),
            (self.ssl, "SSL_set_fd", number, [pointer, number]),
            (self.ssl, "SSL_connect", number, [pointer]),
            (self.ssl, "SSL_read", number, [pointer, pointer, number]),
            (self.ssl, "SSL_write", number, [pointer, text, number]),
            (self.ssl, "SSL_shutdown", number, [pointer]),
            (self.ssl, "SSL_get_error", number, [pointer, number]),
            (self.ssl, "SSL_get_verify_result", ctypes.c_long, [pointer]),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments

    def reason(self) -> str:
        """The oldest error in this thread's error queue, as text."""
        code = self.crypto.ERR_get_error()
        if not code:
            return "connection closed by the server"
        buffer = ctypes.create_string_buffer(256)
        self.crypto.ERR_error_string_n(code, buffer, len(buffer))
        return buffer.value.decode("ascii", "replace")

    def certificate(self, der: bytes) -> int:
        """A new X509 object, which the caller frees or passes on. Raises CardTlsError."""
        source = ctypes.c_char_p(der)
        result = self.crypto.d2i_X509(None, ctypes.byref(source), len(der))
        if not result:
            raise CardTlsError(f"not a certificate: {self.reason()}")
        return int(result)
