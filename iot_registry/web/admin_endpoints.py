"""The administrators' JSON API. Each handler makes one transaction and returns one answer; all raise Refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from aiohttp import web
from sqlalchemy.orm import Session

from iot_registry.publication.publication_wait import until_published
from iot_registry.service import api_keys, audit, devices, domain_setup, domains, schemas, status
from iot_registry.store.models import Device
from iot_registry.web.call import Call
from web_service.core import Refused, validate
from web_service.local import utc_now
from web_service.web import api_key


async def create_device(call: Call, wanted: schemas.DeviceCreate) -> schemas.DeviceCreated:
    registration = call.context.registration
    return await call.context.write(lambda s: registration.create(s, call.who, wanted, utc_now()))


async def list_devices(call: Call) -> schemas.DeviceList:
    wanted = validate(schemas.DeviceSearch, call.query() | {"limit": call.integer("limit")})
    page, following = await call.context.read(lambda s: devices.search(s, call.who, **wanted.criteria()))
    return schemas.DeviceList(devices=page, next=following)


async def show_device(call: Call) -> schemas.DeviceDetail:
    return await call.context.read(lambda s: devices.detail(s, call.who, call.path("name"), utc_now()))


async def revoke_device(call: Call, wanted: schemas.Revoke) -> schemas.DeviceView:
    name = call.path("name")
    return await _change_device(call, lambda s: devices.revoke(s, call.who, name, wanted.reason, utc_now()))


async def restore_device(call: Call, _wanted: schemas.Empty) -> schemas.DeviceView:
    return await _change_device(call, lambda s: devices.restore(s, call.who, call.path("name"), utc_now()))


async def _change_device(call: Call, change: Callable[[Session], Device]) -> schemas.DeviceView:
    """Change a device; with `wait`, answer once the DNS serves the change, or after `wait` seconds."""

    def work(session: Session) -> schemas.DeviceView:
        device = change(session)
        session.flush()
        return devices.views(session, [device])[0]

    seconds = call.integer("wait")
    view = await call.context.write(work)
    if not seconds or not view.pending:
        return view

    def look() -> schemas.DeviceView:
        return call.context.read_blocking(lambda s: devices.view(s, call.who, view.name))

    return await until_published(look, call.context.watch, seconds)


async def rehome_device(call: Call, wanted: schemas.Rehome) -> schemas.DeviceCreated:
    registration, name = call.context.registration, call.path("name")
    return await call.context.write(lambda s: registration.rehome(s, call.who, name, wanted, utc_now()))


async def create_token(call: Call, _wanted: schemas.Empty) -> schemas.DeviceCreated:
    registration, name = call.context.registration, call.path("name")
    return await call.context.write(lambda s: registration.new_token(s, call.who, name, utc_now()))


async def export_devices(call: Call) -> web.StreamResponse:
    """All devices, one JSON object per line. Each page has a transaction of its own, so that none stays open long."""
    key, domain = api_key(call.request, api_keys.KEYS), call.query().get("domain")

    def page(session: Session, after: str | None) -> tuple[bytes, str | None]:
        # Authenticated for each page: a key that is revoked meanwhile gets no further ones.
        who = api_keys.authenticate(session, key, utc_now())
        found, following = devices.export_page(session, who, domain, after, utc_now())
        return b"".join(view.model_dump_json().encode() + b"\n" for view in found), following

    lines, after = await call.context.read(partial(page, after=None))
    answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
    await answer.prepare(call.request)
    while after is not None:
        # The next page is read while this one is sent.
        following = asyncio.create_task(call.context.read(partial(page, after=after)))
        try:
            await answer.write(lines)
        except BaseException:
            following.cancel()
            raise
        try:
            lines, after = await following
        except Refused:
            # Ended without the last chunk, so that the client does not take a part of the devices for all of them.
            if call.request.transport is not None:
                call.request.transport.abort()
            return answer
    await answer.write(lines)
    await answer.write_eof()
    return answer


async def create_domain(call: Call, wanted: schemas.DomainCreate) -> schemas.DomainCreated:
    context = call.context
    result = await asyncio.to_thread(
        domain_setup.set_up_domain,
        context.database,
        context.store,
        context.settings,
        context.signer,
        call.who,
        wanted,
        utc_now(),
    )
    context.watch.check_now()
    return result


async def list_domains(call: Call) -> schemas.DomainList:
    call.query()
    return schemas.DomainList(domains=await call.context.read(lambda s: domains.view_all(s, call.who)))


async def show_domain(call: Call) -> schemas.DomainView:
    name = call.path("domain")
    return await call.context.read(lambda s: domains.view(s, domains.find_domain(s, call.who, name)))


async def create_key(call: Call, wanted: schemas.KeyCreate) -> schemas.KeyCreated:
    return await call.context.write(lambda s: api_keys.create(s, call.who, wanted, utc_now()))


async def list_keys(call: Call) -> schemas.KeyList:
    call.query()
    views = await call.context.read(lambda s: [api_keys.view(key) for key in api_keys.find_keys(s, call.who)])
    return schemas.KeyList(keys=views)


async def revoke_key(call: Call) -> schemas.KeyView:
    identifier = call.path("id")
    revoked = await call.context.write(lambda s: api_keys.view(api_keys.revoke_key(s, call.who, identifier, utc_now())))
    # Long polls and streams of this key must end now.
    call.context.watch.check_now()
    return revoked


async def audit_log(call: Call) -> schemas.AuditList:
    after, limit = call.integer("after"), call.integer("limit")
    entries, following = await call.context.read(lambda s: audit.page(s, call.who, after, limit))
    return schemas.AuditList(entries=entries, next=following)


async def show_status(call: Call) -> schemas.StatusView:
    call.query()
    device_days = call.context.settings.ca.device_days
    return await call.context.read(lambda s: status.status(s, call.who.domain_id, device_days, utc_now()))
