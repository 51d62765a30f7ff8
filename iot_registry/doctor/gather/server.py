"""Gathers facts about the HTTPS server at its public URL, as a device or a network meets it."""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import http.client
import json
import re
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

from health_report import CannotTry, Fact, NotTried
from iot_registry.doctor.facts import HealthFacts, ServedCertificate, ServerFacts
from iot_registry.doctor.gather.probe import Pending
from iot_registry.local.config import Settings

_REQUEST_SECONDS = 5.0
SERVER_SECONDS = 4 * _REQUEST_SECONDS
_MAX_OCTETS = 4 << 20
_HTTPS = 443
_FOLLOWERS = re.compile(rb"^iot_registry_feed_consumers (\d+)(?:\.0)?$", re.MULTILINE)


def read_server(settings: Settings, anchor: Fact[str]) -> ServerFacts:
    """The server's answers and its certificate. anchor: what its clients trust, in PEM."""
    url = settings.public_url
    health = Pending(lambda: _health(url), 2 * _REQUEST_SECONDS)
    version = Pending(lambda: _version(url), 2 * _REQUEST_SECONDS)
    followers = Pending(lambda: _followers(url), 2 * _REQUEST_SECONDS)
    certificate = Pending(lambda: _certificate(url, anchor), SERVER_SECONDS - 2)
    return ServerFacts(url, health.result(), certificate.result(), version.result(), followers.result())


def _place(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.port or _HTTPS
    except ValueError as error:
        raise CannotTry(f"{url}: {error}") from None


def _careless() -> ssl.SSLContext:
    """A context that accepts every certificate. What is read is public, and what is wrong with TLS is found apart."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _get(url: str, path: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    host, port = _place(url)
    connection = http.client.HTTPSConnection(host, port, timeout=_REQUEST_SECONDS, context=_careless())
    with contextlib.closing(connection):
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read(_MAX_OCTETS)
        except http.client.HTTPException as error:
            raise CannotTry(f"no HTTP: {type(error).__name__}") from None


def _object(octets: bytes) -> dict[str, Any]:
    try:
        data = json.loads(octets)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _health(url: str) -> HealthFacts:
    status, headers, octets = _get(url, "/health")
    return HealthFacts(status, _object(octets), _date(headers.get("Date")))


def _date(text: str | None) -> dt.datetime | None:
    try:
        found = email.utils.parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    # RFC 9110 section 5.6.7: always in UTC.
    return found.replace(tzinfo=dt.UTC) if found and found.tzinfo is None else found


def _version(url: str) -> str:
    status, _headers, octets = _get(url, "/v1/openapi.json")
    about = _object(octets).get("info")
    version = about.get("version") if isinstance(about, dict) else None
    if status != 200 or not isinstance(version, str):
        raise CannotTry(f"{url}/v1/openapi.json: {status}, and no version")
    return "".join(c if c.isprintable() else "?" for c in version[:40])


def _followers(url: str) -> int:
    status, _headers, octets = _get(url, "/metrics")
    match = _FOLLOWERS.search(octets)
    if status != 200 or match is None:
        raise CannotTry(f"{url}/metrics: {status}, and no number of followers")
    return int(match[1])


def _certificate(url: str, anchor: Fact[str]) -> ServedCertificate:
    host, port = _place(url)
    with _connected(host, port) as plain, _careless().wrap_socket(plain, server_hostname=host) as secured:
        der = secured.getpeercert(binary_form=True)
    if der is None:
        raise CannotTry("the server presents no certificate")
    certificate = x509.load_der_x509_certificate(der)
    subject = ""
    chain: Fact[str | None]
    name: Fact[str | None]
    if isinstance(anchor, NotTried):
        chain = name = NotTried(f"what clients trust is unknown: {anchor.why}")
    else:
        subject = x509.load_pem_x509_certificate(anchor.encode()).subject.rfc4514_string()
        chain = _refusal(host, port, anchor, check_name=False)
        name = NotTried("clients refuse the certificate before they look at its name")
        if chain is None:
            name = _refusal(host, port, anchor, check_name=True)
    return ServedCertificate(
        _names(certificate), certificate.not_valid_before_utc, certificate.not_valid_after_utc, subject, chain, name
    )


def _connected(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port), timeout=_REQUEST_SECONDS)


def _refusal(host: str, port: int, anchor: str, *, check_name: bool) -> str | None:
    """Why a client that trusts `anchor` refuses the server's certificate, or None."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_name
    # The anchor may be any CA of the chain, not only a root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=anchor)
    try:
        with _connected(host, port) as plain, context.wrap_socket(plain, server_hostname=host):
            return None
    except ssl.SSLCertVerificationError as error:
        return error.verify_message


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return (
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    )
