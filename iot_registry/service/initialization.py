"""Initialization of a registry: root CA, HTTPS server's CA, first domain; and which domain is the default."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import select, text

from iot_registry.local.config import Settings
from iot_registry.service import authorities, domains
from iot_registry.service.access import Principal, Scope
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.service.schemas import DomainCreate
from iot_registry.store import advisory_locks
from iot_registry.store.models import Domain
from web_service.core import ConfigurationError
from web_service.store import Database


def initialize(database: Database, store: CaKeyStore, settings: Settings, now: dt.datetime) -> bool:
    """Make whichever of root CA, HTTPS server's CA and first domain is missing; returns whether any was."""
    with database.write() as session:
        if database.backend == "postgresql":
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": advisory_locks.INITIALIZATION})
        made = authorities.ensure_singletons(session, store, settings, now)
        if session.scalars(select(Domain.id).limit(1)).first() is None:
            system = Principal("system:init", frozenset({Scope.ADMIN}))
            request = DomainCreate(name=settings.default_domain)
            domains.create(session, system, store, settings, request, now)
            made = True
    return made


def with_default_domain(database: Database, settings: Settings, *, strict: bool = False) -> Settings:
    """The settings, completed with the default domain: the configured one, or else the registry's first.

    strict: raise ConfigurationError if the configured domain does not exist. A command may be about to add it.
    """
    with database.read() as session:
        existing = list(session.scalars(select(Domain.name).order_by(Domain.id)))
    wanted = settings.registry.domain
    if wanted is None and existing:
        wanted = existing[0]
    elif strict and wanted not in existing:
        shown = ", ".join(existing[:5])
        raise ConfigurationError(
            f"registry.domain: found {wanted}, expected one of {shown}: choose one, or add it with `domain add`"
        )
    return settings.model_copy(update={"registry": settings.registry.model_copy(update={"domain": wanted})})
