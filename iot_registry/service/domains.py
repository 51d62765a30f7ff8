"""Identity domains: one for each household or vendor, each with its own issuing CA, zone and
administrators."""

from __future__ import annotations

import base64
import datetime as dt
import json
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from iot_registry import feed, names
from iot_registry.config import Settings
from iot_registry.errors import Reason, Refused
from iot_registry.service import authorities
from iot_registry.service.access import Principal, Scope, audit
from iot_registry.service.schemas import DomainCreate, DomainView, Provisioning
from iot_registry.store.models import Authority, AuthorityKind, Device, Domain

# The device's file for it holds no more (IoT SAFE applets read it in one command).
MAX_URL_BLOB = 100


def create(
    session: Session,
    principal: Principal,
    store: authorities.KeyStore,
    settings: Settings,
    request: DomainCreate,
    now: dt.datetime,
) -> Domain:
    """A new domain with its issuing CA. Raises Refused."""
    principal.require(Scope.DOMAIN_WRITE)
    principal.require_everywhere("adding a domain")
    name = names.domain(request.name, "name")
    if session.scalars(select(Domain.id).where(Domain.name == name)).first() is not None:
        raise Refused(Reason.CONFLICT, f"{name} exists already", field="name")
    zone = check_zone(name, request.zone)
    domain = Domain(
        name=name,
        zone=zone,
        profile=request.profile or settings.publication.profile,
        ttl=settings.publication.ttl if request.ttl is None else request.ttl,
        created_at=now,
    )
    session.add(domain)
    session.flush()
    feed.append(session, feed.ChangeType.DOMAIN_ADDED, domain.id, now)
    authorities.create_issuing(session, store, settings, domain, now)
    audit(session, principal, "domain.add", name, now, domain_id=domain.id, zone=zone)
    return domain


def check_zone(name: str, zone: str | None) -> str:
    """The zone that holds `_device.<name>`: the domain, a parent of it, or `_device.<name>` itself.
    Raises Refused."""
    if zone is None:
        return name
    lowered = zone.lower().removesuffix(".")
    root = names.identity_root(name)
    if lowered != root:
        names.domain(lowered, "zone")
        if not root.endswith("." + lowered):
            raise Refused(
                Reason.INVALID_FIELD,
                f"found zone {lowered[:80]}, expected one that holds {root}",
                field="zone",
            )
    return lowered


def find_domain(session: Session, principal: Principal, name: str) -> Domain:
    """Raises Refused with NOT_FOUND if there is none in the caller's sight."""
    wanted = names.domain(name)
    domain = session.scalars(select(Domain).where(Domain.name == wanted)).first()
    if domain is None or not principal.sees(domain.id):
        raise Refused(Reason.NOT_FOUND, f"no domain {wanted}", field="domain")
    return domain


def view(session: Session, domain: Domain) -> DomainView:
    return DomainView(
        name=domain.name,
        zone=domain.zone,
        profile=domain.profile,
        ttl=domain.ttl,
        created_at=domain.created_at,
        issuing_ca_aki=authorities.active_issuing(session, domain.id).aki,
        devices=session.scalar(select(func.count(Device.id)).where(Device.domain_id == domain.id)) or 0,
    )


def list_domains(session: Session, principal: Principal) -> list[DomainView]:
    principal.require(Scope.DOMAIN_READ)
    statement = select(Domain).order_by(Domain.name)
    if principal.domain_id is not None:
        statement = statement.where(Domain.id == principal.domain_id)
    return [view(session, domain) for domain in session.scalars(statement)]


def url_blob(settings: Settings) -> bytes:
    """Where the registry is, in the form that a device's applet stores. Raises Refused if it does not fit."""
    parts = urlsplit(settings.public_url)
    port = parts.port or 443
    blob = json.dumps({"url": parts.hostname, "port": port}, separators=(",", ":")).encode()
    if len(blob) > MAX_URL_BLOB:
        raise Refused(
            Reason.UNAVAILABLE,
            f"public_url is too long for a device's file: {len(blob)} of {MAX_URL_BLOB} bytes",
        )
    return blob


def provisioning(
    session: Session, store: authorities.KeyStore, settings: Settings, domain: Domain, server_anchor_pem: str
) -> Provisioning:
    """What a device stores beside its certificate, vouched for by its issuing CA."""
    issuing = authorities.active_issuing(session, domain.id)
    key = store.load(issuing)
    anchor = x509.load_pem_x509_certificate(server_anchor_pem.encode())
    blob = url_blob(settings)

    def sign(data: bytes) -> str:
        return base64.b64encode(key.sign(data, ec.ECDSA(hashes.SHA256()))).decode()

    return Provisioning(
        root_ca=authorities.singleton(session, AuthorityKind.ROOT).pem,
        issuing_ca=issuing.pem,
        server_certificate=server_anchor_pem,
        url_blob=base64.b64encode(blob).decode(),
        url_signature=sign(blob),
        server_certificate_signature=sign(anchor.public_bytes(Encoding.DER)),
    )


def chain(session: Session, domain: Domain) -> list[Authority]:
    """The domain's live issuing CAs, newest first, and the root: what /cacerts answers (RFC 7030 section
    4.1.3)."""
    issuing = session.scalars(
        select(Authority)
        .where(
            Authority.domain_id == domain.id,
            Authority.kind == AuthorityKind.ISSUING,
            Authority.retired_at.is_(None),
        )
        .order_by(Authority.generation.desc())
    )
    return [*issuing, authorities.singleton(session, AuthorityKind.ROOT)]
