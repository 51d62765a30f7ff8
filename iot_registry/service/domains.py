"""Identity domains, such as a household or a vendor. Each has its own issuing CA, zone and administrators."""

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

from iot_registry.core import names
from iot_registry.local.config import Settings
from iot_registry.service import audit, authorities
from iot_registry.service.access import Principal, Scope
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.service.schemas import DomainCreate, DomainView, Provisioning
from iot_registry.store import change_feed
from iot_registry.store.models import Authority, AuthorityKind, Device, Domain
from web_service.core import Reason, Refused

# Octets of the file for it in an IoT SAFE applet, which is read with one command.
MAX_URL_BLOB = 100


def create(
    session: Session,
    principal: Principal,
    store: CaKeyStore,
    settings: Settings,
    request: DomainCreate,
    now: dt.datetime,
) -> Domain:
    """A new domain with its issuing CA. Raises Refused."""
    principal.require(Scope.DOMAIN_WRITE)
    principal.require_everywhere("adding a domain")
    name = names.domain(request.name, "name")
    if session.scalars(select(Domain.id).where(Domain.name == name)).first() is not None:
        raise Refused(Reason.CONFLICT, f"{name} exists already: choose another name", field="name")
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
    change_feed.append(session, change_feed.ChangeType.DOMAIN_ADDED, domain.id, now)
    authorities.create_issuing(session, store, settings, domain, now)
    audit.record(session, principal, "domain.add", name, now, domain_id=domain.id, zone=zone)
    return domain


def check_zone(name: str, zone: str | None) -> str:
    """The zone that holds `_device.<name>`: the domain, one of its parents, or `_device.<name>`. Raises Refused."""
    if zone is None:
        return name
    lowered = zone.lower().removesuffix(".")
    root = names.identity_root(name)
    if lowered != root:
        names.domain(lowered, "zone")
        if not root.endswith("." + lowered):
            raise Refused(
                Reason.INVALID_FIELD,
                f"found zone {lowered[:80]}, expected one that contains {root}",
                field="zone",
            )
    return lowered


def find_domain(session: Session, principal: Principal, name: str) -> Domain:
    """The domain of this name. Raises Refused (NOT_FOUND) if there is none, or if the caller may not see it."""
    wanted = names.domain(name)
    domain = session.scalars(select(Domain).where(Domain.name == wanted)).first()
    if domain is None or not principal.sees(domain.id):
        raise Refused(
            Reason.NOT_FOUND, f"no domain {wanted}: check the name, and the domain of the API key", field="domain"
        )
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


def view_all(session: Session, principal: Principal) -> list[DomainView]:
    principal.require(Scope.DOMAIN_READ)
    statement = select(Domain).order_by(Domain.name)
    if principal.domain_id is not None:
        statement = statement.where(Domain.id == principal.domain_id)
    return [view(session, domain) for domain in session.scalars(statement)]


def url_blob(settings: Settings) -> bytes:
    """The registry's address in the form that an IoT SAFE applet stores. Raises Refused if it is too long."""
    parts = urlsplit(settings.public_url)
    port = parts.port or 443
    blob = json.dumps({"url": parts.hostname, "port": port}, separators=(",", ":")).encode()
    if len(blob) > MAX_URL_BLOB:
        raise Refused(
            Reason.UNAVAILABLE,
            f"public_url takes {len(blob)} octets in a device's file, at most {MAX_URL_BLOB} fit: choose a shorter one",
        )
    return blob


def provisioning(
    session: Session, store: CaKeyStore, settings: Settings, domain: Domain, server_anchor_pem: str
) -> Provisioning:
    """The data that a device stores beside its certificate, signed by its issuing CA. Raises Refused."""
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
    """The domain's issuing CAs, newest first, and the root: the answer of /cacerts (RFC 7030 section 4.1.3)."""
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
