"""Bulk import: registering a list of devices, with or without their certificate requests."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field, ValidationError
from sqlalchemy.orm import Session

from iot_registry.core.certificate_requests import vet
from iot_registry.core.errors import CsrReason
from iot_registry.local.config import Settings
from iot_registry.service import bundles, devices
from iot_registry.service.access import Principal
from iot_registry.service.authorities import server_anchor
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.service.enrollment import Enrollment, pem
from iot_registry.service.schemas import DeviceCreate
from iot_registry.store.models import CertificateStatus
from web_service.core import Reason, Refused
from web_service.store import Database

# Devices that one transaction registers. Other writers wait that long.
BATCH_SIZE = 200


class ImportLine(DeviceCreate):
    """One device of an import."""

    csr: str | None = Field(None, max_length=16_384)


def run(
    database: Database,
    store: CaKeyStore,
    settings: Settings,
    principal: Principal,
    entries: list[dict[str, Any]],
    now: dt.datetime,
) -> list[dict[str, Any]]:
    """Register a batch in one transaction. A refused line is reported, and does not affect the others.

    entries: `line` (its number), `data` (the fields), and `error` if the line could not be parsed.
    """
    results: list[dict[str, Any]] = []
    enrollment = Enrollment(settings, store)
    with database.write() as session:
        anchor = server_anchor(session, settings)
        for entry in entries:
            try:
                if "error" in entry:
                    raise Refused(Reason.MALFORMED, str(entry["error"]))
                with session.begin_nested():
                    results.append(_one(session, enrollment, settings, principal, entry["data"], anchor, now))
            except Refused as refused:
                problem = {"reason": refused.reason, "detail": refused.detail, "field": refused.field}
                results.append({"line": entry["line"], "error": problem})
    return results


def _one(
    session: Session,
    enrollment: Enrollment,
    settings: Settings,
    principal: Principal,
    data: object,
    anchor: str,
    now: dt.datetime,
) -> dict[str, Any]:
    try:
        wanted = ImportLine.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        unknown = first["type"] == "extra_forbidden"
        reason = Reason.UNKNOWN_FIELD if unknown else Reason.INVALID_FIELD
        raise Refused(reason, f"{field}: {first['msg']}", field=field) from None
    device = devices.create(session, principal, wanted, settings.default_domain, now)
    if wanted.csr is not None:
        # The administrator vouches for the request. The certificate is in the result, so there is nothing to fetch.
        request = vet(_der(wanted.csr), device.name)
        row = enrollment.issue(session, device, request, now, principal)
        row.status = CertificateStatus.CURRENT
        row.delivered_at = now
        return {"name": device.name, "certificate": pem(row)}
    if not wanted.token:
        return {"name": device.name}
    token, secret = devices.issue_token(session, principal, device, now, settings.enrollment.token_hours)
    bundle = bundles.encode(settings, device.name, device.domain.name, secret, token.expires_at, anchor)
    return {"name": device.name, "bundle": bundle, "expires": token.expires_at.isoformat()}


def _der(text: str) -> bytes:
    try:
        if "-----BEGIN" in text:
            return x509.load_pem_x509_csr(text.encode()).public_bytes(Encoding.DER)
        return base64.b64decode("".join(text.split()), validate=True)
    except (ValueError, binascii.Error) as error:
        raise Refused(
            CsrReason.CSR_MALFORMED, f"found no PKCS #10 request in PEM or base64: {error}", field="csr"
        ) from None
