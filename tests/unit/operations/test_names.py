"""Names of devices, and the makers that they belong to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.core import Refused as NodeRefused
from dane_radius.core import normalize
from operations.core.names import approvable_maker, maker_of, parse_name, type_of
from policy.matching.walk import domains_of
from web_service.core import Reason, Refused


@pytest.mark.parametrize(
    ("name", "maker", "kind"),
    [
        ("a1.camera._device.example.net", "example.net", "camera"),
        ("a1._device.example.net", "example.net", None),
        ("x.a1.camera._device.example.net", "example.net", None),
        ("_mqtt.a1.example.net", "a1.example.net", None),
        ("a1.iot.example.net", "iot.example.net", None),
        ("example.net", "example.net", None),
    ],
)
def test_a_name_says_maker_and_type(name: str, maker: str, kind: str | None) -> None:
    assert maker_of(name) == maker
    assert type_of(name) == kind
    # What policy calls the domain of the name.
    assert maker in domains_of(name)


def test_names_are_kept_in_one_form() -> None:
    assert parse_name("A1.Camera._Device.Example.NET.") == "a1.camera._device.example.net"


@pytest.mark.parametrize(
    "text",
    ["", "a", ".", "a..b", "*.example.net", "-a.example.net", "a.example.net..", "a b.example.net", "a\0.example.net",
     "xn--zzzzzzzzz.example.net", "xn--abc-.example.net", "xn--.example.net", "a.example.0x7f",
     "ü.example.net", "\u212a.example.net", "192.0.2.1", "a" * 64 + ".example.net", "a." * 127 + "net", "a/b.net"],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_name(text)
    assert caught.value.reason is Reason.INVALID_NAME
    assert caught.value.detail.isprintable()


labels = st.from_regex(r"[a-zA-Z0-9_-]{1,8}", fullmatch=True) | st.sampled_from(
    ["xn--bcher-kva", "XN--BCHER-KVA", "xn--", "xn--a", "xn--zzzzzzzzz", "xn--a-ecp.ru", "0x7f", "42", "_device", "*",
     "", "b\xfc", "a" * 63, "a" * 64, "_" + "a" * 62, "_" + "a" * 63, "lan", "example", "\u212a", "a\0", " ", ":1"]
)  # fmt: skip


@given(st.lists(labels, max_size=6).map(".".join) | labels.map(lambda label: f"a1.{label}") | st.text(max_size=20))
def test_a_name_is_valid_here_exactly_if_a_node_takes_it(text: str) -> None:
    """Otherwise the node would drop what is said of the device, or of the maker."""
    try:
        here = parse_name(text)
    except Refused:
        here = None
    try:
        there = normalize(text.encode("utf-8", "surrogatepass"))
    except NodeRefused:
        there = None
    assert here == there


@pytest.mark.parametrize(("name", "valid"), [("a1._device.lan", False), ("a1._device.example.net", True)])
def test_a_maker_can_be_approved_if_its_name_is_valid(name: str, valid: bool) -> None:
    if valid:
        assert approvable_maker(name) == "example.net"
        return
    with pytest.raises(Refused) as caught:
        approvable_maker(name)
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_NAME, "maker")
