"""SCIM: filters, resources and patches (RFC 7644, RFC 9944), and what they do to standings."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operations.core import scim_filter
from operations.core.reasons import ScimReason
from operations.core.scim_device import CORE, EXTENSION, PATCH, Wanted, from_patch, from_resource
from operations.core.scim_documents import schemas
from operations.core.scim_filter import Both, Compare, Not, Present, parse_filter
from operations.core.standing import Subject
from operations.service import scim, standings
from operations.service.access import Principal, Scope
from operations.service.schemas import StandingChange
from tests.unit.operations.conftest import CAMERA, NOW, WHO, Bench, admitted, refused
from web_service.core import Reason, Refused

LOCK = "l1.lock._device.example.net"


def resource(name: str = CAMERA, **fields: Any) -> dict[str, Any]:
    return {"schemas": [CORE, EXTENSION], "active": True, EXTENSION: {"name": name}, **fields}


def operations(*found: dict[str, Any]) -> dict[str, Any]:
    return {"schemas": [PATCH], "Operations": list(found)}


# --- filters


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ('displayName eq "Door"', Compare("displayname", "eq", "Door")),
        ("active EQ true", Compare("active", "eq", True)),
        ("mudUrl pr", Present("mudurl")),
        (
            'displayName sw "a" and active eq true or mudUrl pr',
            Both(
                "or",
                (
                    Both("and", (Compare("displayname", "sw", "a"), Compare("active", "eq", True))),
                    Present("mudurl"),
                ),
            ),
        ),
        ('not (displayName co "\\" )")', Not(Compare("displayname", "co", '" )'))),
        (f'{EXTENSION}:name ew ".net"', Compare(f"{EXTENSION.lower()}:name", "ew", ".net")),
    ],
)
def test_a_filter_is_read_as_the_standard_says(text: str, tree: scim_filter.Filter) -> None:
    assert parse_filter(text) == tree


@pytest.mark.parametrize(
    "text",
    ["", "x", "x eq", "x is 5", "x eq y", "(x pr", "x pr)", "not x pr", "x eq {}", 'x eq "a', "x pr y pr", "(" * 400,
     "x eq [1]", "and", "x eq 1 " * 200],
)  # fmt: skip
def test_what_is_no_filter(text: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_filter(text)
    assert caught.value.reason is ScimReason.INVALID_FILTER


@given(st.text(max_size=80) | st.text(alphabet='()"\\ andornteqpr1xX', max_size=80))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    # Anything but a refusal fails the test.
    with contextlib.suppress(Refused):
        parse_filter(text)


# --- requests


def test_a_patch_in_both_forms_and_any_case() -> None:
    wanted = from_patch(
        operations(
            {"op": "Replace", "path": "DisplayName", "value": "Door"},
            {"op": "add", "value": {"active": False, EXTENSION: {"approved": True}}},
            {"op": "remove", "path": f"{CORE}:mudUrl"},
        )
    )
    assert wanted == Wanted(display_name="Door", active=False, approved=True, cleared=frozenset({"mud_url"}))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([], Reason.MALFORMED),
        ({"schemas": [PATCH]}, Reason.MALFORMED),
        (operations(), Reason.INVALID_FIELD),
        (operations(*[{"op": "add", "path": "active", "value": True}] * 51), Reason.INVALID_FIELD),
        (operations({"op": "move", "path": "active"}), Reason.INVALID_FIELD),
        (operations({"op": "remove"}), ScimReason.NO_TARGET),
        (operations({"op": "remove", "path": "active"}), ScimReason.MUTABILITY),
        (operations({"op": "add", "path": 'active[x eq "1"]', "value": True}), ScimReason.INVALID_PATH),
        (operations({"op": "add", "path": "color", "value": "red"}), ScimReason.INVALID_PATH),
        (operations({"op": "add", "path": "active", "value": "yes"}), Reason.INVALID_FIELD),
        (operations({"op": "add", "path": "mudUrl", "value": "http://x.example/"}), Reason.INVALID_FIELD),
        (operations({"op": "add", "path": "displayName", "value": "\x1b[2J"}), Reason.INVALID_FIELD),
        (operations(5), Reason.MALFORMED),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_patch(data: Any, reason: Any) -> None:
    with pytest.raises(Refused) as caught:
        from_patch(data)
    assert caught.value.reason is reason


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(json_values, st.sampled_from(["op", "path", "value", "Operations"]))
def test_any_data_is_a_request_or_refused(value: Any, key: str) -> None:
    for parse, data in (
        (from_resource, value),
        (from_resource, resource(displayName=value)),
        (from_resource, {**resource(), EXTENSION: value}),
        (from_patch, operations({"op": "add", "path": "active", "value": True, key: value})),
        (from_patch, {"schemas": [PATCH], "Operations": value}),
    ):
        try:
            parse(data)
        except Refused:
            continue


# --- devices


def create(bench: Bench, data: dict[str, Any], who: Principal = WHO) -> dict[str, Any]:
    return bench.write(lambda s: scim.create(s, who, from_resource(data), NOW))


def found(bench: Bench, text: str | None = None) -> list[str]:
    page = bench.read(lambda s: scim.find(s, WHO, text, 1, 100, NOW))
    assert page.total == len(page.resources)
    return [item[EXTENSION]["name"] for item in page.resources]


def change(bench: Bench, uid: str, *found: dict[str, Any], who: Principal = WHO) -> dict[str, Any]:
    return bench.write(lambda s: scim.patch(s, who, uid, from_patch(operations(*found)), NOW))


def test_a_device_is_entered_once(bench: Bench) -> None:
    made = create(bench, resource(displayName="Door camera", mudUrl="https://maker.example/c.json"))
    assert made["schemas"] == [CORE, EXTENSION]
    assert (made["displayName"], made["active"], made[EXTENSION]["name"]) == ("Door camera", True, CAMERA)
    assert made["meta"]["version"].startswith('W/"')
    with pytest.raises(Refused) as caught:
        create(bench, resource())
    assert caught.value.reason is Reason.CONFLICT
    attributes = {attribute["name"].lower() for schema in schemas() for attribute in schema["attributes"]}
    assert {key.lower() for key in (*made, *made[EXTENSION])} - {
        "schemas",
        "id",
        "meta",
        EXTENSION.lower(),
    } <= attributes


def test_a_device_that_was_seen_can_be_entered(bench: Bench) -> None:
    bench.report(admitted())
    assert create(bench, resource(displayName="Door"))[EXTENSION]["zone"] == "appliance"


def test_active_blocks_and_ends_a_block_but_no_quarantine(bench: Bench) -> None:
    uid = create(bench, resource())["id"]
    assert not change(bench, uid, {"op": "replace", "path": "active", "value": False})["active"]
    assert bench.events()[-1]["standing"] == "blocked"
    assert change(bench, uid, {"op": "replace", "path": "active", "value": True})["active"]
    wanted = StandingChange.model_validate({"standing": "quarantined"})
    bench.write(lambda s: standings.set_standing(s, WHO, CAMERA, wanted, bench.policy, NOW))
    after = change(bench, uid, {"op": "replace", "path": "active", "value": True})
    assert after[EXTENSION]["standing"] == "quarantined"


def test_scopes_are_those_of_the_api(bench: Bench) -> None:
    clerk = Principal("key:clerk", frozenset({Scope.DEVICE_WRITE, Scope.DEVICE_READ}))
    uid = create(bench, resource(), clerk)["id"]
    for operation in (
        {"op": "replace", "path": "active", "value": False},
        {"op": "replace", "path": f"{EXTENSION}:approved", "value": True},
    ):
        with pytest.raises(Refused) as caught:
            change(bench, uid, operation, who=clerk)
        assert caught.value.reason is Reason.FORBIDDEN
    assert bench.events() == []


def test_a_name_does_not_change(bench: Bench) -> None:
    uid = create(bench, resource())["id"]
    with pytest.raises(Refused) as caught:
        change(bench, uid, {"op": "replace", "path": f"{EXTENSION}:name", "value": LOCK})
    assert caught.value.reason is ScimReason.MUTABILITY


def test_put_clears_what_it_does_not_give(bench: Bench) -> None:
    uid = create(bench, resource(displayName="Door"))["id"]
    after = bench.write(lambda s: scim.replace(s, WHO, uid, from_resource(resource()), NOW))
    assert "displayName" not in after


def test_deleting_a_device_ends_no_quarantine_and_withdraws_its_approval(bench: Bench) -> None:
    uid = create(bench, {**resource(), EXTENSION: {"name": CAMERA, "approved": True}})["id"]
    wanted = StandingChange.model_validate({"standing": "quarantined"})
    bench.write(lambda s: standings.set_standing(s, WHO, CAMERA, wanted, bench.policy, NOW))
    bench.write(lambda s: scim.remove(s, WHO, uid, NOW))
    assert found(bench) == []
    state = bench.read(lambda s: standings.show(s, WHO, Subject.DEVICE, CAMERA, NOW))
    assert (state.standing, state.approved) == ("quarantined", False)
    with pytest.raises(Refused) as caught:
        bench.read(lambda s: scim.show(s, WHO, uid, NOW))
    assert caught.value.reason is Reason.NOT_FOUND


def test_who_may_not_withdraw_an_approval_deletes_no_approved_device(bench: Bench) -> None:
    who = Principal("key:inventory", frozenset({Scope.DEVICE_WRITE, Scope.DEVICE_READ}))
    uid = create(bench, {**resource(), EXTENSION: {"name": CAMERA, "approved": True}})["id"]
    with pytest.raises(Refused) as caught:
        bench.write(lambda s: scim.remove(s, who, uid, NOW))
    assert caught.value.reason is Reason.FORBIDDEN
    assert found(bench) == [CAMERA]
    change(bench, uid, {"op": "replace", "path": f"{EXTENSION}:approved", "value": False})
    bench.write(lambda s: scim.remove(s, who, uid, NOW))
    assert found(bench) == []


def test_lists_by_filter(bench: Bench) -> None:
    bench.report(refused("stranger.camera._device.example.net"))
    create(bench, resource(displayName="Door Camera"))
    create(bench, resource(LOCK, active=False))
    assert found(bench) == [CAMERA, LOCK]
    for text, expected in (
        ('displayName eq "door camera"', [CAMERA]),
        ('displayName co "100%"', []),
        ("active eq false", [LOCK]),
        ("not (active eq false)", [CAMERA]),
        ("active ne true", [LOCK]),
        ("displayName pr", [CAMERA]),
        (f'{EXTENSION}:type eq "LOCK" or displayName sw "Door"', [CAMERA, LOCK]),
        (f'{EXTENSION}:standing eq "blocked"', [LOCK]),
        (f'{EXTENSION}:approved eq true', []),
        ('meta.created gt "2026-11-25T11:59:00Z"', [CAMERA, LOCK]),
        ('meta.created lt "2026-11-25T11:59:00Z"', []),
        (f'{EXTENSION}:name eq "\\u0000"', []),
    ):  # fmt: skip
        assert found(bench, text) == expected, text
    for text in ('color eq "red"', "active gt true", 'active eq "true"', "displayName gt 5", 'meta.created eq "x"'):
        with pytest.raises(Refused) as caught:
            found(bench, text)
        assert caught.value.reason is ScimReason.INVALID_FILTER
    page = bench.read(lambda s: scim.find(s, WHO, None, 2, 1, NOW))
    assert (page.total, len(page.resources)) == (2, 1)
