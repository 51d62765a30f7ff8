"""Enrollment over Secure Transport (RFC 7030, with RFC 8951): cacerts, csrattrs, simpleenroll,
simplereenroll.

An optional label in the path names the domain; without one it is the registry's first.
"""

from __future__ import annotations

import asyncio
import math
import ssl

import structlog
from aiohttp import web
from cryptography import x509

from iot_registry import metrics
from iot_registry.errors import Reason, Refused
from iot_registry.pki import est_codec
from iot_registry.service import authorities, domains
from iot_registry.service.access import Principal, Scope
from iot_registry.service.enrollment import WRONG_CREDENTIALS
from iot_registry.store.models import Certificate
from iot_registry.web.context import CONTEXT, Context, basic_credentials, now, raw_body

log = structlog.get_logger("iot_registry.web")

# What a client is told to wait if the DNS has not answered yet; RFC 7030 section 4.2.3 makes Retry-After
# a MUST.
RETRY_SECONDS = 5

# How often an enrollment looks whether its record is in the DNS, where another process publishes and cannot tell it.
LOOK_SECONDS = 0.5

_ANYONE = Principal("public", frozenset({Scope.DOMAIN_READ}))


def _domain_name(request: web.Request) -> str:
    return request.match_info.get("label") or request.app[CONTEXT].settings.default_domain


async def cacerts(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    name = _domain_name(request)
    rows = await context.read(lambda s: domains.chain(s, domains.find_domain(s, _ANYONE, name)))
    return _answer(est_codec.certs_only([authorities.certificate(row) for row in rows]), est_codec.CERTS_ONLY)


async def csrattrs(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    name = _domain_name(request)
    await context.read(lambda s: domains.find_domain(s, _ANYONE, name))
    return _answer(est_codec.csr_attributes(), est_codec.CSR_ATTRS)


async def simpleenroll(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    user, secret = basic_credentials(request)
    limits = ((context.name_limit, user[:253].lower()), (context.address_limit, str(request.remote)))
    name = _domain_name(request)
    # Before anything else is waited for: the request is whole then, even if its sender is gone by now.
    csr = await _csr(request)
    # Before any limit: a stranger's wrong guesses for a name must not keep out the device that has the token.
    if not await context.read(lambda s: context.enrollment.is_open(s, name, user, secret, now())):
        for limit, key in limits:
            limit.check(key)
            limit.failed(key)
        raise Refused(Reason.UNAUTHENTICATED, WRONG_CREDENTIALS)
    try:
        certificate = await context.write(
            lambda s: context.enrollment.by_token(s, domains.find_domain(s, _ANYONE, name), user, secret, csr, now())
        )
    except Refused as refused:
        if refused.reason is Reason.UNAUTHENTICATED:
            for limit, key in limits:
                limit.failed(key)
        raise
    return await _hand_out(context, certificate, "initial")


async def simplereenroll(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    peer = _peer_certificate(request)
    csr = await _csr(request)
    name = _domain_name(request)
    certificate = await context.write(
        lambda s: context.enrollment.by_certificate(s, domains.find_domain(s, _ANYONE, name), peer, csr, now())
    )
    return await _hand_out(context, certificate, "renewal")


def _peer_certificate(request: web.Request) -> bytes:
    tls: ssl.SSLObject | None = request.transport.get_extra_info("ssl_object") if request.transport else None
    der = tls.getpeercert(binary_form=True) if tls else None
    if not der:
        raise Refused(Reason.UNAUTHENTICATED, "re-enrollment needs the device's present certificate in TLS")
    return der


async def _csr(request: web.Request) -> bytes:
    if request.content_type not in est_codec.CSR_MEDIA_TYPES:
        raise Refused(Reason.BAD_MEDIA_TYPE, f"found {request.content_type}, expected application/pkcs10")
    return est_codec.decode_body(await raw_body(request))


async def _hand_out(context: Context, certificate: Certificate, kind: str) -> web.Response:
    """The certificate, once the DNS serves its record; else 202 and when to ask again with the same
    request."""
    wait = await _until_ready(context, certificate)
    if wait != 0.0:
        metrics.ENROLLMENTS.labels(kind, "waiting").inc()
        return _later(wait)
    moment = now()
    delivered = await context.write(lambda s: context.enrollment.deliver(s, certificate.id, moment), publishes=False)
    result = "issued" if delivered.delivered_at == moment else "again"
    metrics.ENROLLMENTS.labels(kind, result).inc()
    log.info(f"enrollment.{result}", kind=kind, serial=delivered.serial, fingerprint=delivered.fingerprint)
    return _answer(est_codec.certs_only([x509.load_der_x509_certificate(delivered.der)]), est_codec.CERTS_ONLY)


async def _until_ready(context: Context, certificate: Certificate) -> float | None:
    """Wait for the certificate's time, as long as is configured; what is left then, as of `seconds_until_ready`."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + context.settings.enrollment.publish_wait_seconds
    row, told = certificate, False
    while True:
        wait = context.enrollment.seconds_until_ready(row, now())
        if told and wait is None and not row.hold_seconds:
            return 0.0
        left = deadline - clock()
        if wait == 0.0 or left <= 0 or (wait is not None and wait > left):
            return wait
        if wait is not None:
            await asyncio.sleep(wait)
            continue
        told = await context.settled.wait(certificate.id, min(left, LOOK_SECONDS))
        if not told or row.hold_seconds:
            row = await context.read(lambda s: s.get_one(Certificate, certificate.id))


def _later(wait: float | None) -> web.Response:
    seconds = RETRY_SECONDS if wait is None else max(1, math.ceil(wait))
    return web.Response(
        status=202,
        headers={"Retry-After": str(seconds)},
        text=f"The certificate waits for its DNS record; send the same request again in {seconds} s.\n",
    )


def _answer(body: bytes, media_type: str) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": media_type, "Content-Transfer-Encoding": "base64"})


def add_routes(app: web.Application) -> None:
    for prefix in ("/.well-known/est", "/.well-known/est/{label}"):
        app.router.add_get(f"{prefix}/cacerts", cacerts)
        app.router.add_get(f"{prefix}/csrattrs", csrattrs)
        app.router.add_post(f"{prefix}/simpleenroll", simpleenroll)
        app.router.add_post(f"{prefix}/simplereenroll", simplereenroll)
