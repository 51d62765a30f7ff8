"""Checks of the trust anchors, and of the certificate that the server shows to devices."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from dane_radius.core import Bogus, Insecure, Secure, SecureAbsent, Usage, matches, select
from dane_radius.doctor.facts import AnchorFacts, CertificateFacts
from dane_radius.doctor.findings import Check, Finding, error, info, ok, warning
from health_report import Fact, NotTried

_RENEW = timedelta(days=14)
_ANCHOR_SOON = timedelta(days=7)
_SET = "set it with `dane-radius install --server-certificate FILE --server-key FILE`, and restart the server"


def check_anchors(anchors: Fact[AnchorFacts], now: datetime) -> list[Finding]:
    """The anchors on disk: how many there are, when the first one expires, and whether the index can be read."""
    if isinstance(anchors, NotTried):
        fix = "run this command as root, or correct the permissions of the folder"
        return [error(Check.ANCHORS_INDEX, anchors.why, "a readable anchor directory", fix)]
    findings = []
    if anchors.index_error:
        fix = "run `trust-sync once`, which writes the index again"
        found = f"{anchors.folder}: {anchors.index_error}; no anchor is in force"
        findings.append(error(Check.ANCHORS_INDEX, found, "a valid index", fix))
    if anchors.lost:
        found = f"{len(anchors.lost)} certificates are missing, such as {anchors.lost[0]}"
        fix = f"run `trust-sync once`, or `openssl rehash {anchors.folder}/ca` for CAs of your own"
        findings.append(warning(Check.ANCHORS_INDEX, found, "a file for each anchor", fix))
    findings.append(_check_count(anchors))
    if anchors.earliest is not None:
        findings.append(_check_anchor_expiry(*anchors.earliest, now))
    return findings


def _check_count(anchors: AnchorFacts) -> Finding:
    found = f"{anchors.in_folder} CAs for OpenSSL, {anchors.in_index} anchors in the index"
    if anchors.in_folder == 0:
        fix = "start trust-sync, or put a CA's PEM file into the folder `ca` and run `openssl rehash` on that folder"
        return warning(Check.ANCHORS_COUNT, f"{found}: OpenSSL refuses every device", "at least one CA", fix)
    return ok(Check.ANCHORS_COUNT, found)


def _check_anchor_expiry(subject: str, not_after: datetime, now: datetime) -> Finding:
    found = f"{subject} expires first, on {not_after:%Y-%m-%d %H:%M}Z"
    fix = "ask the CA's operator for its successor; trust-sync installs it when the registry publishes it"
    if not_after <= now:
        found = f"{subject} has expired, on {not_after:%Y-%m-%d %H:%M}Z: OpenSSL refuses its devices"
        return warning(Check.ANCHORS_EXPIRY, found, "a valid CA", fix)
    if not_after - now < _ANCHOR_SOON:
        return warning(Check.ANCHORS_EXPIRY, found, f"valid for {_ANCHOR_SOON.days} days", fix)
    return ok(Check.ANCHORS_EXPIRY, found)


def check_certificate(certificate: Fact[CertificateFacts], now: datetime) -> list[Finding]:
    """The server's certificate, as devices will verify it."""
    if isinstance(certificate, NotTried):
        return [error(Check.CERTIFICATE_FILE, certificate.why, "a certificate in PEM form", _SET)]
    return [
        ok(Check.CERTIFICATE_FILE, f"{certificate.file} has {len(certificate.chain)} certificates"),
        *_check_chain(certificate),
        *_check_expiry(certificate, now),
        *_check_name(certificate),
        *_check_key(certificate),
        *_check_purpose(certificate),
        *check_record(certificate),
    ]


def _check_chain(certificate: CertificateFacts) -> list[Finding]:
    check = Check.CERTIFICATE_CHAIN
    chain = certificate.chain
    for before, link in pairwise(chain):
        if not link.signs_previous:
            found = f"{link.subject} has not issued {before.subject}, which stands before it"
            fix = f"write into {certificate.file}: the server's certificate, its issuer, and so on up to the root"
            return [error(check, found, "each certificate has issued the one before", fix)]
    last = chain[-1]
    if len(chain) == 1 and last.is_self_signed:
        found = f"{last.subject} is self-signed, as Debian's sample is"
        return [warning(check, found, "a certificate of a CA that your devices know", _SET)]
    issuer = last.subject if last.is_self_signed else last.issuer
    return [ok(check, f"complete for devices that have the CA {issuer}")]


def _check_expiry(certificate: CertificateFacts, now: datetime) -> list[Finding]:
    check = Check.CERTIFICATE_EXPIRY
    first = min(certificate.chain, key=lambda link: link.not_after)
    if certificate.not_before > now:
        found = f"valid only from {certificate.not_before:%Y-%m-%d %H:%M}Z: devices refuse the server"
        return [error(check, found, "a valid certificate", f"correct the clock, or {_SET}")]
    if first.not_after <= now:
        found = f"{first.subject} has expired, on {first.not_after:%Y-%m-%d %H:%M}Z: devices refuse the server"
        return [error(check, found, "a valid certificate", f"renew it, and {_SET}")]
    found = f"{first.subject} expires on {first.not_after:%Y-%m-%d %H:%M}Z, in {(first.not_after - now).days} days"
    if first.not_after - now < _RENEW:
        return [warning(check, found, f"valid for {_RENEW.days} days", f"renew it, and {_SET}")]
    return [ok(check, found)]


def _check_name(certificate: CertificateFacts) -> list[Finding]:
    check = Check.CERTIFICATE_NAME
    names = ", ".join(certificate.names) or "no DNS name"
    wanted = certificate.wanted_name
    if wanted is not None and wanted not in certificate.names:
        return [error(check, f"the certificate has {names}", wanted, f"obtain one for {wanted}, and {_SET}")]
    if not certificate.names:
        found = "the certificate has no DNS name in its subjectAltName: devices cannot verify whose it is"
        return [warning(check, found, "the server's name", f"obtain one with a name, and {_SET}")]
    return [ok(check, f"the certificate is for {names}")]


def _check_key(certificate: CertificateFacts) -> list[Finding]:
    check = Check.CERTIFICATE_KEY
    matching = certificate.key_matches
    if isinstance(matching, NotTried):
        return [info(check, f"{certificate.key_file} was not compared: {matching.why}", "", "run this command as root")]
    if not matching:
        found = f"{certificate.key_file} is not the key of {certificate.file}"
        return [error(check, found, "the certificate's key", _SET)]
    return [ok(check, f"{certificate.key_file} is its key")]


def _check_purpose(certificate: CertificateFacts) -> list[Finding]:
    if certificate.allows_server:
        return [ok(Check.CERTIFICATE_PURPOSE, "the certificate may be used by a server")]
    found = "the extended key usage lacks serverAuth: devices refuse the server"
    fix = f"obtain a certificate for a server, and {_SET}"
    return [error(Check.CERTIFICATE_PURPOSE, found, "serverAuth", fix)]


def check_record(certificate: CertificateFacts) -> list[Finding]:
    """The TLSA records of the server's own name, by which a device can verify the network."""
    check = Check.CERTIFICATE_RECORD
    name, answer = certificate.record_name, certificate.record
    if name is None:
        return [info(check, "could not be tried: the server has no name", "", "name it with --server-name")]
    publish = f"publish what `dane-radius tlsa {certificate.file} --name {name}` prints"
    if isinstance(answer, NotTried):
        return [info(check, f"could not be tried: {answer.why}")]
    match answer:
        case Secure(records, _):
            usable = [record for record in select(records).usable if record.usage == Usage.DANE_EE]
            if any(matches(record, certificate.der, certificate.spki) for record in usable):
                return [ok(check, f"{name} has a TLSA record of usage 3 that matches")]
            found = f"{name} has {len(records)} TLSA records, and none of usage 3 matches this certificate"
            return [error(check, found, "a record that matches", f"{publish}, before devices verify the network")]
        case SecureAbsent(absence):
            return [info(check, f"{name} has no TLSA record ({absence})", "a record of usage 3", publish)]
        case Insecure(detail):
            fix = f"sign the zone of {name} with DNSSEC"
            return [info(check, f"the zone of {name} is not signed: {detail}", "a secure answer", fix)]
        case Bogus(code, text):
            found = f"{name}: validation fails (EDE {code} {text})"
            return [error(check, found, "a secure answer", f"correct the signatures of {name}")]
        case _:
            return [info(check, f"could not be tried: {answer.detail}")]
