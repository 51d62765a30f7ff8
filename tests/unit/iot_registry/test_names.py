from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_registry.core import names
from web_service.core import Reason, Refused

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)


@given(LABEL, LABEL, st.lists(LABEL, min_size=2, max_size=4))
def test_a_name_survives_its_text_form(label: str, kind: str, domain: list[str]) -> None:
    if domain[-1].isdigit():
        domain[-1] = "x" + domain[-1]
    name = names.device(label, kind, ".".join(domain))
    assert names.parse_device(str(name)) == name
    assert names.parse_device(str(name).upper() + ".") == name


def outcome(parse: Callable[[str], object], text: str) -> tuple[Reason | None, str]:
    try:
        return None, str(parse(text))
    except Refused as refused:
        return refused.reason, ""


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    for parse in (names.parse_device, names.domain, lambda t: names.label(t, "label")):
        reason, parsed = outcome(parse, text)
        assert reason in (None, Reason.INVALID_NAME)
        assert parsed == parsed.lower()
        assert parsed.isascii()
        assert "*" not in parsed
        assert len(parsed) <= names.MAX_NAME


@pytest.mark.parametrize(
    "text",
    [
        "*.camera._device.home.example",
        "a.*._device.home.example",
        "a.camera._device.*.example",
        "a.camera._devices.home.example",
        "_device.home.example",
        "a.camera._device.example",
        "a.camera._device.10.0.0.1",
        "a..camera._device.home.example",
        "-a.camera._device.home.example",
        "a.camera._device.home.example\0",
        "a.camera._device.h\u00f6me.example",
        "a\u212aa.camera._device.home.example",
        "a" * 64 + ".camera._device.home.example",
        "a.camera._device." + "abcdefgh." * 28 + "example",
        "ab--c.camera._device.home.example",
    ],
)
def test_what_is_not_a_device_name(text: str) -> None:
    with pytest.raises(Refused) as refused:
        names.parse_device(text)
    assert (refused.value.reason, refused.value.field) == (Reason.INVALID_NAME, "name")


def test_an_a_label_is_a_label() -> None:
    assert names.label("XN--BCHER-KVA", "label") == "xn--bcher-kva"


def test_the_authority_of_a_domain_is_the_host_that_pkix_cd_derives() -> None:
    assert names.authority_host("home.example") == "device.home.example"
    assert names.identity_root("home.example") == "_device.home.example"
