"""Decision logs made up for tests and measurements, in the format of the module.

    .venv/bin/python -m tests.unit.policy.decision_logs FILE DECISIONS

writes one of a city: 50,000 devices at 300 access points, three of four decisions an accept. A few devices are in
quarantine, watched, or approved for a zone that somebody chose.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dane_radius.local.log import iso_time

KINDS = ("light", "air", "noise", "water", "light", "air", "noise", "water", "sign", "signal")
# Seconds since 1970: 2026-12-01.
BEGIN = 1_796_083_200.0

_ACCEPT, _MISMATCH, _ABSENT, _NO_RULE, _NETWORK = (
    "dane_match",
    "tlsa_mismatch",
    "tlsa_absent",
    "policy_no_rule",
    "policy_network",
)


def line(
    name: str | None,
    *,
    at: float = BEGIN,
    reason: str = _ACCEPT,
    verdict: str | None = None,
    rule: str | None = "lighting",
    ssid: str | None = "city-iot",
    nas: str | None = "mast-7",
    nas_address: str | None = "198.51.100.7",
    port_type: str | None = "Wireless-802.11",
    **evidence: Any,
) -> str:
    """One decision. `evidence` adds to what the module knows of the device, or replaces it; None removes a field."""
    verdict = verdict or ("accept" if reason == _ACCEPT else "reject")
    certificate = hashlib.sha256((name or "").encode()).hexdigest()
    found: dict[str, Any] = {"names": [name] if name else [], "certificate": certificate, "policy": "0123456789ab"}
    if reason in (_ACCEPT, _MISMATCH):
        record = f"3 1 1 {certificate[::-1][:24]}…"
        found |= {"dns": "secure", "records": [record], "standing": "normal", "ttl": 300}
        if reason == _ACCEPT:
            found["matched"] = record
    found |= evidence
    fields: dict[str, Any] = {"verdict": verdict, "reason": reason, "name": name, "rule": rule, "detail": "as logged"}
    if verdict == "accept" and reason != _ACCEPT:
        fields["monitored"] = True
    fields["evidence"] = {key: value for key, value in found.items() if value is not None}
    request = {"station": "02-00-00-00-00-01", "nas": nas, "ssid": ssid, "nas_address": nas_address}
    request |= {"port_type": port_type, "outer_identity": "anonymous@city.example"}
    fields |= {key: value for key, value in request.items() if value is not None}
    fields |= {"milliseconds": 1.25, "timestamp": iso_time(at), "event": "decision", "level": "info"}
    return json.dumps(fields, ensure_ascii=False)


def _standing_of(device: int, zone: str) -> dict[str, Any]:
    """The standing of a device of the city, and the zone that it has by it. The rule alone would give `zone`."""
    match device % 100:
        case 11:
            return {
                "standing": "quarantined",
                "approved": False,
                "assigned_standing": "quarantined",
                "zone": "quarantine",
            }
        case 12:
            return {"standing": "watched", "approved": False, "assigned_standing": "watched", "zone": zone}
        case 13:
            return {"standing": "normal", "approved": True, "assigned_zone": "service", "zone": "service"}
        case _:
            return {"zone": zone}


def city_lines(decisions: int, devices: int = 50_000, seed: int = 1) -> Iterator[str]:
    """Decisions of a city's devices, in the order of time."""
    chance = random.Random(seed)
    for number in range(decisions):
        device = chance.randrange(devices)
        kind = KINDS[device % len(KINDS)]
        name = (
            f"m{device}.north.light._device.city.example"
            if kind == "light"
            else f"d{device}.{kind}._device.city.example"
        )
        at = BEGIN + number * 0.1
        mast = device % 300
        place = {"nas": f"mast-{mast}", "nas_address": f"198.51.{mast // 250}.{mast % 250}"}
        rule, zone = ("lighting", "lighting") if kind == "light" else ("sensors", "sensors")
        which = chance.random()
        if kind in ("sign", "signal"):
            yield line(name, at=at, reason=_NETWORK, rule="everything-else", **place)
        elif which < 0.94:
            yield line(name, at=at, rule=rule, **place, **_standing_of(device, zone))
        elif which < 0.96:
            yield line(name, at=at, reason=_MISMATCH, rule=rule, **place, **_standing_of(device, zone))
        elif which < 0.98:
            known = _standing_of(device, zone)
            yield line(name, at=at, reason=_ABSENT, rule=rule, dns="secure NXDOMAIN", **place, **known)
        else:
            yield line(f"x{device}._device.unknown.example", at=at, reason=_NO_RULE, rule="everything-else", **place)


def write_log(path: Path, lines: Iterator[str]) -> None:
    """Write lines to a file; compressed, if its name ends with .gz."""
    if path.suffix == ".gz":
        with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as zipped:
            zipped.writelines(f"{each}\n" for each in lines)
    else:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"{each}\n" for each in lines)


if __name__ == "__main__":
    write_log(Path(sys.argv[1]), city_lines(int(sys.argv[2])))
