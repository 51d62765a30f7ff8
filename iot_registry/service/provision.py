"""Setting the registry up, and adding a domain with everything that belongs to it."""

from __future__ import annotations

import datetime as dt

import structlog
from sqlalchemy import select, text

from iot_registry import names
from iot_registry.config import Settings
from iot_registry.errors import ConfigurationError, Reason, Refused
from iot_registry.service import access, authorities, domains
from iot_registry.service.access import Principal, Scope
from iot_registry.service.schemas import DomainCreate, DomainCreated
from iot_registry.signer.base import DnsSigner, SignerError
from iot_registry.store.database import Database
from iot_registry.store.models import Domain

log = structlog.get_logger("iot_registry")

# What the administrator of one domain may do there.
DOMAIN_ADMIN = frozenset(
    {
        Scope.DEVICE_READ,
        Scope.DEVICE_WRITE,
        Scope.DOMAIN_READ,
        Scope.FEED_READ,
        Scope.KEY_WRITE,
        Scope.AUDIT_READ,
    }
)
_LOCK = 7_294_817


def initialize(database: Database, store: authorities.KeyStore, settings: Settings, now: dt.datetime) -> bool:
    """Make the root, the server anchor and the first domain, whichever is missing; returns
    whether any was.
    """
    with database.write() as session:
        if database.backend == "postgresql":
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        made = authorities.ensure_singletons(session, store, settings, now)
        if session.scalars(select(Domain.id).limit(1)).first() is None:
            system = Principal("system:init", frozenset({Scope.ADMIN}))
            request = DomainCreate(name=settings.default_domain)
            domains.create(session, system, store, settings, request, now)
            made = True
    return made


def with_default_domain(database: Database, settings: Settings, *, strict: bool = False) -> Settings:
    """The settings with the domain that is meant where none is named.

    strict: raise ConfigurationError if the configured one does not exist (a command may be about to add it).
    """
    with database.read() as session:
        existing = list(session.scalars(select(Domain.name).order_by(Domain.id)))
    wanted = settings.registry.domain
    if wanted is None and existing:
        wanted = existing[0]
    elif strict and wanted not in existing:
        shown = ", ".join(existing[:5])
        raise ConfigurationError(
            f"registry.domain: found {wanted}, but this registry has {shown}: add it, or choose one"
        )
    return settings.model_copy(update={"registry": settings.registry.model_copy(update={"domain": wanted})})


def add_domain(
    database: Database,
    store: authorities.KeyStore,
    settings: Settings,
    signer: DnsSigner | None,
    principal: Principal,
    request: DomainCreate,
    now: dt.datetime,
) -> DomainCreated:
    """A domain with its own issuing CA, administrator's key and, if a signer is configured, signed zone.

    Raises Refused; then neither domain nor key exist. A zone that was made before something else failed
    stays, empty, and is found there by the next try.
    """
    todo: list[str] = []
    ds: list[str] = []
    with database.write() as session:
        domain = domains.create(session, principal, store, settings, request, now)
        # Whoever may add a domain may name its first administrator: the scope `domain:write` is enough for both.
        _key, secret = access.new_key(
            session, principal, f"admin of {domain.name}"[:100], DOMAIN_ADMIN, now, domain=domain
        )
        if signer:
            try:
                signer.add_zone(domain.zone)
                ds = signer.ds(domain.zone)
            except SignerError as error:
                log.error("domain.zone_failed", zone=domain.zone, error=str(error))
                raise Refused(Reason.UNAVAILABLE, f"the name server could not make zone {domain.zone}") from None
        else:
            todo.append(f"make the signed zone {domain.zone} (iot-registry dns-config --domain {domain.name})")
        todo.append(f"put the DS records of {domain.zone} into its parent zone")
        todo.append(f"point {names.authority_host(domain.name)} (A, AAAA) at this registry")
        return DomainCreated(domain=domains.view(session, domain), admin_key=secret, ds=ds, todo=todo)
