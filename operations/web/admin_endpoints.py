"""Devices, nodes, API keys, audit log and status over HTTP. All handlers raise Refused."""

from __future__ import annotations

from operations.service import api_keys, audit, inventory, node_reports, schemas, status
from operations.web.call import Call
from web_service.core import validate
from web_service.local import utc_now

_FLAGS = ("refused", "online", "unproven")


async def list_devices(call: Call) -> schemas.DeviceList:
    query: dict[str, object] = {**call.query(), "limit": call.integer("limit")}
    for flag in _FLAGS:
        query[flag] = bool(call.integer(flag))
    wanted = validate(schemas.DeviceSearch, query)
    return await call.context.read(lambda s: inventory.search(s, call.who, wanted, utc_now()))


async def show_device(call: Call) -> schemas.DeviceDetail:
    call.query()
    return await call.context.read(lambda s: inventory.detail(s, call.who, call.path("name"), utc_now()))


async def list_nodes(call: Call) -> schemas.NodeList:
    call.query()
    return await call.context.read(lambda s: node_reports.find_nodes(s, call.who))


async def create_key(call: Call, wanted: schemas.KeyCreate) -> schemas.KeyCreated:
    return await call.context.write(lambda s: api_keys.create(s, call.who, wanted, utc_now()))


async def list_keys(call: Call) -> schemas.KeyList:
    call.query()
    views = await call.context.read(lambda s: [api_keys.view(key) for key in api_keys.find_keys(s, call.who)])
    return schemas.KeyList(keys=views)


async def revoke_key(call: Call) -> schemas.KeyView:
    identifier = call.path("id")
    revoked = await call.context.write(lambda s: api_keys.view(api_keys.revoke_key(s, call.who, identifier, utc_now())))
    # Long polls of this key must end now.
    call.context.watch.check_now()
    return revoked


async def audit_log(call: Call) -> schemas.AuditList:
    after, limit = call.integer("after"), call.integer("limit")
    entries, following = await call.context.read(lambda s: audit.page(s, call.who, after, limit))
    return schemas.AuditList(entries=entries, next=following)


async def show_status(call: Call) -> schemas.StatusView:
    call.query()
    return await call.context.read(lambda s: status.status(s, call.context.policy))
