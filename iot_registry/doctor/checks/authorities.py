"""Checks of the CAs: when they expire, whether their keys are usable, and unfinished rollovers."""

from __future__ import annotations

import datetime as dt

from health_report import Fact, NotTried
from iot_registry.doctor.facts import AuthorityFacts, Contents
from iot_registry.doctor.findings import Check, Finding, counted, error, info, is_forbidden, ok, unseen, warning
from iot_registry.store.models import AuthorityKind

# The root has no successor: every device must enroll again elsewhere before it expires.
_ROOT_SOON = dt.timedelta(days=2 * 365)
_SERVER_SOON = dt.timedelta(days=365)
_INIT = "run `iot-registry init`"


def check_authorities(contents: Fact[Contents], now: dt.datetime) -> list[Finding]:
    """All checks of the CAs."""
    if isinstance(contents, NotTried):
        return [info(Check.CA_ISSUING, f"could not be tried: {contents.why}")]
    of = {kind: [a for a in contents.authorities if a.kind == kind] for kind in AuthorityKind}
    return [
        *_check_root(of[AuthorityKind.ROOT], now),
        *_check_issuing(contents, of[AuthorityKind.ISSUING], now),
        *_check_server(of[AuthorityKind.SERVER], now),
        *_check_keys([*of[AuthorityKind.ISSUING], *of[AuthorityKind.SERVER]]),
        *_check_rollovers(contents),
    ]


def _until(not_after: dt.datetime, now: dt.datetime) -> str:
    return f"{not_after:%Y-%m-%d}, in {(not_after - now).days} days"


def _check_root(roots: list[AuthorityFacts], now: dt.datetime) -> list[Finding]:
    check = Check.CA_ROOT
    if not roots:
        return [error(check, "there is no root CA", "a root CA", _INIT)]
    root = roots[0]
    fix = "set up a new registry with a root of its own, and enroll the devices there"
    if root.not_after <= now:
        found = f"the root CA has expired, on {root.not_after:%Y-%m-%d}"
        return [error(check, found, "a valid root CA", fix), *_check_root_key(root)]
    found = f"the root CA expires on {_until(root.not_after, now)}"
    if root.not_after - now < _ROOT_SOON:
        return [warning(check, found, f"valid for {_ROOT_SOON.days} days", fix), *_check_root_key(root)]
    return [ok(check, found), *_check_root_key(root)]


def _check_root_key(root: AuthorityFacts) -> list[Finding]:
    check = Check.CA_ROOT_KEY
    problem = root.key_problem
    if root.has_key is None:
        return [unseen(check, problem, "a root key that is kept offline", "")]
    if not root.has_key:
        return [ok(check, "the root's key is not on this machine; keep its medium, and name it with --root-key")]
    if isinstance(problem, str):
        fix = "put the right key there, or delete it if the root's key is kept offline"
        return [warning(check, problem, "the root's key, or none", fix)]
    fix = f"move {root.key} to a medium that is kept offline; `domain add`, `ca renew` and `rollover` need it"
    return [info(check, f"the root's key is on this machine: {root.key}", "a root key that is kept offline", fix)]


def _check_issuing(contents: Contents, issuing: list[AuthorityFacts], now: dt.datetime) -> list[Finding]:
    findings = []
    for domain in contents.domains:
        current = next((a for a in issuing if a.domain == domain.name and a.is_issuing), None)
        if current is None:
            fix = f"run `iot-registry ca renew {domain.name}`"
            found = f"{domain.name} has no issuing CA: no device can enroll"
            findings.append(error(Check.CA_ISSUING, found, "an issuing CA", fix))
        else:
            findings.append(_check_current(domain.name, current, now))
    return findings or [error(Check.CA_ISSUING, "there is no domain", "at least one domain", _INIT)]


def _check_current(domain: str, current: AuthorityFacts, now: dt.datetime) -> Finding:
    check = Check.CA_ISSUING
    fix = f"run `iot-registry ca renew {domain}`, with --root-key if the root's key is kept offline"
    if current.not_after <= now:
        found = f"the issuing CA of {domain} has expired, on {current.not_after:%Y-%m-%d}: no device can enroll"
        return error(check, found, "a valid issuing CA", fix)
    found = f"the issuing CA of {domain} expires on {_until(current.not_after, now)}"
    if current.is_due:
        return warning(check, f"{found}: its successor is due", "a successor", fix)
    return ok(check, f"{found}; {counted(current.certificates, 'certificate')} of it in use")


def _check_server(servers: list[AuthorityFacts], now: dt.datetime) -> list[Finding]:
    check = Check.CA_SERVER
    if not servers:
        return [error(check, "there is no CA for the HTTPS server", "a CA of the server", _INIT)]
    server = servers[0]
    fix = "set [tls] certificate, key and anchor to a certificate of another CA, and give devices the new anchor"
    if server.not_after <= now:
        found = f"the CA of the HTTPS server has expired, on {server.not_after:%Y-%m-%d}: devices refuse the server"
        return [error(check, found, "a valid CA", fix)]
    found = f"the CA of the HTTPS server expires on {_until(server.not_after, now)}"
    if server.not_after - now < _SERVER_SOON:
        return [warning(check, found, f"valid for {_SERVER_SOON.days} days", fix)]
    return [ok(check, found)]


def _check_keys(authorities: list[AuthorityFacts]) -> list[Finding]:
    check = Check.CA_KEYS
    findings = []
    good = 0
    for authority in authorities:
        title = f"the {authority.kind} CA" + (f" of {authority.domain}" if authority.domain else "")
        problem = authority.key_problem
        if is_forbidden(problem):
            findings.append(unseen(check, problem, "the CA's key", ""))
        elif isinstance(problem, NotTried):
            findings.append(info(check, f"the key of {title} was not read: {problem.why}"))
        elif problem is not None:
            fix = "restore the key from a backup, or correct [ca] passphrase_file"
            findings.append(error(check, f"the key of {title}: {problem}", "the CA's key", fix))
        else:
            good += 1
    if good and not findings:
        findings.append(ok(check, f"the registry can use {counted(good, 'key')} of CAs, each that of its certificate"))
    return findings


def _check_rollovers(contents: Contents) -> list[Finding]:
    check = Check.CA_ROLLOVER
    findings = [
        error(
            check,
            f"{rollover.domain}: the rollover of {rollover.started_at:%Y-%m-%d %H:%M}Z stopped at {rollover.step}",
            "a rollover that has finished",
            f"run `iot-registry rollover start {rollover.domain}` again, which resumes it",
        )
        for rollover in contents.rollovers
    ]
    return findings or [ok(check, "no rollover is unfinished")]
