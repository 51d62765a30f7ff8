"""The administrators' JSON API. Each handler: who asks, what exactly, one transaction, one answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel
from sqlalchemy.orm import Session

from iot_registry.errors import Refused
from iot_registry.service import access, devices, domains, provision, status
from iot_registry.service import keys as key_service
from iot_registry.service.access import Principal, Scope
from iot_registry.service.registration import Registration
from iot_registry.service.schemas import (
    AuditList,
    DeviceCreate,
    DeviceList,
    DeviceSearch,
    DeviceView,
    DomainCreate,
    DomainList,
    Empty,
    KeyCreate,
    KeyList,
    Rehome,
    Revoke,
)
from iot_registry.store.models import Device
from iot_registry.web.context import CONTEXT, Context, api_key, body, integer, now, principal, query, validate

T = TypeVar("T")


def _answer(model: BaseModel, code: int = 200) -> web.Response:
    return web.json_response(text=model.model_dump_json(), status=code, headers={"Cache-Control": "no-store"})


def _registration(context: Context) -> Registration:
    return Registration(context.settings, context.server_anchor_pem)


async def create_device(request: web.Request) -> web.Response:
    context, who = request.app[CONTEXT], await principal(request)
    who.require(Scope.DEVICE_WRITE)
    wanted = await body(request, DeviceCreate)
    registration = _registration(context)
    return _answer(await context.write(lambda s: registration.create(s, who, wanted, now())), 201)


async def list_devices(request: web.Request) -> web.Response:
    context, who = request.app[CONTEXT], await principal(request)
    who.require(Scope.DEVICE_READ)
    parameters = query(request, {"domain", "status", "type", "search", "after", "limit"})
    limit = integer(parameters, "limit", 100, 1, devices.MAX_PAGE)
    wanted = validate(DeviceSearch, parameters | {"limit": limit})
    page, following = await context.read(lambda s: devices.search(s, who, **wanted.criteria()))
    return _answer(DeviceList(devices=page, next=following))


async def show_device(request: web.Request) -> web.Response:
    context, who = request.app[CONTEXT], await principal(request)
    name = request.match_info["name"]
    return _answer(await context.read(lambda s: devices.detail(s, who, name, now())))


async def _change_device(request: web.Request, who: Principal, change: Callable[[Session], Device]) -> web.Response:
    def work(session: Session) -> DeviceView:
        device = change(session)
        session.flush()
        return devices.views(session, [device])[0]

    context = request.app[CONTEXT]
    wait = integer(query(request, {"wait"}), "wait", 0, 0, 30)
    view = await context.write(work)
    if wait:
        view = await _until_published(context, who, view, wait)
    return _answer(view)


async def _until_published(context: Context, who: Principal, view: DeviceView, wait: int) -> DeviceView:
    """The device once the DNS agrees, or as it is after `wait` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    name = view.name
    while view.pending and loop.time() < deadline:
        ticket = context.watch.ticket()
        view = await context.read(lambda s: devices.views(s, [devices.find(s, who, name)])[0])
        if view.pending:
            await context.watch.wait(ticket, deadline - loop.time())
    return view


async def revoke_device(request: web.Request) -> web.Response:
    who = await principal(request)
    who.require(Scope.DEVICE_WRITE)
    wanted, name = await body(request, Revoke), request.match_info["name"]
    return await _change_device(request, who, lambda s: devices.revoke(s, who, name, wanted.reason, now()))


async def restore_device(request: web.Request) -> web.Response:
    who = await principal(request)
    who.require(Scope.DEVICE_WRITE)
    await body(request, Empty)
    name = request.match_info["name"]
    return await _change_device(request, who, lambda s: devices.restore(s, who, name, now()))


async def rehome_device(request: web.Request) -> web.Response:
    context, who = request.app[CONTEXT], await principal(request)
    who.require(Scope.DEVICE_WRITE)
    wanted, name = await body(request, Rehome), request.match_info["name"]
    registration = _registration(context)
    return _answer(await context.write(lambda s: registration.rehome(s, who, name, wanted, now())), 201)


async def create_token(request: web.Request) -> web.Response:
    context, who = request.app[CONTEXT], await principal(request)
    who.require(Scope.DEVICE_WRITE)
    await body(request, Empty)
    name, registration = request.match_info["name"], _registration(context)
    return _answer(await context.write(lambda s: registration.new_token(s, who, name, now())), 201)


async def export_devices(request: web.Request) -> web.StreamResponse:
    """All devices as one JSON object a line, a page at a time so that no transaction stays open for long."""
    context, key = request.app[CONTEXT], api_key(request)
    domain = query(request, {"domain"}).get("domain")

    def page(after: str | None) -> tuple[bytes, str | None]:
        with context.database.read() as session:
            # For each page anew: a key that was revoked meanwhile gets no more of them.
            who = access.authenticate(session, key, now())
            found, following = devices.export_page(session, who, domain, after, now())
        return b"".join(view.model_dump_json().encode() + b"\n" for view in found), following

    lines, after = await asyncio.to_thread(page, None)
    answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
    await answer.prepare(request)
    while after is not None:
        # The next page is made while this one is on its way.
        following = asyncio.create_task(asyncio.to_thread(page, after))
        try:
            await answer.write(lines)
        except BaseException:
            following.cancel()
            raise
        try:
            lines, after = await following
        except Refused:
            # Broken off without the last chunk: the client must not take what it has for everything.
            if request.transport is not None:
                request.transport.abort()
            return answer
    await answer.write(lines)
    await answer.write_eof()
    return answer


async def create_domain(request: web.Request) -> web.Response:
    context, who = request.app[CONTEXT], await principal(request)
    who.require(Scope.DOMAIN_WRITE)
    wanted = await body(request, DomainCreate)
    result = await asyncio.to_thread(
        provision.add_domain,
        context.database,
        context.store,
        context.settings,
        context.signer,
        who,
        wanted,
        now(),
    )
    context.watch.poke()
    return _answer(result, 201)


async def list_domains(request: web.Request) -> web.Response:
    context, who = request.app[CONTEXT], await principal(request)
    query(request, set())
    return _answer(DomainList(domains=await context.read(lambda s: domains.list_domains(s, who))))


async def show_domain(request: web.Request) -> web.Response:
    context, who = request.app[CONTEXT], await principal(request)
    who.require(Scope.DOMAIN_READ)
    name = request.match_info["domain"]
    return _answer(await context.read(lambda s: domains.view(s, domains.find_domain(s, who, name))))


async def create_key(request: web.Request) -> web.Response:
    context, who = request.app[CONTEXT], await principal(request)
    who.require(Scope.KEY_WRITE)
    wanted = await body(request, KeyCreate)
    return _answer(await context.write(lambda s: key_service.create(s, who, wanted, now())), 201)


async def list_keys(request: web.Request) -> web.Response:
    context, who = request.app[CONTEXT], await principal(request)
    query(request, set())
    return _answer(
        await context.read(lambda s: KeyList(keys=[key_service.view(key) for key in access.list_keys(s, who)]))
    )


async def revoke_key(request: web.Request) -> web.Response:
    context, who = request.app[CONTEXT], await principal(request)
    identifier = request.match_info["id"]
    revoked = await context.write(lambda s: key_service.view(access.revoke_key(s, who, identifier, now())))
    # What waits with this key is to end now.
    context.watch.poke()
    return _answer(revoked)


async def audit_log(request: web.Request) -> web.Response:
    context, who = request.app[CONTEXT], await principal(request)
    parameters = query(request, {"after", "limit"})
    after = integer(parameters, "after", 0, 0, 2**53 - 1)
    limit = integer(parameters, "limit", 100, 1, 1000)
    entries, following = await context.read(lambda s: status.audit_log(s, who, after, limit))
    return _answer(AuditList(entries=entries, next=following))


async def show_status(request: web.Request) -> web.Response:
    context, who = request.app[CONTEXT], await principal(request)
    who.require(Scope.DEVICE_READ)
    query(request, set())
    return _answer(
        await context.read(lambda s: status.status(s, who.domain_id, context.settings.ca.device_days, now()))
    )


async def openapi(request: web.Request) -> web.Response:
    return web.json_response(request.app[OPENAPI])


OPENAPI: web.AppKey[dict[str, object]] = web.AppKey("openapi", dict)


def add_routes(app: web.Application, document: dict[str, object]) -> None:
    app[OPENAPI] = json.loads(json.dumps(document))
    router = app.router
    router.add_post("/v1/devices", create_device)
    router.add_get("/v1/devices", list_devices)
    router.add_get("/v1/export", export_devices, allow_head=False)
    router.add_get("/v1/devices/{name}", show_device)
    router.add_post("/v1/devices/{name}/revoke", revoke_device)
    router.add_post("/v1/devices/{name}/restore", restore_device)
    router.add_post("/v1/devices/{name}/rehome", rehome_device)
    router.add_post("/v1/devices/{name}/token", create_token)
    router.add_post("/v1/domains", create_domain)
    router.add_get("/v1/domains", list_domains)
    router.add_get("/v1/domains/{domain}", show_domain)
    router.add_post("/v1/keys", create_key)
    router.add_get("/v1/keys", list_keys)
    router.add_delete("/v1/keys/{id}", revoke_key)
    router.add_get("/v1/audit", audit_log)
    router.add_get("/v1/status", show_status)
    router.add_get("/v1/openapi.json", openapi)
