"""Succession of issuing CAs: a successor in time, and retirement once no certificate depends on the old one."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import structlog
from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session, aliased

from iot_registry.local.config import Settings
from iot_registry.service import audit, authorities
from iot_registry.service.access import Principal, Scope
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.service.domains import find_domain
from iot_registry.service.schemas import AuthorityView
from iot_registry.store import change_feed
from iot_registry.store.models import PUBLISHED_STATES, Authority, AuthorityKind, Certificate, Domain
from web_service.core import Reason, Refused

log = structlog.get_logger("iot_registry")

# No certificate outlives its CA, so that lifetimes shrink from `device_days` before the CA's expiry. A successor is due
# this much earlier, which leaves time to fetch the root's key.
MARGIN = dt.timedelta(days=90)

_SYSTEM = Principal("system:succession", frozenset({Scope.ADMIN}))


def is_due(not_after: dt.datetime, device_days: int, now: dt.datetime) -> bool:
    """Whether an issuing CA that expires at `not_after` should have a successor by now."""
    return not_after - now < dt.timedelta(days=device_days) + MARGIN


def renew(
    session: Session,
    who: Principal,
    store: CaKeyStore,
    settings: Settings,
    domain_name: str,
    now: dt.datetime,
    *,
    force: bool = False,
) -> Authority:
    """Give a domain a new issuing CA. The old one stays valid for the certificates that it has issued.

    force: even if none is due. Raises Refused.
    """
    who.require(Scope.ADMIN)
    # Held until the commit, so that two commands do not make two successors.
    change_feed.lock(session)
    domain = find_domain(session, who, domain_name)
    old = authorities.active_issuing(session, domain.id)
    if not force and not is_due(old.not_after, settings.ca.device_days, now):
        raise Refused(
            Reason.CONFLICT,
            f"the issuing CA of {domain.name} is valid until {old.not_after:%Y-%m-%d}: no successor is due; "
            "--force makes one all the same",
            field="domain",
        )
    new = authorities.create_issuing(session, store, settings, domain, now)
    audit.record(session, who, "ca.renew", domain.name, now, domain_id=domain.id, old=old.aki, new=new.aki)
    return new


def _superseded() -> Select[Authority]:
    """Selects issuing CAs that have a successor and are not retired."""
    newer = aliased(Authority)
    return select(Authority).where(
        Authority.kind == AuthorityKind.ISSUING,
        Authority.retired_at.is_(None),
        exists().where(
            newer.domain_id == Authority.domain_id,
            newer.kind == AuthorityKind.ISSUING,
            newer.retired_at.is_(None),
            newer.generation > Authority.generation,
        ),
    )


def _in_use() -> Select[int]:
    """Selects certificates that may still be used. Those of a revoked device count, because it may be restored."""
    return select(Certificate.id).where(
        Certificate.authority_id == Authority.id, Certificate.status.in_(PUBLISHED_STATES)
    )


def retire(session: Session, now: dt.datetime) -> list[Authority]:
    """Retire the CAs that have a successor and no certificate in use; returns them."""
    spent = _superseded().where(~_in_use().exists())
    # Checked without locks first: there is rarely one.
    if session.scalars(spent.limit(1)).first() is None:
        return []
    change_feed.lock(session)
    # The locks wait for transactions that are issuing under one of them, so that their certificates are seen.
    session.scalars(_superseded().with_for_update()).all()
    rows = list(session.scalars(spent))
    for row in rows:
        assert row.domain_id is not None
        row.retired_at = now
        change_feed.append(session, change_feed.ChangeType.ANCHOR_REMOVED, row.domain_id, now, anchor=row)
        name = session.get_one(Domain, row.domain_id).name
        audit.record(session, _SYSTEM, "ca.retire", name, now, domain_id=row.domain_id, aki=row.aki)
        log.info("ca.retired", domain=name, aki=row.aki)
    return rows


def retired_keys(session: Session) -> list[str]:
    """The key identifiers of retired issuing CAs, whose keys can be deleted."""
    statement = select(Authority.aki).where(Authority.kind == AuthorityKind.ISSUING, Authority.retired_at.is_not(None))
    return list(session.scalars(statement))


def views(session: Session, domain_id: int | None, device_days: int, now: dt.datetime) -> list[AuthorityView]:
    """The root and the issuing CAs that are not retired, of one domain or of all, by domain and generation."""
    statement = (
        select(Authority, Domain.name)
        .outerjoin(Domain, Domain.id == Authority.domain_id)
        .where(Authority.kind.in_((AuthorityKind.ROOT, AuthorityKind.ISSUING)), Authority.retired_at.is_(None))
        .order_by(Authority.kind.desc(), Domain.name, Authority.generation)
    )
    counting = (
        select(Certificate.authority_id, func.count(Certificate.id))
        .where(Certificate.status.in_(PUBLISHED_STATES))
        .group_by(Certificate.authority_id)
    )
    if domain_id is not None:
        statement = statement.where((Authority.domain_id == domain_id) | Authority.domain_id.is_(None))
        counting = counting.join(Authority).where(Authority.domain_id == domain_id)
    in_use: Counter[int] = Counter()
    for authority_id, count in session.execute(counting):
        in_use[authority_id] = count
    rows = list(session.execute(statement))
    newest = {row.domain_id: row.id for row, _name in rows}
    return [
        AuthorityView(
            kind=row.kind,
            domain=name,
            aki=row.aki,
            generation=row.generation,
            not_after=row.not_after,
            issuing=newest[row.domain_id] == row.id,
            certificates=in_use[row.id],
            due=newest[row.domain_id] == row.id and is_due(row.not_after, device_days, now),
        )
        for row, name in rows
    ]
