"""A TLS client whose private key is on a card: OpenSSL does TLS, the card signs.

Python's ssl module uses only keys that it can load. So this module calls OpenSSL directly, with an EC key whose signing
function (EC_KEY_METHOD) asks the card, as an OpenSSL engine for a hardware token does. It works with any card, over a
serial port too. The private key is never loaded.
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

from iot_safe_sim.middleware import openssl
from iot_safe_sim.middleware.errors import CardTlsBrokenError, CardTlsError
from iot_safe_sim.middleware.openssl import OpenSsl

#: Signs a digest with the device key. Returns an ECDSA-Sig-Value (DER).
DigestSigner = Callable[[bytes], bytes]


@dataclass(frozen=True)
class CardIdentity:
    """A certificate (DER) whose key is on a card, with the CA certificates that follow it, and the public point."""

    certificate: bytes
    chain: tuple[bytes, ...]
    point: bytes
    sign: DigestSigner


class CardTlsSocket:
    """A connected TLS client, with the methods of a socket that http.client needs. All raise CardTlsError."""

    def __init__(self, host: str, port: int, anchors: Iterable[bytes], identity: CardIdentity, timeout: float) -> None:
        """Connect and do the handshake. `anchors` are trusted certificates (DER). `timeout` is in seconds."""
        self._openssl = OpenSsl()
        self._failure: Exception | None = None
        self._cleanup = contextlib.ExitStack()
        try:
            self._socket = socket.create_connection((host, port), timeout)
            self._cleanup.callback(self._socket.close)
            # OpenSSL reads the descriptor itself, so the socket is blocking and the kernel applies the time limit.
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
                # A server that refuses the client's certificate sends an alert and closes. Read the alert.
                self._openssl.ssl.SSL_read(self._ssl, ctypes.create_string_buffer(1), 1)
            self._check(sent, "sending")

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes; empty when the server has closed the connection."""
        buffer = ctypes.create_string_buffer(size)
        self._openssl.crypto.ERR_clear_error()
        count = self._openssl.ssl.SSL_read(self._ssl, buffer, size)
        if count <= 0 and self._openssl.ssl.SSL_get_error(self._ssl, count) == openssl.SSL_ERROR_ZERO_RETURN:
            return b""
        self._check(count, "receiving")
        return buffer.raw[:count]

    def makefile(self, mode: str, buffering: int = -1) -> io.BufferedReader:
        """A reader, for http.client."""
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Send the closing alert and close. May be called twice."""
        self._cleanup.close()

    def _context(self, anchors: Iterable[bytes], identity: CardIdentity) -> int:
        lib = self._openssl
        context = lib.ssl.SSL_CTX_new(lib.ssl.TLS_client_method())
        self._cleanup.callback(lib.ssl.SSL_CTX_free, context)
        lib.ssl.SSL_CTX_ctrl(context, openssl.SSL_CTRL_SET_MIN_PROTO_VERSION, openssl.TLS1_2_VERSION, None)
        lib.ssl.SSL_CTX_set_verify(context, openssl.SSL_VERIFY_PEER, None)
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
            lib.ssl.SSL_CTX_ctrl(context, openssl.SSL_CTRL_EXTRA_CHAIN_CERT, 0, lib.certificate(der))
        key = self._key(identity)
        self._require(lib.ssl.SSL_CTX_use_PrivateKey(context, key), "the certificate is not for the card's key")
        return int(context)

    def _key(self, identity: CardIdentity) -> int:
        """An EVP_PKEY with the public point and a signing function that asks the card."""
        crypto = self._openssl.crypto

        def sign(kind: int, digest: Any, length: int, signature: Any, size: Any, inverse: Any, r: Any, key: Any) -> int:
            # No exception may pass through OpenSSL: keep it, let the handshake fail, and raise it then.
            try:
                der = identity.sign(ctypes.string_at(digest, length))
            except Exception as error:
                self._failure = error
                return 0
            ctypes.memmove(signature, der, len(der))
            size[0] = len(der)
            return 1

        self._callback = openssl.SIGN_FUNCTION(sign)
        method = crypto.EC_KEY_METHOD_new(crypto.EC_KEY_OpenSSL())
        self._cleanup.callback(crypto.EC_KEY_METHOD_free, method)
        crypto.EC_KEY_METHOD_set_sign(method, ctypes.cast(self._callback, ctypes.c_void_p), None, None)
        key = crypto.EC_KEY_new_by_curve_name(openssl.NID_X9_62_PRIME256V1)
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
        lib.crypto.X509_VERIFY_PARAM_set_flags(parameters, openssl.X509_V_FLAG_PARTIAL_CHAIN)
        name = host.encode("idna")
        try:
            ipaddress.ip_address(host)
        except ValueError:
            self._require(lib.ssl.SSL_set1_host(ssl, name), "the server's name")
            lib.ssl.SSL_ctrl(ssl, openssl.SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, name)
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
        if kind == openssl.SSL_ERROR_WANT_READ:
            raise CardTlsBrokenError(f"{action}: no answer in time")
        reason = self._openssl.reason()
        if kind == openssl.SSL_ERROR_SYSCALL or "unexpected eof" in reason:
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
