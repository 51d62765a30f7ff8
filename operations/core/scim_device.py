"""A device as a SCIM resource (RFC 9944), and what requests want of it. Pure.

Attribute names are compared without regard to case (RFC 7643 section 2.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from operations.core.reasons import ScimReason
from web_service.core import Reason, Refused

CORE = "urn:ietf:params:scim:schemas:core:2.0:Device"
# What this service adds: RFC 9944 has no place for a DNS name, a standing or a zone.
EXTENSION = "urn:dane-operations:scim:schemas:1.0:Device"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
MAX_OPERATIONS = 50
# RFC 8520 section 1.5 requires https.
_MUD_URL = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?\Z")
_WRITABLE = {"displayname": "display_name", "active": "active", "mudurl": "mud_url"}
_READ_ONLY = frozenset({"id", "meta", "schemas", "externalid"})
_EXTENSION_WRITABLE = {"approved": "approved", "name": "name"}


@dataclass(frozen=True)
class Wanted:
    """What a request gives. Each None: it does not say. cleared: attributes to remove."""

    name: str | None = None
    display_name: str | None = None
    mud_url: str | None = None
    active: bool | None = None
    approved: bool | None = None
    cleared: frozenset[str] = frozenset()


def from_resource(data: Any) -> Wanted:
    """What a POST or PUT wants. Raises Refused."""
    if not isinstance(data, dict):
        raise Refused(Reason.MALFORMED, "found no JSON object, expected a resource")
    schemas = data.get("schemas")
    if not isinstance(schemas, list) or CORE not in schemas:
        raise Refused(Reason.INVALID_FIELD, f"schemas: expected a list with {CORE}", field="schemas")
    return _wanted(_flat(data))


def from_patch(data: Any) -> Wanted:
    """What a PATCH (RFC 7644 section 3.5.2) wants. Raises Refused."""
    if not isinstance(data, dict):
        raise Refused(Reason.MALFORMED, "found no JSON object, expected a PatchOp")
    fields = {str(key).lower(): value for key, value in data.items()}
    operations = fields.get("operations")
    if fields.get("schemas") != [PATCH] or not isinstance(operations, list):
        raise Refused(Reason.MALFORMED, f"expected schemas with {PATCH}, and a list of Operations")
    if not 1 <= len(operations) <= MAX_OPERATIONS:
        raise Refused(Reason.INVALID_FIELD, f"expected 1 to {MAX_OPERATIONS} operations", field="Operations")
    values: dict[str, Any] = {}
    for operation in operations:
        values.update(_operation(operation))
    return _wanted(values.items())


def _operation(operation: Any) -> dict[str, Any]:
    if not isinstance(operation, dict):
        raise Refused(Reason.MALFORMED, "found an operation that is no JSON object")
    fields = {str(key).lower(): value for key, value in operation.items()}
    kind, path = str(fields.get("op", "")).lower(), fields.get("path")
    if kind not in ("add", "replace", "remove"):
        raise Refused(Reason.INVALID_FIELD, f"op: found {kind[:20]!r}, expected add, replace or remove", field="op")
    if path is not None and not isinstance(path, str):
        raise Refused(ScimReason.INVALID_PATH, "path: expected a text", field="path")
    if kind == "remove":
        if path is None:
            raise Refused(ScimReason.NO_TARGET, "a remove needs a path", field="path")
        return {_attribute(path): None}
    value = fields.get("value")
    if path is not None:
        return {_attribute(path): value}
    if not isinstance(value, dict):
        raise Refused(Reason.INVALID_FIELD, "an operation without path needs an object as value", field="value")
    return dict(_flat(value))


def _attribute(path: str) -> str:
    """The attribute of a path, in lower case; those of the extension begin with its URN."""
    name = path.lower()
    for urn in (CORE.lower(), EXTENSION.lower()):
        if name.startswith(f"{urn}:"):
            inner = name.removeprefix(f"{urn}:")
            return inner if urn == CORE.lower() else f"{urn}:{inner}"
    if "[" in name or "." in name:
        raise Refused(
            ScimReason.INVALID_PATH, f"path: found {path[:80]!r}, expected the name of an attribute", field="path"
        )
    return name


def _flat(data: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """The attributes of a resource, those of the extension with its URN before them."""
    for key, value in data.items():
        name = str(key).lower()
        if name == EXTENSION.lower():
            if not isinstance(value, dict):
                raise Refused(Reason.INVALID_FIELD, f"{EXTENSION}: expected an object", field=EXTENSION)
            for inner, content in value.items():
                yield f"{name}:{str(inner).lower()}", content
        else:
            yield _attribute(str(key)), value


def _wanted(items: Any) -> Wanted:
    found: dict[str, Any] = {}
    cleared = set()
    for attribute, value in items:
        field = _field(attribute)
        if field is None:
            continue
        if value is None:
            if field not in ("display_name", "mud_url"):
                raise Refused(ScimReason.MUTABILITY, f"{attribute} cannot be removed", field=attribute)
            cleared.add(field)
            found.pop(field, None)
        else:
            found[field] = _checked(field, attribute, value)
            cleared.discard(field)
    return Wanted(**found, cleared=frozenset(cleared))


def _field(attribute: str) -> str | None:
    """The field of an attribute; None: it is read-only, and ignored (RFC 7644 section 3.3)."""
    prefix = f"{EXTENSION.lower()}:"
    if attribute.startswith(prefix):
        return _EXTENSION_WRITABLE.get(attribute.removeprefix(prefix))
    if attribute in _WRITABLE:
        return _WRITABLE[attribute]
    if attribute in _READ_ONLY or attribute.startswith("urn:"):
        return None
    raise Refused(ScimReason.INVALID_PATH, f"found the attribute {attribute[:80]!r}, which {CORE} does not have")


def _checked(field: str, attribute: str, value: Any) -> Any:
    if field in ("active", "approved"):
        if not isinstance(value, bool):
            raise Refused(Reason.INVALID_FIELD, f"{attribute}: expected true or false", field=attribute)
        return value
    if not isinstance(value, str) or not value.isprintable() or len(value) > 253:
        raise Refused(
            Reason.INVALID_FIELD, f"{attribute}: expected a printable text of at most 253 characters", field=attribute
        )
    if field == "display_name" and len(value) > 200:
        raise Refused(Reason.INVALID_FIELD, f"{attribute}: expected at most 200 characters", field=attribute)
    if field == "mud_url" and not _MUD_URL.match(value):
        raise Refused(Reason.INVALID_FIELD, f"{attribute}: expected an https URL without query", field=attribute)
    return value
