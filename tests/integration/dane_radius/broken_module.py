"""Stands in for the module in the embedded interpreter: callbacks that break every promise, one per NAS-Identifier."""

from __future__ import annotations

import enum
from typing import Any

ACCEPT = (("Auth-Type", ":=", "Accept"),)


class Code(enum.IntEnum):
    OK = 2


def instantiate(_: Any) -> int:
    return 0


def detach(_: Any) -> int:
    return 2


def authorize(_: Any) -> int:
    return 7


def post_auth(_: Any) -> int:
    raise RuntimeError("looking ahead fails, and must not matter")


def authenticate(lists: Any) -> Any:
    case = dict(lists["request"])["NAS-Identifier"]
    match case:
        case "raises":
            raise RuntimeError("this callback always fails")
        case "none":
            return None
        case "ok-without-accept":
            return 2
        case "enum-with-accept":
            return Code.OK, {"config": ACCEPT}
        case "true":
            return True
        case "fail-with-accept":
            return 1, {"config": ACCEPT}
        case "reject-with-accept":
            return 0, {"config": ACCEPT}
        case "list-instead-of-tuple":
            return 2, {"config": [list(pair) for pair in ACCEPT]}
        case "honest-accept":
            return 2, {"config": ACCEPT}
    return 0
