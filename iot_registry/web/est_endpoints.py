"""Enrollment over Secure Transport (RFC 7030, with RFC 8951): cacerts, csrattrs, simpleenroll, simplereenroll.

An optional label in the path names the domain. Without one, it is the default domain.
"""

from __future__ import annotations

import asyncio
import math

import structlog
from aiohttp import web
from cryptography import x509

from iot_registry.core import est_codec
from iot_registry.local import metrics
from iot_registry.service import authorities, domains
from iot_registry.service.enrollment import WRONG_CREDENTIALS
from iot_registry.store.models import Certificate
from iot_registry.web.call import Call
from iot_registry.web.context import Context
from iot_registry.web.enrollment_credentials import basic_credentials, client_certificate
from web_service.core import Reason, Refused
from web_service.local import utc_now

log = structlog.get_logger("iot_registry.web")

# Retry-After of a 202 whose certificate waits for the DNS. RFC 7030 section 4.2.3 requires the field.
RETRY_SECONDS = 5
# How often an enrollment reads its certificate's state if another process publishes, which cannot notify this one.
POLL_SECONDS = 0.5


def _domain_name(call: Call) -> str:
    return call.request.match_info.get("label") or call.context.settings.default_domain


async def cacerts(call: Call) -> web.Response:
    name = _domain_name(call)
    rows = await call.context.read(lambda s: domains.chain(s, domains.find_domain(s, call.who, name)))
    return _est_response(est_codec.certs_only([authorities.certificate(row) for row in rows]), est_codec.CERTS_ONLY)


async def csrattrs(call: Call) -> web.Response:
    name = _domain_name(call)
    await call.context.read(lambda s: domains.find_domain(s, call.who, name))
    return _est_response(est_codec.csr_attributes(), est_codec.CSR_ATTRS)


async def simpleenroll(call: Call) -> web.Response:
    context = call.context
    user, secret = basic_credentials(call.request)
    limits = ((context.name_limit, user[:253].lower()), (context.address_limit, str(call.request.remote)))
    name = _domain_name(call)
    # The body is read first: the request is complete then, even if the client disconnects afterwards.
    csr = await _csr(call)
    # The limits apply to wrong credentials only: guesses of others must not lock out the device that has the token.
    if not await context.read(lambda s: context.enrollment.is_open(s, name, user, secret, utc_now())):
        for limit, key in limits:
            limit.check(key)
            limit.add_failure(key)
        raise Refused(Reason.UNAUTHENTICATED, WRONG_CREDENTIALS)
    try:
        certificate = await context.write(
            lambda s: context.enrollment.by_token(
                s, domains.find_domain(s, call.who, name), user, secret, csr, utc_now()
            )
        )
    except Refused as refused:
        if refused.reason is Reason.UNAUTHENTICATED:
            for limit, key in limits:
                limit.add_failure(key)
        raise
    return await _deliver(context, certificate, "initial")


async def simplereenroll(call: Call) -> web.Response:
    context, peer = call.context, client_certificate(call.request)
    csr = await _csr(call)
    name = _domain_name(call)
    certificate = await context.write(
        lambda s: context.enrollment.by_certificate(s, domains.find_domain(s, call.who, name), peer, csr, utc_now())
    )
    return await _deliver(context, certificate, "renewal")


async def _csr(call: Call) -> bytes:
    if call.request.content_type not in est_codec.CSR_MEDIA_TYPES:
        raise Refused(Reason.BAD_MEDIA_TYPE, f"found {call.request.content_type}, expected application/pkcs10")
    return est_codec.decode_body(await call.raw_body())


async def _deliver(context: Context, certificate: Certificate, kind: str) -> web.Response:
    """The certificate, once the DNS serves its record; else 202 and when to send the same request again."""
    wait = await _until_ready(context, certificate)
    if wait != 0.0:
        metrics.ENROLLMENTS.labels(kind, "waiting").inc()
        return _accepted(wait)
    moment = utc_now()
    delivered = await context.write(lambda s: context.enrollment.deliver(s, certificate.id, moment), publishes=False)
    result = "issued" if delivered.delivered_at == moment else "again"
    metrics.ENROLLMENTS.labels(kind, result).inc()
    log.info(f"enrollment.{result}", kind=kind, serial=delivered.serial, fingerprint=delivered.fingerprint)
    return _est_response(est_codec.certs_only([x509.load_der_x509_certificate(delivered.der)]), est_codec.CERTS_ONLY)


async def _until_ready(context: Context, certificate: Certificate) -> float | None:
    """Wait at most `publish_wait_seconds` until the certificate may be delivered.

    Returns what is left then, as `Enrollment.seconds_until_ready` does.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + context.settings.enrollment.publish_wait_seconds
    row, notified = certificate, False
    while True:
        wait = context.enrollment.seconds_until_ready(row, utc_now())
        if notified and wait is None and not row.hold_seconds:
            return 0.0
        left = deadline - clock()
        if wait == 0.0 or left <= 0 or (wait is not None and wait > left):
            return wait
        if wait is not None:
            await asyncio.sleep(wait)
            continue
        notified = await context.published.wait(certificate.id, min(left, POLL_SECONDS))
        if not notified or row.hold_seconds:
            row = await context.read(lambda s: s.get_one(Certificate, certificate.id))


def _accepted(wait: float | None) -> web.Response:
    """202 (RFC 7030 section 4.2.3). wait: seconds; None: until the DNS serves the record."""
    seconds = RETRY_SECONDS if wait is None else max(1, math.ceil(wait))
    return web.Response(
        status=202,
        headers={"Retry-After": str(seconds)},
        text=f"The certificate waits for its DNS record; send the same request again in {seconds} s.\n",
    )


def _est_response(body: bytes, media_type: str) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": media_type, "Content-Transfer-Encoding": "base64"})
