"""Strict mode accepts what RFC 8520 says and nothing else. Lenient mode reads known deviations and reports each."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from mud import Code, Mode, MudError, compile_acl, parse_mud, widens
from mud.limits import MAX_ACES, MAX_ACLS, MAX_NAMES, MAX_TEXT, MAX_URL
from tests.unit.mud.builders import ACLS, MUD, URL, ace, document, eq, mud_file, octets, published, to_name
from tests.unit.mud.damage import damage

Change = Callable[[dict[str, Any]], object]


def base() -> dict[str, Any]:
    return document([to_name()], [])


def entry(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data[ACLS]["acl"][0]["aces"]["ace"][0]
    return found


def put(*path: Any, value: Any) -> Change:
    """Set a member. A path that starts with no root starts in the first entry."""

    def change(data: dict[str, Any]) -> None:
        at: Any = data if path[0] in (MUD, ACLS) else entry(data)
        for part in path[:-1]:
            at = at.setdefault(part, {}) if isinstance(at, dict) else at[part]
        at[path[-1]] = value

    return change


def drop(*path: Any) -> Change:
    def change(data: dict[str, Any]) -> None:
        at: Any = data if path[0] in (MUD, ACLS) else entry(data)
        for part in path[:-1]:
            at = at[part]
        del at[path[-1]]

    return change


def test_all_members_of_the_container() -> None:
    file = mud_file(
        [],
        [],
        mud_signature="camera.p7s",
        cache_validity=168,
        systeminfo="A camera",
        mfg_name="Maker",
        model_name="C1",
        firmware_rev="1.0",
        software_rev="2.0",
        documentation="https://maker.example/doc",
        extensions=["transparency"],
    )
    assert file.mud.mud_url == URL
    assert file.mud.last_update == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert (file.mud.cache_validity, file.mud.is_supported, file.mud.mud_signature) == (168, True, "camera.p7s")
    assert (file.mud.systeminfo, file.mud.extensions) == ("A camera", ("transparency",))
    assert file.authority == "maker.example"
    assert mud_file().mud.cache_validity == 48
    assert file.findings == ()


REFUSED: list[tuple[Change, str]] = [
    (drop(MUD), f"{MUD}: nothing found"),
    (drop(MUD, "mud-version"), "mud-version: nothing found"),
    (drop(MUD, "mud-url"), "mud-url: nothing found"),
    (drop(MUD, "last-update"), "last-update: nothing found"),
    (drop(MUD, "is-supported"), "is-supported: nothing found"),
    (put(MUD, "mud-version", value=2), "mud-version: 2 found"),
    (put(MUD, "mud-version", value=True), "mud-version: True found"),
    (put(MUD, "mud-version", value="1"), "mud-version: '1' found"),
    (put(MUD, "mud-url", value="http://maker.example/a"), "https URL"),
    (put(MUD, "mud-url", value="https://user@maker.example/a"), "https URL"),
    (put(MUD, "mud-url", value="https://maker.example/a#b"), "https URL"),
    (put(MUD, "mud-url", value="https:///a"), "https URL"),
    (put(MUD, "mud-url", value="https://maker.example:x/a"), "port number"),
    (put(MUD, "mud-url", value="https://maker.example:0/a"), "port number"),
    (put(MUD, "mud-url", value="https://-maker.example/a"), "DNS name"),
    (put(MUD, "mud-url", value="https://maker.example\\.evil.example/a"), "https URL"),
    (put(MUD, "mud-url", value="https://b\u00fccher.example/a"), "URI in ASCII"),
    (put(MUD, "mud-url", value="https://maker.example/a b"), "URI in ASCII"),
    (put(MUD, "mud-url", value="https://maker.example/" + "a" * MAX_URL), f"at most {MAX_URL}"),
    (put(MUD, "last-update", value="2026-01-31"), "date and time"),
    (put(MUD, "last-update", value="2026-01-31T12:00:00"), "date and time"),
    (put(MUD, "last-update", value="2026-02-31T12:00:00Z"), "last-update"),
    (put(MUD, "last-update", value="2026-01-31T12:00:00Z\n"), "date and time"),
    (put(MUD, "last-update", value=5), "date and time"),
    (put(MUD, "is-supported", value=1), "boolean"),
    (put(MUD, "cache-validity", value=0), "cache-validity: 0 found"),
    (put(MUD, "cache-validity", value=169), "cache-validity: 169 found"),
    (put(MUD, "cache-validity", value=48.0), "cache-validity: 48.0 found"),
    (put(MUD, "systeminfo", value="a" * (MAX_TEXT + 1)), f"at most {MAX_TEXT}"),
    (put(MUD, "mfg-name", value=None), "null found as the value of 'mfg-name'"),
    (put(MUD, "extensions", value=["a", "a"]), "each value once"),
    (put(MUD, "extensions", value="a"), "extensions"),
    (put(MUD, "from-device-policy", value=[]), "from-device-policy"),
    (put(MUD, "from-device-policy", "access-lists", "access-list", value=[{"name": "a"}, {"name": "a"}]), "once"),
    (put(ACLS, value=[]), "an object with the list acl"),
    (put(ACLS, "acl", value={}), "an object with the list acl"),
    (put(ACLS, "acl", 0, "acl-type", value="x"), "acl-type: unknown member"),
    (put(ACLS, "acl", 0, "name", value=""), "name"),
    (put(ACLS, "acl", 0, "name", value="a" * 65), "at most 64"),
    (put(ACLS, "acl", 0, "type", value="other-acl-type"), "one of ipv4-acl-type"),
    (put(ACLS, "acl", 1, "name", value="from-it"), "two ACLs of the name 'from-it'"),
    (put(ACLS, "acl", 0, "aces", "ace", value=[5]), "5 found, an object"),
    (put(ACLS, "acl", 0, "aces", "ace", value={}), "a list"),
]
# Refused in strict mode. In lenient mode, the file is read.
STRICT_ONLY: list[tuple[Change, str, Code]] = [
    (put("x", value=1), "x: unknown member", Code.INVALID_ENTRY),
    (drop("name"), "name: nothing found", Code.INVALID_ENTRY),
    (drop("actions"), "actions: nothing found", Code.INVALID_ENTRY),
    (put("actions", value={}), "forwarding: nothing found", Code.INVALID_ENTRY),
    (put("actions", "forwarding", value="mirror"), "one of accept, drop, reject", Code.INVALID_ENTRY),
    (put("actions", "forwarding", value=["accept"]), "one of accept, drop, reject", Code.INVALID_ENTRY),
    (put("matches", value=[]), "matches", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "protocol", value=256), "protocol: 256", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "protocol", value="6"), "protocol: '6'", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "protocol", value=6.0), "protocol: 6.0", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "ietf-acldns:dst-dnsname", value="*.cloud.example"), "DNS name", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "ietf-acldns:dst-dnsname", value=""), "DNS name", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "ietf-acldns:dst-dnsname", value="."), "DNS name", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "ietf-acldns:dst-dnsname", value="a..b"), "DNS name", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "ietf-acldns:dst-dnsname", value="a.b\n"), "DNS name", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "ietf-acldns:dst-dnsname", value="a" * 64 + ".b"), "DNS name", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "ietf-acldns:dst-dnsname", value="b\u00fccher.example"), "DNS name", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "ietf-acldns:dst-dnsname", value="fe80::1%eth0"), "DNS name", Code.INVALID_ENTRY),
    (
        put("matches", "ipv4", "ietf-acldns:dst-dnsname", value="010.0.0.1"),
        "last label is no number",
        Code.INVALID_ENTRY,
    ),
    (put("matches", "ipv4", "ietf-acldns:dst-dnsname", value="3232235777"), "no number", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "dst-dnsname", value="a.b"), "dst-dnsname: unknown", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "destination-ipv4-network", value="192.0.2.0/33"), "network", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "destination-ipv4-network", value="192.0.2.0/255.255.255.0"), "IPv4", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "destination-ipv4-network", value="192.0.2.0/024"), "IPv4", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "destination-ipv4-network", value="2001:db8::/32"), "IPv4", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "destination-ipv6-network", value="2001:db8::/32"), "unknown", Code.INVALID_ENTRY),
    (put("matches", "ipv6", value={}), "ipv4 or ipv6", Code.INVALID_ENTRY),
    (put("matches", "udp", value={}), "one of tcp, udp and icmp", Code.INVALID_ENTRY),
    (put("matches", "tcp", "destination-port", value={"operator": "eq"}), "operator without port", Code.INVALID_ENTRY),
    (put("matches", "tcp", "destination-port", value={"port": 65536}), "port: 65536", Code.INVALID_ENTRY),
    (put("matches", "tcp", "destination-port", value={"operator": "gt", "port": 1}), "operator", Code.INVALID_ENTRY),
    (put("matches", "tcp", "destination-port", value={"lower-port": 1}), "together", Code.INVALID_ENTRY),
    (
        put("matches", "tcp", "destination-port", value={"lower-port": 9, "upper-port": 1}),
        "greater",
        Code.INVALID_ENTRY,
    ),
    (
        put("matches", "tcp", "destination-port", value={"port": 1, "lower-port": 1, "upper-port": 2}),
        "both",
        Code.INVALID_ENTRY,
    ),
    (put("matches", "tcp", "direction-initiated", value="from-device"), "unknown", Code.INVALID_ENTRY),
    (put("matches", "tcp", "ietf-mud:direction-initiated", value="both"), "direction-initiated", Code.INVALID_ENTRY),
    (put("matches", MUD, value={"local-networks": None}), "null found", Code.INVALID_ENTRY),
    (put("matches", MUD, value={"local-networks": []}), r"\[null\] is expected", Code.INVALID_ENTRY),
    (put("matches", MUD, value={"local-networks": True}), r"\[null\] is expected", Code.INVALID_ENTRY),
    (put("matches", MUD, value={"manufacturer": "https://a.example/"}), "DNS name", Code.INVALID_ENTRY),
    (put("matches", MUD, value={"model": "a.example"}), "https URL", Code.INVALID_ENTRY),
    (put("matches", MUD, value={"controller": "a b"}), "URI", Code.INVALID_ENTRY),
    (put("matches", MUD, value={"neighbour": [None]}), "unknown member", Code.INVALID_ENTRY),
    # A condition that is null must not count as one that is absent.
    (put("matches", "tcp", value=None), "null found as the value of 'tcp'", Code.INVALID_ENTRY),
    (put("matches", "eth", value=None), "null found", Code.INVALID_ENTRY),
    (put("matches", "ipv4", "dscp", value=None), "null found", Code.INVALID_ENTRY),
    (put("matches", "tcp", "destination-port", value=None), "null found", Code.INVALID_ENTRY),
    (put("matches", "eth", value={"ethertype": "ipv9"}), "ethertype", Code.INVALID_ENTRY),
    (put("matches", "eth", value={"ethertype": True}), "ethertype", Code.INVALID_ENTRY),
    (put("matches", "eth", value={"destination-mac-address": "ff-ff-ff-ff-ff-ff"}), "MAC", Code.INVALID_ENTRY),
    (put("matches", "ingress-interface", value="eth0"), "unknown member", Code.INVALID_ENTRY),
    (put("matches", "vendor:time", value="night"), "unknown member", Code.EXTENSION),
    (put(MUD, "reporter", value={}), "reporter: unknown member", Code.UNKNOWN_MEMBER),
    (put(MUD, "vendor:reporter", value={}), "vendor:reporter: unknown member", Code.EXTENSION),
    (put(MUD, "is-supported", value="true"), "boolean", Code.QUOTED_BOOLEAN),
    (put(MUD, "systeminfo", value="a\u202eb"), "formatting characters", Code.REPLACED_CHARACTERS),
    (
        put(MUD, "from-device-policy", "access-lists", "access-list", value=[{"name": "x"}]),
        "'x' found",
        Code.MISSING_ACL,
    ),
    (put(ACLS, "attachment-points", value={}), "attachment-points", Code.UNKNOWN_MEMBER),
    (put(ACLS, "acl", 0, "type", value="ethernet-acl-type"), "one of ipv4-acl-type", Code.DRAFT_NAME),
    (put(ACLS, "acl", 0, "type", value="ipv6-acl-type"), "ipv4 in an ACL of type ipv6", Code.MISPLACED),
    (drop(ACLS, "acl", 0, "type"), r"ipv4 in an ACL of type \(none\)", Code.MISPLACED),
    (put("matches", "eth", value={"ethertype": 2048}), "eth in an ACL of type ipv4", Code.MISPLACED),
    (put("matches", "eth", value={"ethertype": "0x0800"}), "ethertype", Code.HEX_ETHERTYPE),
    (put("matches", "ipv4", "destination-ipv4-network", value="192.0.2.1"), "prefix length", Code.BARE_ADDRESS),
    (
        put("matches", "tcp", "destination-port", value={"operator": "range", "lower-port": 1, "upper-port": 2}),
        "operator",
        Code.RANGE_OPERATOR,
    ),
    (put("matches", "actions", value={"forwarding": "accept"}), "unknown member", Code.INVALID_ENTRY),
    (put(ACLS, "acl", 0, "aces", "ace", value=[to_name(), to_name()]), "two entries of the name", Code.DUPLICATE),
]


@pytest.mark.parametrize(("change", "problem"), REFUSED)
@pytest.mark.parametrize("mode", Mode)
def test_refused_in_both_modes(change: Change, problem: str, mode: Mode) -> None:
    data = base()
    parse_mud(octets(data), mode)
    change(data)
    with pytest.raises(MudError, match=problem):
        parse_mud(octets(data), mode)


@pytest.mark.parametrize(("change", "problem", "code"), STRICT_ONLY)
def test_refused_in_strict_mode_only(change: Change, problem: str, code: Code) -> None:
    data = base()
    change(data)
    with pytest.raises(MudError, match=problem):
        parse_mud(octets(data))
    file = parse_mud(octets(data), Mode.LENIENT)
    assert code in {finding.code for finding in file.findings}
    if code in (Code.INVALID_ENTRY, Code.EXTENSION) and entry(data) != entry(base()):
        # What is not understood never becomes a permission.
        assert not [rule for rule in compile_acl(file).from_device if rule.action == "accept"]


def test_a_file_of_the_draft_is_read_as_one_of_the_specification() -> None:
    data = base()
    data["ietf-access-control-list:access-lists"] = data.pop(ACLS)
    with pytest.raises(MudError, match="access-lists: unknown member"):
        parse_mud(octets(data))
    file = parse_mud(octets(data), Mode.LENIENT)
    assert [finding.code for finding in file.findings] == [Code.DRAFT_NAME]
    assert compile_acl(file) == compile_acl(parse_mud(octets(base())))
    # With both roots, the draft's one is nothing but unknown.
    data[ACLS] = base()[ACLS]
    assert [finding.code for finding in parse_mud(octets(data), Mode.LENIENT).findings] == [Code.UNKNOWN_MEMBER]


def test_actions_inside_matches_as_in_the_example_of_rfc_9761() -> None:
    data = base()
    entry(data)["matches"]["actions"] = entry(data).pop("actions")
    file = parse_mud(octets(data), Mode.LENIENT)
    assert [finding.code for finding in file.findings] == [Code.MISPLACED]
    assert compile_acl(file) == compile_acl(parse_mud(octets(base())))


def test_extensions_that_the_file_declares_are_left_out_with_a_finding() -> None:
    data = base()
    data[MUD]["extensions"] = ["transparency", "vendor"]
    data[MUD]["ietf-mud-transparency:transparency"] = {"sboms": [{"version-info": "1"}]}
    file = parse_mud(octets(data))
    assert [str(finding.code) for finding in file.findings] == ["extension"]
    assert len(compile_acl(file).from_device) == 1
    # In a condition, it limits the entry in a way that nobody here knows.
    entry(data)["matches"]["vendor:time"] = "night"
    acl = compile_acl(parse_mud(octets(data)))
    assert acl.from_device == ()
    assert [finding.code for finding in acl.findings] == [Code.INVALID_ENTRY]
    # Not declared.
    data[MUD]["extensions"] = ["transparency"]
    with pytest.raises(MudError, match="vendor:time: unknown member"):
        parse_mud(octets(data))


@pytest.mark.parametrize(
    "path",
    [
        (ACLS, "vendor:x"),
        (ACLS, "acl", 0, "vendor:schedule"),
        (ACLS, "acl", 0, "aces", "vendor:x"),
        (MUD, "from-device-policy", "vendor:when"),
        (MUD, "from-device-policy", "access-lists", "access-list", 0, "vendor:when"),
    ],
)
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("declared", [True, False])
def test_an_extension_that_may_limit_a_whole_acl_is_refused(path: tuple[Any, ...], mode: Mode, declared: bool) -> None:
    data = base()
    data[MUD]["extensions"] = ["vendor"] if declared else []
    put(*path, value=1)(data)
    with pytest.raises(MudError, match=r"vendor:\w+: (an extension|unknown)"):
        parse_mud(octets(data), mode)


@pytest.mark.parametrize("path", [("vendor:x",), ("actions", "vendor:rate")])
def test_an_extension_anywhere_in_an_entry_makes_it_permit_nothing(path: tuple[str, ...]) -> None:
    data = base()
    data[MUD]["extensions"] = ["vendor"]
    put("matches", "ipv4", "protocol", value=6)(data)
    at = entry(data)
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = 1
    assert compile_acl(parse_mud(octets(data))).from_device == ()
    assert compile_acl(parse_mud(octets(data), Mode.LENIENT)).from_device == ()
    # The position counts, not the name: another entry is as before.
    data[ACLS]["acl"][0]["aces"]["ace"].insert(0, to_name("other.example"))
    assert [rule.entry for rule in compile_acl(parse_mud(octets(data))).from_device] == ["to-other.example-443"]


def test_an_unused_acl_is_reported() -> None:
    data = base()
    data[ACLS]["acl"].append({"name": "spare", "type": "ipv4-acl-type"})
    file = parse_mud(octets(data))
    assert [finding.code for finding in file.findings] == [Code.UNUSED_ACL]
    assert len(compile_acl(file).from_device) == 1


def test_limits_of_count() -> None:
    many = [to_name(f"n{number}.example") for number in range(MAX_NAMES)]
    assert len(mud_file(many).acls[0].entries) == MAX_NAMES
    with pytest.raises(MudError, match="DNS names"):
        mud_file([*many, to_name("one.more.example")])
    entries = [ace(str(number), ipv4={}) for number in range(MAX_ACES)]
    mud_file(entries)
    with pytest.raises(MudError, match="access control entries"):
        mud_file([*entries, ace("x")])
    with pytest.raises(MudError, match="access control entries"):
        mud_file(entries, [ace("x")])
    data = base()
    data[ACLS]["acl"] = [{"name": str(number)} for number in range(MAX_ACLS + 1)]
    with pytest.raises(MudError, match="ACLs, at most"):
        parse_mud(octets(data))


def test_findings_are_bounded() -> None:
    data = document([to_name()], [])
    for number in range(2100):
        data[MUD][f"x{number}"] = 1
    with pytest.raises(MudError) as refused:
        parse_mud(octets(data))
    assert refused.value.problems[-1] == "and 2000 more problems"
    with pytest.raises(MudError, match="deviations"):
        parse_mud(octets(data), Mode.LENIENT)


@pytest.mark.parametrize("length", range(0, 400, 7))
def test_truncated_files_are_refused(length: int) -> None:
    whole = published("signed")[0].read_bytes()
    for mode in Mode:
        with pytest.raises(MudError):
            parse_mud(whole[:length], mode)


def test_names_and_addresses_have_one_form() -> None:
    file = mud_file(
        [
            ace("a", ipv4={"ietf-acldns:dst-dnsname": "Cloud.Example."}),
            ace("b", ipv4={"destination-ipv4-network": "192.0.2.77/24"}),
            ace("c", mud={"manufacturer": "MAKER.example"}),
        ]
    )
    a, b, c = (entry.matches for entry in file.acls[0].entries)
    assert a.ipv4 is not None
    assert a.ipv4.dst_dnsname == "cloud.example"
    assert b.ipv4 is not None
    assert str(b.ipv4.destination_ipv4_network) == "192.0.2.0/24"
    assert c.mud is not None
    assert c.mud.manufacturer == "maker.example"


def test_a_problem_never_has_raw_control_characters_of_the_file() -> None:
    data = base()
    entry(data)["matches"]["ipv4"]["ietf-acldns:dst-dnsname"] = "\x1b[2J\u202e" + "x" * 5000
    with pytest.raises(MudError) as refused:
        parse_mud(octets(data))
    assert all(problem.isprintable() and len(problem) < 400 for problem in refused.value.problems)
    finding = parse_mud(octets(data), Mode.LENIENT).findings[0]
    assert str(finding).isprintable()


def test_members_with_hostile_names() -> None:
    data = base()
    data[MUD]["\x1b[2J"] = 1
    with pytest.raises(MudError) as refused:
        parse_mud(octets(data))
    assert all(problem.isprintable() for problem in refused.value.problems)
    for finding in parse_mud(octets(data), Mode.LENIENT).findings:
        assert str(finding).isprintable()


@pytest.mark.parametrize("seed", range(8))
def test_damaged_files_are_read_or_refused(seed: int) -> None:
    """Nothing but MudError, and an ACL for everything that is read."""
    chance = random.Random(seed)
    bases = [json.loads(path.read_bytes()) for path in published() if path.stat().st_size < 8000]
    compiled = 0
    for _ in range(150):
        data = copy.deepcopy(chance.choice(bases))
        damage(data, chance)
        try:
            file = parse_mud(octets(data), Mode.LENIENT)
        except MudError:
            continue
        made = compile_acl(file)
        compiled += 1
        assert all(str(finding).isprintable() for finding in (*file.findings, *made.findings))
        assert not widens(made, made)
    assert compiled > 50


def test_the_value_of_a_file_is_immutable() -> None:
    file = mud_file([to_name()])
    with pytest.raises(ValueError, match="frozen"):
        file.mud.is_supported = False  # type: ignore[misc]
    with pytest.raises(AttributeError):
        file.acls = ()  # type: ignore[misc]
    assert hash(file.acls[0].entries[0].matches)
    assert json.dumps(eq(1)) == '{"operator": "eq", "port": 1}'
