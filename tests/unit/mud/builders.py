"""MUD files for tests: published ones, and ones built from a few entries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mud import DeviceAcl, Mode, MudFile, compile_acl, parse_mud

PUBLISHED = Path(__file__).parent / "published"
URL = "https://maker.example/camera.json"
MUD, ACLS = "ietf-mud:mud", "ietf-access-control-list:acls"
ACCEPT = {"forwarding": "accept"}


def published(folder: str = "*") -> list[Path]:
    """The published files of a folder, or all."""
    return sorted(PUBLISHED.glob(f"{folder}/*.json"))


def ace(name: str, action: str = "accept", **matches: Any) -> dict[str, Any]:
    """An entry. `mud`, `dst` and the like stand for their long names."""
    if "mud" in matches:
        matches["ietf-mud:mud"] = matches.pop("mud")
    return {"name": name, "matches": matches, "actions": {"forwarding": action}}


def document(
    from_device: list[dict[str, Any]] | None = None,
    to_device: list[dict[str, Any]] | None = None,
    acl_type: str | None = "ipv4-acl-type",
    **members: Any,
) -> dict[str, Any]:
    """A MUD file as JSON values. `members`: of the container, with underscores for hyphens."""
    container: dict[str, Any] = {
        "mud-version": 1,
        "mud-url": URL,
        "last-update": "2026-01-31T12:00:00Z",
        "is-supported": True,
        **{name.replace("_", "-"): value for name, value in members.items()},
    }
    acls = []
    for side, entries in (("from", from_device), ("to", to_device)):
        if entries is not None:
            container[f"{side}-device-policy"] = {"access-lists": {"access-list": [{"name": f"{side}-it"}]}}
            acl: dict[str, Any] = {"name": f"{side}-it", "aces": {"ace": entries}}
            if acl_type is not None:
                acl["type"] = acl_type
            acls.append(acl)
    return {MUD: container, ACLS: {"acl": acls}}


def octets(data: object) -> bytes:
    return json.dumps(data).encode()


def mud_file(*args: Any, mode: Mode = Mode.STRICT, **options: Any) -> MudFile:
    return parse_mud(octets(document(*args, **options)), mode)


def acl(*args: Any, **options: Any) -> DeviceAcl:
    return compile_acl(mud_file(*args, **options))


def eq(port: int) -> dict[str, Any]:
    return {"operator": "eq", "port": port}


def to_name(name: str = "cloud.example", port: int = 443, **more: Any) -> dict[str, Any]:
    """The usual entry of a camera: TCP to a name, opened by the device."""
    return ace(
        f"to-{name}-{port}",
        ipv4={"protocol": 6, "ietf-acldns:dst-dnsname": name},
        tcp={"destination-port": eq(port), "ietf-mud:direction-initiated": "from-device"},
        **more,
    )


def from_name(name: str = "cloud.example", port: int = 443) -> dict[str, Any]:
    return ace(
        f"from-{name}-{port}",
        ipv4={"protocol": 6, "ietf-acldns:src-dnsname": name},
        tcp={"source-port": eq(port), "ietf-mud:direction-initiated": "from-device"},
    )
