"""What SCIM clients may ask about this service (RFC 7643 sections 5 to 7). Pure."""

from __future__ import annotations

from typing import Any

from operations.core.scim_device import CORE, EXTENSION

Json = dict[str, Any]
MAX_RESULTS = 200


def service_provider_config() -> Json:
    """What is supported: PATCH and filters; neither bulk requests, nor sorting, nor ETags, nor passwords."""
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": {"supported": True},
        "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": MAX_RESULTS},
        "changePassword": {"supported": False},
        "sort": {"supported": False},
        "etag": {"supported": False},
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "API key",
                "description": "A key of `dane-operations key add`, as a bearer token.",
            }
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": "/scim/v2/ServiceProviderConfig"},
    }


def resource_types() -> list[Json]:
    return [
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": "Device",
            "name": "Device",
            "endpoint": "/Devices",
            "description": "A device of the inventory (RFC 9944)",
            "schema": CORE,
            "schemaExtensions": [{"schema": EXTENSION, "required": True}],
            "meta": {"resourceType": "ResourceType", "location": "/scim/v2/ResourceTypes/Device"},
        }
    ]


def schemas() -> list[Json]:
    return [_core(), _extension()]


def _core() -> Json:
    return _schema(
        CORE,
        "Device",
        "A device (RFC 9944)",
        [
            _attribute("displayName", "What people call the device."),
            _attribute(
                "active",
                "Whether the device may join. false: it is blocked. true ends a block, and no quarantine.",
                kind="boolean",
                required=True,
            ),
            _attribute("mudUrl", "The URL of the device's MUD file (RFC 8520).", kind="reference", exact=True),
        ],
    )


def _extension() -> Json:
    read_only = {
        "maker": "The domain of the device's maker.",
        "type": "The kind of device, from its name.",
        "standing": "normal, watched, quarantined, blocked or pending.",
        "zone": "The zone of its last admission.",
    }
    return _schema(
        EXTENSION,
        "DaneDevice",
        "What this service knows of a device",
        [
            _attribute("name", "The device's DNS name.", required=True, mutability="immutable", uniqueness="server"),
            _attribute("approved", "Whether a person has approved the device.", kind="boolean"),
            *(_attribute(name, text, mutability="readOnly") for name, text in read_only.items()),
            _attribute("proven", "Whether a device has proven the name.", kind="boolean", mutability="readOnly"),
            _attribute("firstSeen", "When it was first decided about.", kind="dateTime", mutability="readOnly"),
            _attribute("lastSeen", "When it was last decided about.", kind="dateTime", mutability="readOnly"),
        ],
    )


def _schema(urn: str, name: str, description: str, attributes: list[Json]) -> Json:
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
        "id": urn,
        "name": name,
        "description": description,
        "attributes": attributes,
        "meta": {"resourceType": "Schema", "location": f"/scim/v2/Schemas/{urn}"},
    }


def _attribute(
    name: str,
    description: str,
    *,
    kind: str = "string",
    required: bool = False,
    exact: bool = False,
    mutability: str = "readWrite",
    uniqueness: str = "none",
) -> Json:
    attribute: Json = {
        "name": name,
        "type": kind,
        "multiValued": False,
        "description": description,
        "required": required,
        "caseExact": exact,
        "mutability": mutability,
        "returned": "default",
        "uniqueness": uniqueness,
    }
    if kind == "reference":
        attribute["referenceTypes"] = ["external"]
    return attribute
