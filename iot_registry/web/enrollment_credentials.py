"""What a device presents to enroll: its one-time token, or its present certificate. Both functions raise Refused."""

from __future__ import annotations

import base64
import binascii
import ssl

from aiohttp import web

from web_service.core import Reason, Refused


def basic_credentials(request: web.Request) -> tuple[str, str]:
    """User and password of HTTP Basic authentication (RFC 7617)."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, separator, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            separator = ""
        if separator:
            return user, password
    raise Refused(Reason.UNAUTHENTICATED, "send the device's name and its one-time token by HTTP Basic authentication")


def client_certificate(request: web.Request) -> bytes:
    """The client certificate of the TLS connection, in DER."""
    tls: ssl.SSLObject | None = request.transport.get_extra_info("ssl_object") if request.transport else None
    der = tls.getpeercert(binary_form=True) if tls else None
    if not der:
        raise Refused(
            Reason.UNAUTHENTICATED, "no TLS client certificate: re-enroll with the device's present certificate and key"
        )
    return der
