"""Every route of the service: one row each."""

from __future__ import annotations

from operations.service import inventory, schemas
from operations.service.access import Scope
from operations.web import admin_endpoints as admin
from operations.web import feed_endpoints as feed
from operations.web import node_endpoints as nodes
from operations.web import public_endpoints as public
from operations.web import standing_endpoints as standing
from operations.web.scim_routes import SCIM_ROUTES
from policy import Standing
from web_service.web import Content, Credential, OtherAnswer, QueryParameter, Route, integer

_TEXT = {"type": "string", "maxLength": 253}
_STANDING = QueryParameter("standing", {"enum": [str(name) for name in Standing]})
_AFTER = QueryParameter("after", _TEXT)
_LIMIT = integer("limit", 1, inventory.MAX_PAGE, default=100)

_STANDINGS = (
    Route(
        "GET",
        "/v1/standing",
        Scope.DEVICE_READ,
        standing.list_standings,
        "Standings that are not plain normal, a page at a time",
        schemas.StandingList,
        query=(QueryParameter("subject", {"enum": ["device", "maker"]}), _STANDING, _AFTER, _LIMIT),
    ),
    Route(
        "GET",
        "/v1/devices/{name}/standing",
        Scope.DEVICE_READ,
        standing.show_standing,
        "The standing of a device",
        schemas.StandingView,
    ),
    Route(
        "PUT",
        "/v1/devices/{name}/standing",
        Scope.STANDING_QUARANTINE,
        standing.set_standing,
        "Change a standing: with this scope alone, to watched or quarantined, and never to anything less strict",
        schemas.StandingResult,
        request=schemas.StandingChange,
        errors=(409,),
    ),
    Route(
        "POST",
        "/v1/devices/{name}/release",
        Scope.STANDING_WRITE,
        standing.release,
        "End a quarantine, a watch or a block, with the reason",
        schemas.StandingResult,
        request=schemas.Release,
    ),
    Route(
        "PUT",
        "/v1/devices/{name}/approval",
        Scope.APPROVAL_WRITE,
        standing.approve_device,
        "Approve a device, or withdraw that",
        schemas.StandingResult,
        request=schemas.Approval,
    ),
    Route(
        "PUT",
        "/v1/makers/{domain}/approval",
        Scope.APPROVAL_WRITE,
        standing.approve_maker,
        "Approve all devices of a maker, or withdraw that",
        schemas.StandingResult,
        request=schemas.Approval,
    ),
    Route(
        "GET",
        "/v1/devices/{name}/history",
        Scope.DEVICE_READ,
        standing.history,
        "Every change of a device's standing, the latest first",
        schemas.History,
    ),
    Route(
        "GET",
        "/v1/approvals",
        Scope.DEVICE_READ,
        standing.list_questions,
        "Devices that wait for the answer of a person",
        schemas.QuestionList,
    ),
    Route(
        "POST",
        "/v1/approvals/{name}",
        Scope.APPROVAL_WRITE,
        standing.answer_question,
        "Answer: yes, no, or always for this maker",
        schemas.Answered,
        request=schemas.AnswerBody,
        errors=(404,),
    ),
)

_DEVICES = (
    Route(
        "GET",
        "/v1/devices",
        Scope.DEVICE_READ,
        admin.list_devices,
        "Devices by name, a page at a time",
        schemas.DeviceList,
        query=(
            QueryParameter("zone", _TEXT),
            _STANDING,
            QueryParameter("maker", _TEXT),
            QueryParameter("type", _TEXT),
            QueryParameter("search", _TEXT),
            integer("refused", 0, 1),
            integer("online", 0, 1),
            integer("unproven", 0, 1),
            _AFTER,
            _LIMIT,
        ),
    ),
    Route(
        "GET",
        "/v1/devices/{name}",
        Scope.DEVICE_READ,
        admin.show_device,
        "Everything that is known of one device",
        schemas.DeviceDetail,
        errors=(404,),
    ),
)

_NODES = (
    Route("GET", "/v1/nodes", Scope.DEVICE_READ, admin.list_nodes, "RADIUS nodes", schemas.NodeList),
    Route(
        "POST",
        "/v1/nodes/{node}/decisions",
        Scope.NODE_WRITE,
        nodes.take_decisions,
        "Decision log lines of a node, with a Batch-Id field; a repetition changes nothing",
        schemas.Taken,
        request=Content(nodes.NDJSON),
        max_body=nodes.MAX_REPORT,
    ),
    Route(
        "POST",
        "/v1/nodes/{node}/sessions",
        Scope.NODE_WRITE,
        nodes.take_sessions,
        "All live sessions of a node",
        schemas.Taken,
        request=schemas.SessionsReport,
        max_body=4 * nodes.MAX_REPORT,
    ),
)

_FEED = (
    Route(
        "GET",
        "/v1/changes",
        Scope.FEED_READ,
        feed.changes,
        "The change feed, by long poll",
        schemas.ChangeList,
        query=(integer("since", 0, feed.MAX_SEQ), integer("wait", 0, 60)),
        errors=(410,),
        head=False,
    ),
    Route(
        "GET",
        "/v1/snapshot",
        Scope.FEED_READ,
        feed.snapshot,
        "Where to start following the feed",
        schemas.Snapshot,
        head=False,
    ),
)

_KEYS = (
    Route(
        "POST",
        "/v1/keys",
        Scope.KEY_WRITE,
        admin.create_key,
        "Make an API key",
        schemas.KeyCreated,
        status=201,
        request=schemas.KeyCreate,
    ),
    Route("GET", "/v1/keys", Scope.KEY_WRITE, admin.list_keys, "API keys", schemas.KeyList),
    Route(
        "DELETE",
        "/v1/keys/{id}",
        Scope.KEY_WRITE,
        admin.revoke_key,
        "Revoke an API key",
        schemas.KeyView,
        errors=(404,),
    ),
)

_REPORTS = (
    Route(
        "GET",
        "/v1/audit",
        Scope.AUDIT_READ,
        admin.audit_log,
        "Who changed what, when",
        schemas.AuditList,
        query=(integer("after", 0, feed.MAX_SEQ), integer("limit", 1, 1000, default=100)),
    ),
    Route("GET", "/v1/status", Scope.DEVICE_READ, admin.show_status, "Counts, nodes and policy", schemas.StatusView),
)

_PUBLIC = (
    Route(
        "GET",
        "/health",
        Credential.NONE,
        public.health,
        "Whether requests can be served",
        schemas.Health,
        others={503: OtherAnswer("The database does not answer.", Content("application/json", schemas.Health))},
    ),
    Route("GET", "/metrics", Credential.NONE, public.prometheus, "Prometheus metrics", Content("text/plain")),
    Route(
        "GET",
        "/v1/openapi.json",
        Credential.NONE,
        public.openapi_document,
        "This document",
        Content("application/json", {"type": "object"}),
    ),
)

ROUTES: tuple[Route, ...] = (*_STANDINGS, *_DEVICES, *_NODES, *_FEED, *_KEYS, *_REPORTS, *_PUBLIC, *SCIM_ROUTES)
