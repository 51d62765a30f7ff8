"""What the tests of the service ask of it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from operations.core.standing import Subject
from operations.service import inventory, standings
from operations.service.access import Principal
from operations.service.schemas import (
    DeviceSearch,
    StandingChange,
    StandingResult,
)
from tests.unit.operations.conftest import CAMERA, NOW, WHO, Bench
from web_service.core import RefusalReason, Refused

HOUR = dt.timedelta(hours=1)


def put(bench: Bench, standing: str, *, who: Principal = WHO, name: str = CAMERA, **fields: Any) -> StandingResult:
    wanted = StandingChange.model_validate({"standing": standing, **fields})
    return bench.write(lambda s: standings.set_standing(s, who, name, wanted, bench.policy, NOW))


def standing_of(bench: Bench, name: str = CAMERA, now: dt.datetime = NOW) -> str:
    return bench.read(lambda s: standings.show(s, WHO, Subject.DEVICE, name, now)).standing


def refusal(reason: RefusalReason) -> Any:
    return pytest.raises(Refused, check=lambda refused: refused.reason is reason)


def device(bench: Bench, name: str = CAMERA) -> Any:
    return bench.read(lambda s: inventory.detail(s, WHO, name, NOW))


def names(bench: Bench, **wanted: Any) -> list[str]:
    found = bench.read(lambda s: inventory.search(s, WHO, DeviceSearch(**wanted), NOW))
    return [view.name for view in found.devices]
