"""Every route of the registry. The application and the OpenAPI document are made from this table and nothing else."""

from __future__ import annotations

from iot_registry.core import est_codec
from iot_registry.service import devices, schemas
from iot_registry.service.access import Scope
from iot_registry.store.models import DeviceStatus
from iot_registry.web import admin_endpoints as admin
from iot_registry.web import est_endpoints as est
from iot_registry.web import feed_endpoints as feed
from iot_registry.web import public_endpoints as public
from web_service.web import Content, Credential, OtherAnswer, QueryParameter, Route, integer

_TEXT = {"type": "string", "maxLength": 253}
_DOMAIN = QueryParameter("domain", _TEXT)
_WAIT = integer("wait", 0, 30)
_SEARCH = (
    _DOMAIN,
    QueryParameter("status", {"enum": list(DeviceStatus)}),
    QueryParameter("type", _TEXT),
    QueryParameter("search", _TEXT),
    QueryParameter("after", _TEXT),
    integer("limit", 1, devices.MAX_PAGE, default=100),
)

_DEVICES = (
    Route(
        "POST",
        "/v1/devices",
        Scope.DEVICE_WRITE,
        admin.create_device,
        "Register a device",
        schemas.DeviceCreated,
        status=201,
        request=schemas.DeviceCreate,
        errors=(404, 409),
    ),
    Route(
        "GET",
        "/v1/devices",
        Scope.DEVICE_READ,
        admin.list_devices,
        "Devices by name, a page at a time",
        schemas.DeviceList,
        query=_SEARCH,
        errors=(404,),
    ),
    Route(
        "GET",
        "/v1/devices/{name}",
        Scope.DEVICE_READ,
        admin.show_device,
        "One device and its certificates",
        schemas.DeviceDetail,
        errors=(404,),
    ),
    Route(
        "POST",
        "/v1/devices/{name}/revoke",
        Scope.DEVICE_WRITE,
        admin.revoke_device,
        "Revoke: its records leave the DNS",
        schemas.DeviceView,
        request=schemas.Revoke,
        query=(_WAIT,),
        errors=(404, 409),
    ),
    Route(
        "POST",
        "/v1/devices/{name}/restore",
        Scope.DEVICE_WRITE,
        admin.restore_device,
        "Undo a revocation",
        schemas.DeviceView,
        request=schemas.Empty,
        query=(_WAIT,),
        errors=(404, 409),
    ),
    Route(
        "POST",
        "/v1/devices/{name}/rehome",
        Scope.DEVICE_WRITE,
        admin.rehome_device,
        "Move to another domain, under a new name",
        schemas.DeviceCreated,
        status=201,
        request=schemas.Rehome,
        errors=(404, 409),
    ),
    Route(
        "POST",
        "/v1/devices/{name}/token",
        Scope.DEVICE_WRITE,
        admin.create_token,
        "A new one-time enrollment token",
        schemas.DeviceCreated,
        status=201,
        request=schemas.Empty,
        errors=(404, 409),
    ),
    Route(
        "GET",
        "/v1/export",
        Scope.DEVICE_READ,
        admin.export_devices,
        "All devices, one JSON object a line",
        Content("application/x-ndjson"),
        query=(_DOMAIN,),
        errors=(404,),
        head=False,
    ),
)

_DOMAINS = (
    Route(
        "POST",
        "/v1/domains",
        Scope.DOMAIN_WRITE,
        admin.create_domain,
        "Add a domain with its CA, zone and administrator's key",
        schemas.DomainCreated,
        status=201,
        request=schemas.DomainCreate,
        errors=(409,),
    ),
    Route("GET", "/v1/domains", Scope.DOMAIN_READ, admin.list_domains, "Domains", schemas.DomainList),
    Route(
        "GET",
        "/v1/domains/{domain}",
        Scope.DOMAIN_READ,
        admin.show_domain,
        "One domain",
        schemas.DomainView,
        errors=(404,),
    ),
    Route(
        "GET",
        "/v1/domains/{domain}/provisioning",
        Credential.NONE,
        public.provisioning,
        "What a device stores beside its certificate",
        schemas.Provisioning,
        errors=(404,),
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
        errors=(404,),
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

_FEED = (
    Route(
        "GET",
        "/v1/changes",
        Scope.FEED_READ,
        feed.changes,
        "The change feed: long poll, or server-sent events with Accept: text/event-stream",
        schemas.ChangeList,
        query=(integer("since", 0, feed.MAX_SEQ), integer("wait", 0, 60)),
        errors=(410,),
        stream="text/event-stream",
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
    Route("GET", "/v1/status", Scope.DEVICE_READ, admin.show_status, "Counts and lag", schemas.StatusView),
)

_PUBLIC = (
    Route(
        "GET",
        "/.well-known/ca/{aki}.pem",
        Credential.NONE,
        public.ca_certificate,
        "The CA certificate with this key identifier (PKIX-CD)",
        Content("application/x-pem-file"),
        errors=(404,),
    ),
    Route(
        "GET",
        "/health",
        Credential.NONE,
        public.health,
        "Whether requests can be served, and whether publication works",
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

_CSR = Content("application/pkcs10", {"type": "string", "contentEncoding": "base64"})
_CERTS_ONLY = Content(est_codec.CERTS_ONLY, {"type": "string", "contentEncoding": "base64"})
_CSR_ATTRS = Content(est_codec.CSR_ATTRS, {"type": "string", "contentEncoding": "base64"})
_ACCEPTED = {
    202: OtherAnswer(
        "The DNS does not serve the record yet: send the same request again after Retry-After.", Content("text/plain")
    )
}


def _est_routes(prefix: str) -> tuple[Route, ...]:
    """The operations of RFC 7030 below one path."""
    return (
        Route(
            "GET",
            f"{prefix}/cacerts",
            Credential.NONE,
            est.cacerts,
            "EST: the CA certificates of a domain (RFC 7030 section 4.1)",
            _CERTS_ONLY,
            errors=(404,),
        ),
        Route(
            "GET",
            f"{prefix}/csrattrs",
            Credential.NONE,
            est.csrattrs,
            "EST: attributes of a certificate request (RFC 7030 section 4.5)",
            _CSR_ATTRS,
            errors=(404,),
        ),
        Route(
            "POST",
            f"{prefix}/simpleenroll",
            Credential.TOKEN,
            est.simpleenroll,
            "EST: enroll with a one-time token (RFC 7030 section 4.2.1)",
            _CERTS_ONLY,
            request=_CSR,
            errors=(404, 409, 429),
            others=_ACCEPTED,
        ),
        Route(
            "POST",
            f"{prefix}/simplereenroll",
            Credential.CERTIFICATE,
            est.simplereenroll,
            "EST: renew with the device's present certificate (RFC 7030 section 4.2.2)",
            _CERTS_ONLY,
            request=_CSR,
            errors=(404, 409, 429),
            others=_ACCEPTED,
        ),
    )


ROUTES: tuple[Route, ...] = (
    *_DEVICES,
    *_DOMAINS,
    *_KEYS,
    *_FEED,
    *_REPORTS,
    *_PUBLIC,
    *_est_routes("/.well-known/est"),
    *_est_routes("/.well-known/est/{label}"),
)
