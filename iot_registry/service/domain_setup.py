"""Adding a domain with everything that belongs to it: issuing CA, administrator's API key, signed zone."""

from __future__ import annotations

import datetime as dt

import structlog

from iot_registry.core import names
from iot_registry.local.config import Settings
from iot_registry.service import api_keys, domains
from iot_registry.service.access import Principal, Scope
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.service.schemas import DomainCreate, DomainCreated
from iot_registry.signer.base import DnsSigner, SignerError
from web_service.core import Reason, Refused
from web_service.store import Database

log = structlog.get_logger("iot_registry")

# What the administrator of one domain may do in it.
DOMAIN_ADMIN_SCOPES = frozenset(
    {
        Scope.DEVICE_READ,
        Scope.DEVICE_WRITE,
        Scope.DOMAIN_READ,
        Scope.FEED_READ,
        Scope.KEY_WRITE,
        Scope.AUDIT_READ,
    }
)


def set_up_domain(
    database: Database,
    store: CaKeyStore,
    settings: Settings,
    signer: DnsSigner | None,
    principal: Principal,
    request: DomainCreate,
    now: dt.datetime,
) -> DomainCreated:
    """Add a domain with its own issuing CA, its administrator's API key and, with a signer, its signed zone.

    Raises Refused; neither domain nor key exist then. A zone that was made before something else failed stays, without
    devices, and the next attempt uses it.
    """
    todo: list[str] = []
    ds: list[str] = []
    with database.write() as session:
        domain = domains.create(session, principal, store, settings, request, now)
        # The scope `domain:write` alone is enough to add a domain and to make its first key.
        _key, secret = api_keys.insert_key(
            session, principal, f"admin of {domain.name}"[:100], DOMAIN_ADMIN_SCOPES, now, domain=domain
        )
        if signer:
            try:
                signer.add_zone(domain.zone)
                ds = signer.ds(domain.zone)
            except SignerError as error:
                log.error("domain.zone_failed", zone=domain.zone, error=str(error))
                raise Refused(
                    Reason.UNAVAILABLE, f"the name server could not create zone {domain.zone}: see the registry's log"
                ) from None
        else:
            todo.append(
                f"make the signed zone {domain.zone} (`iot-registry dns-config --output DIRECTORY` configures it)"
            )
        todo.append(f"publish the DS records of {domain.zone} in its parent zone")
        todo.append(
            f"publish address records (A, AAAA) of {names.authority_host(domain.name)} that point to this registry"
        )
        return DomainCreated(domain=domains.view(session, domain), admin_key=secret, ds=ds, todo=todo)
