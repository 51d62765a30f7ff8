"""TLS as a client whose private key is on the card: OpenSSL does TLS, the card signs.

Python's ssl module can only load keys. So OpenSSL's library is called directly here, with an EC key whose signing
function is ours (EC_KEY_METHOD): the same way by which an OpenSSL engine for a hardware token works. It serves any
card behind the middleware, whatever its key store, and over a serial port as well. The private key is never loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

#: Signs a digest with the device key and gives an ECDSA-Sig-Value.
DigestSigner = Callable[[bytes], bytes]

_P256 = 415  # NID_X9_62_prime256v1
_VERIFY_PEER = 1
_PARTIAL_CHAIN = 0x80000
_TLS_1_2 = 0x0303
_CTRL_SET_MIN_PROTO, _CTRL_SET_HOSTNAME, _CTRL_EXTRA_CHAIN = 123, 55, 14
_ERROR_WANT_READ, _ERROR_SYSCALL, _ERROR_ZERO_RETURN = 2, 5, 6
_SIGN = ctypes.CFUNCTYPE(
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


class CardTlsError(OSError):
    """The TLS connection could not be made or broke; the text says at what."""


class CardTlsBrokenError(CardTlsError, ConnectionError):
    """An established connection broke off, or fell silent."""


@dataclass(frozen=True)
class CardIdentity:
    """A certificate whose key is on the card. `chain` follows the certificate, DER each."""

    certificate: bytes
    chain: tuple[bytes, ...]
    point: bytes
    sign: DigestSigner


class _OpenSsl:
    """The functions of OpenSSL 3 that are used, with their types."""

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
        """The oldest error of this thread, in words."""
        code = self.crypto.ERR_get_error()
        if not code:
            return "connection closed by the server"
        buffer = ctypes.create_string_buffer(256)
        self.crypto.ERR_error_string_n(code, buffer, len(buffer))
        return buffer.value.decode("ascii", "replace")

    def certificate(self, der: bytes) -> int:
        """An X509 object. The caller frees it or gives it away."""
        source = ctypes.c_char_p(der)
        result = self.crypto.d2i_X509(None, ctypes.byref(source), len(der))
        if not result:
            raise CardTlsError(f"not a certificate: {self.reason()}")
        return int(result)


class CardTlsSocket:
    """A connected TLS client; looks enough like a socket for http.client. Raises CardTlsError."""

    def __init__(self, host: str, port: int, anchors: Iterable[bytes], identity: CardIdentity, timeout: float) -> None:
        """Connect and shake hands. `anchors`: trusted certificates (DER) for the server. `timeout` in seconds."""
        self._openssl = _OpenSsl()
        self._failure: Exception | None = None
        self._cleanup = contextlib.ExitStack()
        try:
            self._socket = socket.create_connection((host, port), timeout)
            self._cleanup.callback(self._socket.close)
            # OpenSSL reads the descriptor itself: blocking, with the kernel's time limits.
            self._socket.setblocking(True)
            limit = struct.pack("ll", int(timeout), int(timeout % 1 * 1_000_000))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            context = self._context(anchors, identity)
            self._ssl = self._connect(context, host)
        except BaseException:
            self._cleanup.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def sendall(self, data: bytes) -> None:
        """Send everything."""
        for start in range(0, len(data), 16384):
            part = bytes(data[start : start + 16384])
            sent = self._openssl.ssl.SSL_write(self._ssl, part, len(part))
            if sent <= 0:
                # A server that refuses the client's certificate says so and closes: read what it said.
                self._openssl.ssl.SSL_read(self._ssl, ctypes.create_string_buffer(1), 1)
            self._check(sent, "sending")

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes; empty when the server has closed the connection."""
        buffer = ctypes.create_string_buffer(size)
        self._openssl.crypto.ERR_clear_error()
        count = self._openssl.ssl.SSL_read(self._ssl, buffer, size)
        if count <= 0 and self._openssl.ssl.SSL_get_error(self._ssl, count) == _ERROR_ZERO_RETURN:
            return b""
        self._check(count, "receiving")
        return buffer.raw[:count]

    def makefile(self, mode: str, buffering: int = -1) -> io.BufferedReader:
        """A reader, for http.client."""
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Say goodbye and close. May be called twice."""
        self._cleanup.close()

    def _context(self, anchors: Iterable[bytes], identity: CardIdentity) -> int:
        lib = self._openssl
        context = lib.ssl.SSL_CTX_new(lib.ssl.TLS_client_method())
        self._cleanup.callback(lib.ssl.SSL_CTX_free, context)
        lib.ssl.SSL_CTX_ctrl(context, _CTRL_SET_MIN_PROTO, _TLS_1_2, None)
        lib.ssl.SSL_CTX_set_verify(context, _VERIFY_PEER, None)
        for anchor in anchors:
            certificate = lib.certificate(anchor)
            lib.crypto.X509_STORE_add_cert(lib.ssl.SSL_CTX_get_cert_store(context), certificate)
            lib.crypto.X509_free(certificate)
        self._require(
            lib.ssl.SSL_CTX_use_certificate_ASN1(context, len(identity.certificate), identity.certificate),
            "the client certificate",
        )
        for der in identity.chain:
            # The context owns it from here.
            lib.ssl.SSL_CTX_ctrl(context, _CTRL_EXTRA_CHAIN, 0, lib.certificate(der))
        key = self._key(identity)
        self._require(lib.ssl.SSL_CTX_use_PrivateKey(context, key), "the certificate is not for the card's key")
        return int(context)

    def _key(self, identity: CardIdentity) -> int:
        """An EVP_PKEY with the public point and a signing function that asks the card."""
        crypto = self._openssl.crypto

        def sign(kind: int, digest: Any, length: int, signature: Any, size: Any, inverse: Any, r: Any, key: Any) -> int:
            # Nothing may be raised through OpenSSL: keep it, fail the handshake, raise it then.
            try:
                der = identity.sign(ctypes.string_at(digest, length))
            except Exception as error:
                self._failure = error
                return 0
            ctypes.memmove(signature, der, len(der))
            size[0] = len(der)
            return 1

        self._callback = _SIGN(sign)
        method = crypto.EC_KEY_METHOD_new(crypto.EC_KEY_OpenSSL())
        self._cleanup.callback(crypto.EC_KEY_METHOD_free, method)
        crypto.EC_KEY_METHOD_set_sign(method, ctypes.cast(self._callback, ctypes.c_void_p), None, None)
        key = crypto.EC_KEY_new_by_curve_name(_P256)
        self._cleanup.callback(crypto.EC_KEY_free, key)
        self._require(crypto.EC_KEY_oct2key(key, identity.point, len(identity.point), None), "the public key")
        self._require(crypto.EC_KEY_set_method(key, method), "the signing method")
        wrapped = crypto.EVP_PKEY_new()
        self._cleanup.callback(crypto.EVP_PKEY_free, wrapped)
        self._require(crypto.EVP_PKEY_set1_EC_KEY(wrapped, key), "the key")
        return int(wrapped)

    def _connect(self, context: int, host: str) -> int:
        lib = self._openssl
        ssl = lib.ssl.SSL_new(context)
        self._cleanup.callback(lib.ssl.SSL_free, ssl)
        parameters = lib.ssl.SSL_get0_param(ssl)
        lib.crypto.X509_VERIFY_PARAM_set_flags(parameters, _PARTIAL_CHAIN)
        name = host.encode("idna")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            self._require(lib.ssl.SSL_set1_host(ssl, name), "the server's name")
            lib.ssl.SSL_ctrl(ssl, _CTRL_SET_HOSTNAME, 0, name)
        else:
            self._require(lib.crypto.X509_VERIFY_PARAM_set1_ip_asc(parameters, name), "the server's address")
        lib.ssl.SSL_set_fd(ssl, self._socket.fileno())
        lib.crypto.ERR_clear_error()
        done = lib.ssl.SSL_connect(ssl)
        if done != 1 and self._failure is None:
            verdict = lib.ssl.SSL_get_verify_result(ssl)
            if verdict:
                text = lib.crypto.X509_verify_cert_error_string(verdict).decode()
                raise CardTlsError(f"{host}: the server's certificate is refused: {text}")
        self._ssl = ssl
        self._check(done, f"TLS handshake with {host}")
        self._cleanup.callback(lib.ssl.SSL_shutdown, ssl)
        return int(ssl)

    def _check(self, result: int, action: str) -> None:
        if result > 0:
            return
        if self._failure is not None:
            raise CardTlsError(f"{action}: the card did not sign: {self._failure}") from self._failure
        kind = self._openssl.ssl.SSL_get_error(self._ssl, result)
        if kind == _ERROR_WANT_READ:
            raise CardTlsBrokenError(f"{action}: no answer in time")
        reason = self._openssl.reason()
        if kind == _ERROR_SYSCALL or "unexpected eof" in reason:
            raise CardTlsBrokenError(f"{action}: the connection broke: {reason}")
        raise CardTlsError(f"{action}: {reason}")

    def _require(self, result: int, what: str) -> None:
        if result != 1:
            raise CardTlsError(f"{what}: {self._openssl.reason()}")


class _Reader(io.RawIOBase):
    def __init__(self, connection: CardTlsSocket) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._connection.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)
