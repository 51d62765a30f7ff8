"""Every published file: which mode reads it, and what its ACL then permits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mud import (
    Action,
    Code,
    Comparison,
    Direction,
    Family,
    LocalNetworks,
    Mode,
    MudError,
    compare,
    compile_acl,
    parse_mud,
    widens,
)
from tests.unit.mud.builders import PUBLISHED, published

FILES = published()
NEVER_READ = {"osmud_lightbulb2000.json", "visualizer_tester_local_network3_udp.json"}
READ = [path for path in FILES if path.name not in NEVER_READ]
LENIENT_ONLY = {path.name for path in published("unsw")} | {
    "mud-dns-test_mudfile-dns-test.json",
    "mud-quarantine-test_mudfile-quarantine-test.json",
}


def name(path: Path) -> str:
    return path.stem


def test_the_files_are_there() -> None:
    assert len(published("unsw")) == 22
    assert len(FILES) == 52


@pytest.mark.parametrize("path", FILES, ids=name)
def test_which_mode_reads_it(path: Path) -> None:
    octets = path.read_bytes()
    if path.name in NEVER_READ:
        for mode in Mode:
            with pytest.raises(MudError):
                parse_mud(octets, mode)
        return
    lenient = parse_mud(octets, Mode.LENIENT)
    if path.name in LENIENT_ONLY:
        assert lenient.findings
        with pytest.raises(MudError):
            parse_mud(octets)
    else:
        strict = parse_mud(octets)
        assert compile_acl(strict) == compile_acl(lenient)


@pytest.mark.parametrize("path", READ, ids=name)
def test_each_entry_is_a_rule_or_is_reported(path: Path) -> None:
    file = parse_mud(path.read_bytes(), Mode.LENIENT)
    acl = compile_acl(file)
    for direction, policy in (
        (Direction.FROM_DEVICE, file.mud.from_device_policy),
        (Direction.TO_DEVICE, file.mud.to_device_policy),
    ):
        entries = [entry.name for name in policy.names for entry in (file.acl(name) or pytest.fail(name)).entries]
        compiled = [rule.entry for rule in acl.rules(direction)]
        skipped = [name for name in entries if name not in compiled]
        for name in skipped:
            assert any(f"entry {name!r}, {direction}: skipped" in finding.text for finding in acl.findings)
        # In the order of the file.
        assert compiled == [name for name in entries if name in compiled]
        assert all(rule.action is Action.ACCEPT for rule in acl.rules(direction))


@pytest.mark.parametrize("path", READ, ids=name)
def test_a_file_does_not_widen_itself(path: Path) -> None:
    file = parse_mud(path.read_bytes(), Mode.LENIENT)
    acl = compile_acl(file)
    assert not widens(acl, acl)
    same = compare(file, file)
    assert same == Comparison((), (), (), (), older=False)
    assert same.lines() == ["Nothing changed."]


def test_what_unsw_s_files_have_that_is_skipped() -> None:
    """Only frames of an unknown kind, IPv6 extension headers, and one entry with an IPv4 address for IPv6."""
    codes: dict[Code, int] = {}
    for path in published("unsw"):
        for finding in compile_acl(parse_mud(path.read_bytes(), Mode.LENIENT)).findings:
            if "skipped" in finding.text:
                codes[finding.code] = codes.get(finding.code, 0) + 1
    assert codes == {Code.UNSUPPORTED_MATCH: 19, Code.CONTRADICTION: 6, Code.INVALID_ENTRY: 1}


def test_a_rule_of_each_kind_of_the_files() -> None:
    rules = [
        rule
        for path in READ
        for acl in [compile_acl(parse_mud(path.read_bytes(), Mode.LENIENT))]
        for rule in (*acl.from_device, *acl.to_device)
    ]
    assert len(rules) == 858
    kinds = {type(peer).__name__ for rule in rules for peer in rule.peers}
    assert kinds == {
        "Network", "DnsName", "LocalNetworks", "Controller", "MyController", "Manufacturer", "Model",
    }  # fmt: skip
    assert {rule.family for rule in rules} == set(Family)
    eapol = [rule for rule in rules if rule.family is Family.ETHERNET]
    assert {rule.ethertype for rule in eapol} == {0x888E}
    # An EAPOL frame stays on its link. So the condition "local networks" of these entries always holds.
    assert {rule.peers for rule in eapol} == {()}
    assert any(rule.peers == (LocalNetworks(),) for rule in rules)


def test_a_manufacturers_example_in_full() -> None:
    acl = compile_acl(parse_mud((PUBLISHED / "samples" / "osmud_ieft-draft.json").read_bytes()))
    data = json.loads((PUBLISHED / "samples" / "osmud_ieft-draft.json").read_bytes())
    assert acl.mud_url == data["ietf-mud:mud"]["mud-url"]
    (outbound,), (inbound,) = acl.from_device, acl.to_device
    assert (outbound.family, outbound.protocol, outbound.peer_ports) == (Family.IPV6, 6, ((443, 443),))
    assert outbound.initiated is inbound.initiated is Direction.FROM_DEVICE
    assert acl.dns_names == ("test.example.com",)
