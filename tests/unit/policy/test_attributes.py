"""The RADIUS attributes of a grant: names, operators and text, all of them plain strings."""

from __future__ import annotations

from policy import Grant, grant_attributes


def attributes(grant: Grant, cui: str | None = None) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for attribute in grant_attributes(grant, user_name="a.example.net", rule="r", cui=cui):
        assert type(attribute) is tuple
        assert [type(part) for part in attribute] == [str, str, str]
        name, op, value = attribute
        found.setdefault(name, []).append((op, value))
    return found


def test_a_bare_grant_gives_no_network() -> None:
    assert attributes(Grant()) == {
        "User-Name": [(":=", "a.example.net")],
        "Termination-Action": [(":=", "RADIUS-Request")],
        "Class": [(":=", "rule=r")],
    }


def test_a_full_grant() -> None:
    grant = Grant(
        vlan=30, filter_id="f", nas_filter_rules=("one", "two"), idle_timeout=60, reauthenticate=False, class_="c"
    )
    found = attributes(grant, cui="handle")
    # RFC 3580 section 3.31: 13 is VLAN, 6 is IEEE-802, and the ID is text.
    assert found["Tunnel-Type:0"] == [(":=", "VLAN")]
    assert found["Tunnel-Medium-Type:0"] == [(":=", "IEEE-802")]
    assert found["Tunnel-Private-Group-Id:0"] == [(":=", "30")]
    assert found["Filter-Id"] == [(":=", "f")]
    assert found["NAS-Filter-Rule"] == [("+=", "one"), ("+=", "two")]
    assert found["Idle-Timeout"] == [(":=", "60")]
    assert found["Termination-Action"] == [(":=", "Default")]
    assert found["Class"] == [(":=", "c")]
    assert found["Chargeable-User-Identity"] == [(":=", "handle")]


def test_a_vlan_by_name() -> None:
    assert attributes(Grant(vlan="guests"))["Tunnel-Private-Group-Id:0"] == [(":=", "guests")]
