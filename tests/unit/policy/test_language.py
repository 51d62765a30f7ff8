"""Version 2 of the language: what a whole file means, and how each mistake is named (line, key, found, expected)."""

from __future__ import annotations

import subprocess
import sys
import zoneinfo
from datetime import UTC, datetime
from pathlib import Path

import pytest

from policy import (
    CuiMode,
    PolicyError,
    RuleKind,
    Standing,
    Strength,
    grant_attributes,
    grant_octets,
    json_schema,
    load_policy,
    parse_policy,
)
from policy.loading import document
from policy.model import times

FULL = """\
version: 2
mode: enforce
session: {ttl_factor: 4, minimum: 2m}
cui: always
timezone: Europe/Vienna
networks:
  home: {ssid: [Home, "Home-*"], nas: ["ap-*", 192.0.2.0/24], wired: false, port_types: [Wireless-802.11, 18], realms: [Home.example]}
  wall: {wired: true}
device_lists:
  lost: lists/lost.txt
zones:
  appliance:
    description: Household appliances
    vlan: 30
    filter_id: appliance
    nas_filter_rules: [permit in ip from any to 192.0.2.1, deny in ip from any to any]
    attributes: {WISPr-Bandwidth-Max-Down: 2000000, Aruba-User-Role: iot, Cisco-AVPair: [a=b, c=d]}
    session: {timeout: 4h, idle_timeout: 10m, reauthenticate: false}
    class: appliance
  quarantine: {vlan: isolated, session: {timeout: 10m}}
  waiting: {}
standing:
  quarantined: {zone: quarantine}
  pending: {zone: waiting}
  rules:
    - {name: cloned, stations: 2, within: 1h, set: quarantined, for: 24h}
    - {name: rejected, refusals: 10, within: 5m, set: watched}
rules:
  - name: lost-devices
    devices: lost
    refuse: reported lost
  - name: cameras
    description: Cameras of the house
    identity: ["*.Camera._device.example.net"]
    domains: [example.net]
    networks: [home, wall]
    when: {days: [mon, fri], from: 08:00, to: 18:00, since: 2026-01-01, until: 2027-01-01 12:30}
    require: no_ca
    pkix_cd: true
    mode: monitor
    standing: [normal, watched]
    approval: required
    zone: appliance
  - {name: everything-else, default: true, refuse: true}
grants:
  - {identity: ["*._device.mydaughter.example"], zone: waiting, until: 2027-01-01, note: May's devices}
  - {name: neighbour, identity: ["*._device.neighbour.example"], when: {timezone: UTC, from: "22:00", to: "06:00"}, zone: waiting}
roaming:
  - {domains: [city.example], zone: waiting, networks: [home], require: dane_ee, terms: https://city.example/roaming, until: 2027-06-30}
tests:
  - {name: a, device: a1.camera._device.example.net, network: home, at: 2026-12-01 10:00, standing: normal, approved: true, expect: {zone: appliance, rule: cameras, vlan: 30}}
  - {name: b, device: x._device.other.example, ssid: Home, nas: ap-1, port_type: Ethernet, realm: home.example, expect: refuse}
  - {name: c, device: x._device.other.example, expect: {refuse: policy_no_rule}}
"""  # noqa: E501


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "lost.txt").write_text("# lost\nl1._device.example.net\n")
    return tmp_path


def test_a_whole_policy(folder: Path) -> None:
    path = folder / "policy.yaml"
    path.write_text(FULL)
    policy = load_policy(path)
    assert (policy.version, policy.monitor, policy.ttl_factor, policy.minimum_session) == (2, False, 4, 120)
    assert policy.cui is CuiMode.ALWAYS
    assert [rule.name for rule in policy.rules] == [
        "lost-devices", "cameras", "grant-1", "neighbour", "roaming-1", "everything-else",
    ]  # fmt: skip
    lost, cameras, daughter, neighbour, city, default = policy.rules
    assert (lost.devices, lost.grant, lost.why, lost.line) == ("lost", None, "reported lost", 29)
    assert cameras.patterns == ("*.camera._device.example.net",)
    assert cameras.domains == ("example.net",)
    assert (cameras.require, cameras.allow_pkix_cd, cameras.monitor) == (Strength.NO_CA, True, True)
    assert (cameras.zone, cameras.approval, cameras.note) == ("appliance", True, "Cameras of the house")
    assert cameras.standings == {Standing.NORMAL, Standing.WATCHED}
    assert cameras.window is not None
    vienna = zoneinfo.ZoneInfo("Europe/Vienna")
    assert (cameras.window.days, cameras.window.begins, cameras.window.ends) == ({0, 4}, 480, 1080)
    assert cameras.window.timezone == vienna
    assert cameras.window.until == datetime(2027, 1, 1, 12, 30, tzinfo=vienna).timestamp()
    assert [rule.kind for rule in policy.rules[2:]] == [
        RuleKind.GRANT, RuleKind.GRANT, RuleKind.ROAMING, RuleKind.DEFAULT,
    ]  # fmt: skip
    assert daughter.window is not None
    assert daughter.window.until == datetime(2027, 1, 1, tzinfo=vienna).timestamp()
    assert daughter.note == "May's devices"
    assert neighbour.window is not None
    assert (neighbour.window.begins, neighbour.window.ends, neighbour.window.timezone) == (1320, 360, UTC)
    assert (city.domains, city.terms, city.require) == (
        ("city.example",), "https://city.example/roaming", Strength.DANE_EE,
    )  # fmt: skip
    assert (default.is_default, default.why) == (True, None)
    home = cameras.networks[0] if cameras.networks else None
    assert home is not None
    assert (home.port_types, home.realms) == ({"19", "18"}, {"home.example"})
    assert (policy.standing_zones.quarantined, policy.standing_zones.pending) == ("quarantine", "waiting")
    cloned, rejected = policy.standing_rules
    assert (cloned.stations, cloned.within, cloned.standing, cloned.duration) == (2, 3600, "quarantined", 86400)
    assert (rejected.refusals, rejected.within, rejected.standing, rejected.duration) == (10, 300, "watched", None)
    first, second, third = policy.tests
    assert (first.network, first.approved, first.zone, first.rule, first.vlan) == (
        "home", True, "appliance", "cameras", 30,
    )  # fmt: skip
    assert first.at == datetime(2026, 12, 1, 10, tzinfo=vienna).timestamp()
    assert (second.refused, second.reason, second.ssid, second.nas) == (True, None, "Home", "ap-1")
    assert (third.refused, third.reason) == (True, "policy_no_rule")
    # What follows of the file's version with the same lists has another digest, and so has another list.
    (folder / "lists" / "lost.txt").write_text("l2._device.example.net\n")
    assert load_policy(path).digest != policy.digest
    assert load_policy(path).file_digest == policy.file_digest


def test_the_attributes_of_a_zone(folder: Path) -> None:
    zone = parse_policy(FULL.encode(), base=folder).zones["appliance"]
    assert zone.description == "Household appliances"
    attributes = grant_attributes(zone.grant, user_name="a.example.net", rule="cameras", cui=None)
    assert attributes[-4:] == (
        ("WISPr-Bandwidth-Max-Down", ":=", "2000000"),
        ("Aruba-User-Role", ":=", "iot"),
        ("Cisco-AVPair", "+=", "a=b"),
        ("Cisco-AVPair", "+=", "c=d"),
    )
    assert ("Class", ":=", "appliance") in attributes
    assert ("Termination-Action", ":=", "Default") in attributes
    assert all([type(part) for part in attribute] == [str, str, str] for attribute in attributes)


ZONES = "zones: {a: {vlan: 1}}\n"


def rule(text: str) -> str:
    return f"version: 2\nzones: {{a: {{vlan: 1}}}}\nrules:\n- {{name: r, identity: [a._device.example.net], {text}}}\n"


def zone(text: str) -> str:
    return f"version: 2\nrules: []\nzones:\n  a: {{{text}}}\n"


def when(text: str) -> str:
    return rule(f"zone: a, when: {{{text}}}")


def standing(text: str) -> str:
    return f"version: 2\nrules: []\nzones: {{a: {{}}}}\nstanding:\n  {text}\n"


def case(text: str) -> str:
    return f"version: 2\nrules: []\ntests:\n- {{name: t, device: a.example.net, {text}}}\n"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("version: 2", ["rules: nothing found, this key is expected"]),
        ("version: 2\nrule: []", ["line 2: rule: unknown key; rules is the nearest one"]),
        ("version: 2\nrules: []\nquarantine: {}", ["line 3: quarantine: unknown key; known are version, mode,"]),
        ("version: 2\nrules: []\nzones:", ["zones: nothing found after the key, a value is expected"]),
        ("version: 2\nrules: []\nzones: []", ["line 3: zones: [] found; a mapping is expected"]),
        ("version: 2\nrules: []\ncui: yes", ["line 3: cui: True found; input should be 'never', 'when_asked' or"]),
        ("version: 2\nrules: []\ntimezone: CEST", ["line 3: timezone: 'CEST' found; a time zone of the IANA database"]),
        ("version: 2\nrules: []\ntimezone: ../../etc/passwd", ["a time zone of the IANA database"]),
        ("version: 2\nrules: [5]", ["line 2: rules[0]: 5 found; a mapping is expected"]),
        # rules
        (rule("zone: b"), ["line 4: rules[0].zone: 'b' found; one of zones is expected (a)"]),
        (rule("zone: a, refuse: true"), ["line 4: rules[0]: zone found beside refuse; one of the two is expected"]),
        (rule("refuse: false"), ["rules[0]: zone (or refuse: true) is expected"]),
        (rule("refuse: ''"), ["rules[0].refuse: '' found; "]),
        (rule("refuse: true, approval: required"), ["approval found beside refuse"]),
        (rule("zone: a, approval: true"), ["rules[0].approval: True found; input should be 'required'"]),
        (rule("zone: a, networks: [n]"), ["rules[0].networks: 'n' found; one of networks is expected (none"]),
        (rule("zone: a, devices: d"), ["rules[0].devices: 'd' found; one of device_lists is expected"]),
        (rule("zone: a, domains: ['*.example.net']"), ["rules[0].domains[0]: '*.example.net' found; one exact name"]),
        (rule("zone: a, domains: []"), ["rules[0].domains: [] found; at least one entry is expected"]),
        (rule("zone: a, domains: "), ["rules[0]: domains: nothing found after the key"]),
        (rule("zone: a, standing: [blocked]"), ["rules[0].standing[0]: 'blocked' found; input should be 'normal'"]),
        (rule("zone: a, deny: true"), ["rules[0].deny: unknown key"]),
        (rule("zone: a, grant: {}"), ["rules[0].grant: unknown key"]),
        (rule("zone: a, netwroks: [n]"), ["rules[0].netwroks: unknown key; networks is the nearest one"]),
        (f"version: 2\n{ZONES}rules: [{{name: r, zone: a}}]", ["at least one of identity, domains, devices (or def"]),
        (f"version: 2\n{ZONES}rules: [{{name: r, identity: , zone: a}}]", ["identity: nothing found after the key"]),
        (rule("zone: a, default: true"), ["identity found beside default: true"]),
        (
            f"version: 2\n{ZONES}rules: [{{name: r, default: true, zone: a}}, {{name: s, default: true, zone: a}}]",
            ["line 3: rules[0].default: True found; the default is expected to be the last rule"],
        ),
        (
            f"version: 2\n{ZONES}rules:\n- {{name: r, default: true, networks: [x], zone: a}}",
            ["line 4: rules[0]: networks found beside default: true"],
        ),
        (
            f"version: 2\n{ZONES}rules: []\ngrants:\n- &g {{name: g, identity: [a.example.net], zone: a}}\n- *g",
            ["line 6: grants[1].name: duplicate 'g'; unique names are expected"],
        ),
        # times
        (when("from: 8:00"), ["line 4: rules[0].when.from: '8:00' found; a time of day from \"00:00\" to \"24:00\""]),
        (when("from: 24:01"), ["a time of day"]),
        (when("from: 800"), ["rules[0].when.from: 800 found; a time of day"]),
        (when('from: "24:00", to: "10:00"'), ['from: "24:00" found; "00:00" of the next day']),
        (when("from: 10:00, to: 10:00"), ["from and to are the same"]),
        (when("to: 00:00"), ["from and to are the same"]),
        (when("days: []"), ["rules[0].when.days: [] found; at least one entry"]),
        (when("days: [monday]"), ["rules[0].when.days[0]: 'monday' found; input should be 'mon', 'tue'"]),
        (when("timezone: UTC"), ["at least one of days, from, to, since, until is expected"]),
        (when("until: soon"), ["rules[0].when.until: 'soon' found; a date (2027-01-31) or a date and a time"]),
        (when("until: 2027-02-29"), ["rules[0].when.until: '2027-02-29' found; a date or a time is expected (day"]),
        (when("until: 9999-01-01"), ["a date (2027-01-31)"]),
        (when("until: 2027-01-01 10:00:00+02:00"), ["a date (2027-01-31)"]),
        (when("since: 2027-01-02, until: 2027-01-02"), ["since is not before until"]),
        # zones
        (zone("vlan: 4095"), ["line 4: zones.a.vlan: 4095 found; a VLAN ID from 1 to 4094"]),
        (zone("session: {timout: 8h}"), ["zones.a.session.timout: unknown key; timeout is the nearest one"]),
        (zone("session: {timeout: 1}"), ["zones.a.session.timeout: 1 found; "]),
        (zone("attributes: {Session-Timeout: 1}"), ["zones.a.attributes.Session-Timeout", "session.timeout is exp"]),
        (zone("attributes: {'tunnel-private-group-id:0': '1'}"), ["the key vlan is expected for this attribute"]),
        (zone("attributes: {USER-NAME: x}"), ["this attribute belongs to the RADIUS server"]),
        (zone("attributes: {Reply-Message: hi}"), ["this attribute belongs to the RADIUS server"]),
        (zone("attributes: {EAP-Message: x}"), ["this attribute belongs to the RADIUS server"]),
        (zone("attributes: {'A B': x}"), ["the name of an attribute"]),
        (zone("attributes: {'control:Auth-Type': x}"), ["the name of an attribute"]),
        (zone("attributes: {A: true}"), ["zones.a.attributes.A: True found"]),
        (zone("attributes: {A: 1.5}"), ["zones.a.attributes.A: 1.5 found"]),
        (zone("attributes: {A: {b: c}}"), ["zones.a.attributes.A: {'b': 'c'} found"]),
        (zone("attributes: {A: []}"), ["zones.a.attributes.A: [] found"]),
        (zone('attributes: {A: "a\\nb"}'), ["1 to 253 printable octets"]),
        (zone(f"attributes: {{A: {'x' * 254}}}"), ["1 to 253 printable octets"]),
        (zone(f"attributes: {{A: {99**11}}}"), ["a plain number is expected"]),
        (zone(f"nas_filter_rules: [{'x' * 254}]"), ["1 to 253 printable octets"]),
        (zone(f"nas_filter_rules: [{', '.join(['x' * 252] * 12)}]"),
         ["line 4: zones.a: reply attributes of 3059 octets in all, at most 3000 expected"]),
        (zone(f"attributes: {{Cisco-AVPair: [{', '.join(['x' * 250] * 12)}]}}"), ["3096 octets in all"]),
        # standing
        (standing("quarantined: {zone: b}"), ["line 5: standing.quarantined.zone: 'b' found; one of zones"]),
        (standing("blocked: {zone: a}"), ["standing.blocked: unknown key"]),
        (standing("rules: [{name: r, within: 1h, set: watched}]"), ["standing.rules[0]: one of stations and refusals"]),
        (standing("rules: [{name: r, stations: 1, refusals: 1, within: 1h, set: watched}]"), ["one of stations and"]),
        (standing("rules: [{name: r, refusals: 9, within: 1h, set: quarantined}]"), ["watched is expected with ref"]),
        (standing("rules: [{name: r, stations: 2, within: 1h, set: normal}]"), ["standing.rules[0].set: 'normal'"]),
        (standing("rules: [{name: r, stations: true, within: 1h, set: watched}]"), ["a number is expected"]),
        # grants and roaming
        (f"version: 2\n{ZONES}rules: []\ngrants: [{{domains: [a.example], zone: a}}]", ["grants[0].identity: nothing"]),
        (f"version: 2\n{ZONES}rules: []\ngrants:\n"
         "- {identity: [a.example], zone: a, since: 2027-01-01, until: 2026-01-01}",
         ["line 5: grants[0].until: until is not after since"]),
        (f"version: 2\n{ZONES}rules: []\nroaming: [{{domains: [a.example], zone: a, terms: http://x}}]", ["https://"]),
        (f"version: 2\n{ZONES}rules: []\nroaming: [{{domains: [a.example], zone: b}}]", ["roaming[0].zone: 'b' found"]),
        # networks
        ("version: 2\nrules: []\nnetworks: {n: {}}", ["line 3: networks.n: at least one of ssid, nas, wired, port_ty"]),
        ("version: 2\nrules: []\nnetworks: {n: {ssid: }}", ["networks.n: ssid: nothing found after the key"]),
        ("version: 2\nrules: []\nnetworks: {n: {port_types: [Wifi]}}", ["networks.n.port_types[0]: 'Wifi' found"]),
        ("version: 2\nrules: []\nnetworks: {n: {realms: ['*.x.example']}}", ["networks.n.realms[0]"]),
        # tests
        (case("expect: allow"), ["line 4: tests[0].expect: 'allow' found; input should be 'refuse', or a mapping"]),
        (case("expect: {}"), ["tests[0].expect: at least one of zone, rule, vlan, refuse"]),
        (case("expect: {zone: a}"), ["tests[0].expect.zone: 'a' found; one of zones"]),
        (case("expect: {rule: a}"), ["tests[0].expect.rule: 'a' found; one of rules"]),
        (case("network: n, expect: refuse"), ["tests[0].network: 'n' found; one of networks"]),
        (case("network: n, ssid: s, expect: refuse"), ["network found beside ssid"]),
        (case("expect: {zone: a, refuse: policy_denied}"), ["zone or vlan found beside refuse"]),
        # lists
        ("version: 2\nrules: []\ndevice_lists: {l: x.txt}", ["line 3: device_lists.l: 'x.txt' found; only a"]),
        ("version: 2\nrules: []\ndevice_lists: {l: ''}", ["device_lists.l: '' found; the path of a file"]),
    ],
)  # fmt: skip
def test_mistakes_are_named(text: str, problems: list[str]) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text.encode(), "p.yaml")
    assert str(caught.value).startswith("p.yaml: ")
    for problem in problems:
        assert problem in str(caught.value)
    assert all(len(line) < 500 for line in caught.value.problems)


def test_all_mistakes_of_a_file_are_named_in_the_order_of_their_lines() -> None:
    text = (
        "version: 2\nmode: x\nzones:\n  a: {vlan: 0}\nrules:\n- {name: r, identity: [a], zone: a}\n"
        "- {name: s, identity: [a.example.net], zone: b}\ngrants: [5]\ntests: [{name: t}]\nunknown: 1\n"
    )
    with pytest.raises(PolicyError) as caught:
        parse_policy(text.encode())
    assert [problem.line for problem in caught.value.details] == [2, 4, 6, 8, 9, 9, 10]
    assert {problem.key for problem in caught.value.details} >= {"mode", "zones.a.vlan", "rules[0].identity[0]"}


def test_a_thousand_mistakes_are_cut_short() -> None:
    rules = "\n".join(f"- {{name: r{number}, identity: [a], zone: a}}" for number in range(1000))
    with pytest.raises(PolicyError) as caught:
        parse_policy(f"version: 2\nzones: {{a: {{}}}}\nrules:\n{rules}\n".encode())
    assert len(caught.value.problems) == 101
    assert caught.value.problems[-1] == "and 900 more mistakes"


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_both_parsers_read_the_same(loader: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    import yaml

    if not hasattr(yaml, loader):
        pytest.skip("PyYAML was built without libyaml")
    monkeypatch.setattr(document, "EVENT_LOADER", getattr(yaml, loader))
    policy = parse_policy(FULL.encode(), base=folder)
    assert [rule.line for rule in policy.rules] == [29, 32, 46, 47, 49, 44]
    with pytest.raises(PolicyError, match=r"line 2: rule: unknown key"):
        parse_policy(b"version: 2\nrule: []")
    with pytest.raises(PolicyError, match=r"line 3, column 1: duplicate key 'rules' \(first in line 2\)"):
        parse_policy(b"version: 2\nrules: []\nrules: []")


def test_yaml_merge_keys_and_anchors() -> None:
    text = """\
version: 2
zones: {a: {vlan: 1}}
rules:
- &base {name: one, identity: [a.example.net], require: dane_ee, zone: a}
- {<<: *base, name: two}
- {<<: [{require: pkix}, *base], name: three}
"""
    policy = parse_policy(text.encode())
    assert [(rule.name, rule.require) for rule in policy.rules] == [
        ("one", "dane_ee"), ("two", "dane_ee"), ("three", "pkix"),
    ]  # fmt: skip
    for wrong in ("{<<: 5, name: x}", '{"<<": *base, name: x}'):
        with pytest.raises(PolicyError, match="<<"):
            parse_policy(f"{text}- {wrong}\n".encode())


def test_a_system_without_time_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> zoneinfo.ZoneInfo:
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(times, "ZoneInfo", missing)
    monkeypatch.setattr(times, "available_timezones", set)
    times._timezone.cache_clear()
    try:
        with pytest.raises(PolicyError, match="no time zone database; install the package tzdata"):
            parse_policy(when("from: 08:00, timezone: Europe/Vienna").encode())
        # UTC needs none.
        parse_policy(when("from: 08:00").encode())
    finally:
        times._timezone.cache_clear()


@pytest.mark.parametrize(("rules", "fits"), [(11, True), (12, False)])
def test_a_reply_fits_its_packet(rules: int, fits: bool) -> None:
    text = zone(f"nas_filter_rules: [{', '.join(['x' * 253] * rules)}]").encode()
    if fits:
        grant = parse_policy(text).zones["a"].grant
        # RFC 4849: joined with NULs, and cut at 253 octets.
        assert grant_octets(grant) == 11 * 253 + 10 + 12 * 2
    else:
        with pytest.raises(PolicyError, match="at most 3000 expected: FreeRADIUS omits what does not fit"):
            parse_policy(text)


# --- the schema ------------------------------------------------------------------------------------------------------

PACKAGE = Path(__file__).parents[3] / "policy"
SCHEMA = PACKAGE / "schema" / "policy-2.schema.json"


def test_the_published_schema_is_that_of_the_code() -> None:
    """To write it anew: python -c 'import json, policy; print(json.dumps(policy.json_schema(), indent=2))' > FILE"""
    import json

    assert json.loads(SCHEMA.read_text()) == json_schema()


def check_jsonschema(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(SCHEMA), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_valid_files_match_the_schema(folder: Path) -> None:
    path = folder / "policy.yaml"
    path.write_text(FULL)
    checked = check_jsonschema(path, *sorted((PACKAGE / "examples").glob("*.yaml")))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nrules: []\n",
        "version: 2\n",
        rule("zone: a, netwroks: [n]"),
        rule("approval: required"),
        zone("vlan: 4095"),
        zone("vlan: '30'"),
        when("from: 8:00"),
        "version: 2\nrules: []\nnetworks: {n: {ssid: }}\n",
        f"version: 2\n{ZONES}rules: [{{name: r, zone: a}}]\n",
    ],
)
def test_the_schema_refuses_what_it_can_know(text: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    assert check_jsonschema(path).returncode == 1
