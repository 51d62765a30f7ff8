"""The routes of SCIM."""

from __future__ import annotations

import dataclasses

from operations.core.scim_documents import MAX_RESULTS
from operations.core.scim_filter import MAX_LENGTH
from operations.service.access import Scope
from operations.web import scim_endpoints as scim
from web_service.web import Content, Credential, QueryParameter, Route, integer

_RESOURCE = Content(scim.MEDIA_TYPE, {"type": "object"})
_FILTER = QueryParameter("filter", {"type": "string", "maxLength": MAX_LENGTH})

_ROUTES = (
    Route(
        "GET",
        "/scim/v2/Devices",
        Scope.DEVICE_READ,
        scim.list_devices,
        "SCIM: devices, with a filter (RFC 7644 section 3.4.2)",
        _RESOURCE,
        query=(_FILTER, integer("startIndex", 1, 2**31, default=1), integer("count", 0, MAX_RESULTS, default=100)),
    ),
    Route(
        "POST",
        "/scim/v2/Devices",
        Scope.DEVICE_WRITE,
        scim.create_device,
        "SCIM: enter a device",
        _RESOURCE,
        status=201,
        request=_RESOURCE,
        errors=(409,),
    ),
    Route(
        "GET",
        "/scim/v2/Devices/{id}",
        Scope.DEVICE_READ,
        scim.show_device,
        "SCIM: one device",
        _RESOURCE,
        errors=(404,),
    ),
    Route(
        "PUT",
        "/scim/v2/Devices/{id}",
        Scope.DEVICE_WRITE,
        scim.replace_device,
        "SCIM: replace what was entered of a device",
        _RESOURCE,
        request=_RESOURCE,
        errors=(404,),
    ),
    Route(
        "PATCH",
        "/scim/v2/Devices/{id}",
        Scope.DEVICE_WRITE,
        scim.patch_device,
        "SCIM: change a device (RFC 7644 section 3.5.2)",
        _RESOURCE,
        request=_RESOURCE,
        errors=(404,),
    ),
    Route(
        "DELETE",
        "/scim/v2/Devices/{id}",
        Scope.DEVICE_WRITE,
        scim.delete_device,
        "SCIM: delete a device from the inventory; its standing stays",
        Content(scim.MEDIA_TYPE),
        status=204,
        errors=(404,),
    ),
    Route(
        "GET",
        "/scim/v2/ServiceProviderConfig",
        Credential.NONE,
        scim.service_provider_config,
        "SCIM: what is supported",
        _RESOURCE,
    ),
    Route("GET", "/scim/v2/ResourceTypes", Credential.NONE, scim.resource_types, "SCIM: resource types", _RESOURCE),
    Route(
        "GET",
        "/scim/v2/ResourceTypes/{schema}",
        Credential.NONE,
        scim.show_resource_type,
        "SCIM: one resource type",
        _RESOURCE,
        errors=(404,),
    ),
    Route("GET", "/scim/v2/Schemas", Credential.NONE, scim.schemas, "SCIM: schemas", _RESOURCE),
    Route(
        "GET",
        "/scim/v2/Schemas/{schema}",
        Credential.NONE,
        scim.show_schema,
        "SCIM: one schema",
        _RESOURCE,
        errors=(404,),
    ),
)

# Refusals have the form of RFC 7644 section 3.12.
SCIM_ROUTES = tuple(dataclasses.replace(route, refusal=_RESOURCE) for route in _ROUTES)
