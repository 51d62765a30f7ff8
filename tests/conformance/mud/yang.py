"""The YANG modules of RFC 8520 and yangson: the independent judge of MUD files."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from yangson import DataModel
from yangson.enumerations import ContentType, ValidationScope
from yangson.exceptions import YangsonException

MODULES = Path(__file__).parent / "yang"
# Without statistics and interfaces, which have no meaning in a MUD file (RFC 8520 section 2).
_FEATURES = [
    "match-on-eth", "match-on-ipv4", "match-on-ipv6", "match-on-tcp", "match-on-udp", "match-on-icmp", "eth", "ipv4",
    "ipv6", "mixed-eth-ipv4", "mixed-eth-ipv6", "mixed-eth-ipv4-ipv6",
]  # fmt: skip
_IMPLEMENTED = {
    "ietf-mud": "2019-01-28",
    "ietf-access-control-list": "2019-03-04",
    "ietf-acldns": "2019-01-28",
    "ietf-interfaces": "2018-02-20",
}
_IMPORTED = {
    "ietf-inet-types": "2013-07-15",
    "ietf-yang-types": "2013-07-15",
    "ietf-packet-fields": "2019-03-04",
    "ietf-ethertypes": "2019-03-04",
}


@cache
def _model() -> DataModel:
    def module(name: str, revision: str, conformance: str) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "name": name,
            "revision": revision,
            "namespace": f"urn:ietf:params:xml:ns:yang:{name}",
            "conformance-type": conformance,
        }
        if name == "ietf-access-control-list":
            entry["feature"] = _FEATURES
        return entry

    modules = [module(name, revision, "implement") for name, revision in _IMPLEMENTED.items()]
    modules += [module(name, revision, "import") for name, revision in _IMPORTED.items()]
    library = {"ietf-yang-library:modules-state": {"module-set-id": "mud", "module": modules}}
    return DataModel(json.dumps(library), (str(MODULES),))


def refusal(octets: bytes) -> str | None:
    """What YANG says against a file, or None if it is valid."""
    try:
        _model().from_raw(json.loads(octets)).validate(ValidationScope.all, ContentType.config)
    except YangsonException as error:
        return f"{type(error).__name__}: {error}"
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        # yangson's own way to refuse some values of a wrong JSON type.
        return f"{type(error).__name__}: {error}"
    return None
