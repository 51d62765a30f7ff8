"""Checks of the HTTPS server, as devices and networks see it."""

from __future__ import annotations

import datetime as dt

from health_report import Fact, NotTried
from iot_registry.doctor.facts import Facts, HealthFacts, ServedCertificate
from iot_registry.doctor.findings import Check, Finding, error, info, ok, warning
from iot_registry.local.config import Settings

_START = "start the server (`systemctl start iot-registry`), or correct public_url; its log says why it ended"
# The registry replaces its own certificate 30 days before the expiry.
_SOON = dt.timedelta(days=14)


def check_server(facts: Facts) -> list[Finding]:
    """All checks of the server. Without a connection, the first one says so alone."""
    server = facts.server
    if isinstance(server, NotTried):
        return [error(Check.SERVER_HEALTH, server.why, "an answer", _START)]
    health = _check_health(server.url, server.health)
    if isinstance(server.certificate, NotTried):
        return [health]
    assert not isinstance(facts.settings, NotTried)
    return [
        health,
        *_check_version(server.version, facts.package_version),
        *_check_certificate(server.certificate, server.url, facts.settings, facts.now),
    ]


def _check_health(url: str, health: Fact[HealthFacts]) -> Finding:
    check = Check.SERVER_HEALTH
    if isinstance(health, NotTried):
        return error(check, f"{url}: {health.why}", "an answer", _START)
    if health.status == 503:
        fix = "start the database; the server continues by itself"
        return error(check, f"{url}/health: the server's database does not answer", "status pass", fix)
    if health.status != 200 or health.body.get("status") not in ("pass", "warn"):
        fix = "let public_url lead to the registry: correct it, or the proxy in front of the registry"
        return error(check, f"{url}/health: {health.status}, and not the answer of a registry", "status pass", fix)
    if health.body.get("dns") == "fail":
        fix = "see outbox.waiting and the area dns"
        return warning(check, f"{url}/health: the server cannot publish", "status pass", fix)
    return ok(check, f"{url}/health: {health.body['status']}")


def _check_version(version: Fact[str], installed: str) -> list[Finding]:
    check = Check.SERVER_VERSION
    if isinstance(version, NotTried):
        return [info(check, f"could not be tried: {version.why}")]
    if version != installed:
        found = f"the server runs version {version}, and {installed} is installed"
        return [warning(check, found, f"version {installed}", "restart the server (`systemctl restart iot-registry`)")]
    return [ok(check, f"the server runs version {version}, as installed")]


def _check_certificate(certificate: ServedCertificate, url: str, settings: Settings, now: dt.datetime) -> list[Finding]:
    own = settings.tls.certificate is not None
    names = ", ".join(certificate.names) or "no name"
    name_fix = "obtain a certificate for that name" if own else "set [tls] names, or public_url, and restart the server"
    chain_fix = "write the certificate, and then each CA up to the anchor, into [tls] certificate; check [tls] anchor"
    if not own:
        chain_fix = "if a proxy presents its certificate, set [tls] anchor to its CA; otherwise restart the server"
    findings = []
    if isinstance(certificate.name_problem, NotTried):
        findings.append(info(Check.SERVER_NAME, f"could not be tried: {certificate.name_problem.why}"))
    elif certificate.name_problem is not None:
        found = f"the certificate is for {names}: {certificate.name_problem}"
        findings.append(error(Check.SERVER_NAME, found, f"the name in {url}", name_fix))
    else:
        findings.append(ok(Check.SERVER_NAME, f"the certificate is valid for {url}"))
    if isinstance(certificate.chain_problem, NotTried):
        findings.append(info(Check.SERVER_CHAIN, f"could not be tried: {certificate.chain_problem.why}"))
    elif certificate.chain_problem is not None:
        found = f"clients refuse it: {certificate.chain_problem}"
        findings.append(error(Check.SERVER_CHAIN, found, f"a chain to {certificate.anchor}", chain_fix))
    else:
        findings.append(ok(Check.SERVER_CHAIN, f"clients verify it with {certificate.anchor}"))
    return [*findings, _check_expiry(certificate, now, own=own)]


def _check_expiry(certificate: ServedCertificate, now: dt.datetime, *, own: bool) -> Finding:
    check = Check.SERVER_EXPIRY
    fix = "renew the certificate of [tls], and restart the server" if own else "restart the server, which renews it"
    end = certificate.not_after
    if certificate.not_before > now:
        found = f"valid only from {certificate.not_before:%Y-%m-%d %H:%M}Z: devices refuse the server"
        return error(check, found, "a valid certificate", f"correct the clock, or {fix}")
    if end <= now:
        found = f"the certificate has expired, on {end:%Y-%m-%d %H:%M}Z: devices refuse the server"
        return error(check, found, "a valid certificate", fix)
    found = f"the certificate expires on {end:%Y-%m-%d}, in {(end - now).days} days"
    if end - now < _SOON:
        return warning(check, found, f"valid for {_SOON.days} days", fix)
    return ok(check, found)
