"""Example cases, and explanations: what they say, and that they agree with what policy decides."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy import DeviceStanding, Miss, RequestFacts, Standing, load_policy, parse_policy
from policy.analysis import CaseResult, Document, describe_window, explain, run_cases
from policy.analysis.networks import request_from

NOW = 1_796_083_200.0
POLICY = """\
version: 2
timezone: Europe/Vienna
networks:
  house: {ssid: ["iot-*"], wired: false}
  cellar: {nas: ["switch-*", 192.0.2.0/24], port_types: [Ethernet], realms: [Home.Example]}
zones:
  things: {vlan: 30, session: {timeout: 1h}}
  isolated: {vlan: 666}
  waiting: {vlan: 667}
standing: {quarantined: {zone: isolated}, pending: {zone: waiting}}
rules:
  - {name: refused, identity: ["*.old._device.example.net"], refuse: recalled}
  - name: office
    identity: ["*.office._device.example.net"]
    when: {days: [mon, tue], from: "08:00", to: "18:00", until: 2027-01-01}
    zone: things
  - {name: house, identity: ["**._device.example.net"], networks: [house], zone: things}
  - {name: cellar, domains: [example.net], networks: [cellar], approval: required, zone: things}
  - {name: watched, domains: [example.org], standing: [watched], zone: things}
"""


def run(case: str) -> CaseResult:
    text = f"{POLICY}tests:\n  - {{name: one, {case}}}\n"
    (result,) = run_cases(parse_policy(text.encode()), Document(text.encode()), now=NOW)
    return result


@pytest.mark.parametrize(
    "case",
    [
        "device: a.cam._device.example.net, network: house, expect: {zone: things}",
        "device: a.cam._device.example.net, ssid: iot-1, expect: {zone: things, rule: house, vlan: 30}",
        "device: a.cam._device.example.net, network: house, expect: {rule: house}",
        "device: a.cam._device.example.net, network: cellar, approved: true, expect: {zone: things}",
        "device: a.cam._device.example.net, network: cellar, expect: {zone: waiting, rule: cellar}",
        "device: a.cam._device.example.net, network: house, standing: quarantined, expect: {zone: isolated}",
        "device: a.cam._device.example.net, network: house, standing: blocked, expect: {refuse: device_blocked}",
        "device: a.cam._device.example.net, ssid: guest, expect: {refuse: policy_network}",
        "device: a.cam._device.example.net, nas: switch-1, port_type: Ethernet, realm: HOME.example, approved: true, "
        "expect: {rule: cellar}",
        "device: a.cam._device.example.net, nas: 192.0.2.7, port_type: Ethernet, realm: home.example, approved: true, "
        "expect: {rule: cellar}",
        "device: a.cam._device.example.net, nas: 192.0.2.7, port_type: Ethernet, expect: {refuse: policy_network}",
        "device: a.old._device.example.net, network: house, expect: {refuse: policy_denied, rule: refused}",
        "device: a.old._device.example.net, network: house, expect: refuse",
        # A Monday; the time is that of the file's time zone.
        'device: a.office._device.example.net, at: "2026-11-30 08:00", expect: {rule: office}',
        'device: a.office._device.example.net, at: "2026-11-30 07:59", expect: {refuse: policy_time}',
        'device: a.office._device.example.net, at: "2027-01-04 09:00", expect: refuse',
        "device: a._device.example.org, standing: watched, expect: {zone: things}",
        "device: a._device.example.org, standing: quarantined, expect: {refuse: device_quarantined}",
        "device: a._device.example.org, expect: {refuse: policy_denied}",
        "device: a.example.com, expect: {refuse: policy_no_rule}",
    ],
)
def test_cases_that_pass(case: str) -> None:
    result = run(case)
    assert result.problem is None, result
    assert result.passed
    assert result.case.line == POLICY.count("\n") + 2


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        (
            "device: a.cam._device.example.net, network: house, expect: refuse",
            "zone things, rule house, expected: refuse",
        ),
        (
            "device: a.example.com, network: house, expect: {zone: things}",
            "refused: policy_no_rule, expected: zone things",
        ),
        (
            "device: a.cam._device.example.net, network: house, expect: {zone: isolated, rule: cellar, vlan: 666}",
            "rule house, expected: cellar; zone things, expected: isolated; VLAN 30, expected: 666",
        ),
        (
            "device: a.old._device.example.net, expect: {refuse: policy_network}",
            "refused with policy_denied, expected: policy_network",
        ),
        (
            "device: a.example.com, expect: {refuse: policy_no_rule, rule: house}",
            "rule none, expected: house",
        ),
    ],
)
def test_cases_that_fail_say_what_differs(case: str, problem: str) -> None:
    assert run(case).problem == problem


def test_a_case_about_a_network_that_no_rule_names() -> None:
    text = POLICY.replace("networks:\n", "networks:\n  spare: {ssid: [iot-1]}\n", 1)
    text += "tests:\n  - {name: one, device: a.cam._device.example.net, network: spare, expect: {zone: things}}\n"
    (result,) = run_cases(parse_policy(text.encode()), Document(text.encode()), now=NOW)
    assert result.passed


@pytest.mark.parametrize(
    "network",
    [
        "{ssid: [Home, Work]}",
        '{ssid: ["*-iot-*"], nas: [10.0.0.0/31, "ap-*"]}',
        "{nas: [2001:db8::/64], wired: true}",
        "{nas: [192.0.2.1], wired: false, realms: [Home.Example]}",
        "{port_types: [19, Ethernet], wired: true}",
        "{port_types: [19, Ethernet], wired: false}",
        '{nas: ["*"]}',
    ],
)
def test_a_request_from_a_network(network: str) -> None:
    text = (
        f"version: 2\nnetworks: {{n: {network}}}\nzones: {{z: {{}}}}\n"
        "rules: [{name: r, domains: [e.net], networks: [n], zone: z}]\n"
    )
    policy = parse_policy(text.encode())
    (compiled,) = policy.rules[0].networks or ()
    request = request_from(compiled, Document(text.encode()).get("networks", "n"))
    assert request is not None
    assert compiled.matches(request)


def test_no_request_comes_from_a_network_that_contradicts_itself() -> None:
    text = (
        "version: 2\nnetworks: {n: {wired: true, port_types: [19]}}\nzones: {z: {}}\n"
        "rules: [{name: r, domains: [e.net], networks: [n], zone: z}]\n"
        "tests: [{name: t, device: a.e.net, network: n, expect: {zone: z}}]\n"
    )
    (result,) = run_cases(parse_policy(text.encode()), Document(text.encode()), now=NOW)
    assert result.problem == "no request was found that comes from the network n"


# --- explanations


def test_an_explanation_says_why_each_rule_does_not_decide(tmp_path: Path) -> None:
    (tmp_path / "lost.txt").write_text("b.example.net\n")
    path = tmp_path / "policy.yaml"
    lost = "rules:\n  - {name: lost, devices: lost, refuse: true}\n"
    path.write_text(POLICY.replace("rules:\n", lost).replace("zones:\n", "device_lists: {lost: lost.txt}\nzones:\n", 1))
    policy = load_policy(path)
    explanation = explain(
        policy, "a.office._device.example.net", RequestFacts(ssid="iot-1", nas_port_type="Wireless-802.11"), now=NOW
    )
    assert [(reason.rule.name, reason.miss) for reason in explanation.reasons] == [
        ("lost", Miss.DEVICES),
        ("refused", Miss.IDENTITY),
        ("office", Miss.TIME),
        ("house", None),
    ]
    texts = [reason.text for reason in explanation.reasons]
    assert texts[0] == "the device list lost does not have the name"
    assert texts[1] == "its identity is *.old._device.example.net"
    assert "on mon, tue from 08:00 to 18:00 until 2027-01-01 00:00 (Europe/Vienna)" in texts[2]
    assert ("Tunnel-Private-Group-Id:0", ":=", "30") in explanation.reply


def test_networks_domains_and_standing_are_named() -> None:
    explanation = explain(parse_policy(POLICY.encode()), "a._device.example.org", RequestFacts(), now=NOW)
    texts = {reason.rule.name: reason.text for reason in explanation.reasons}
    assert texts["cellar"] == "its domains are example.net; the name's is _device.example.org or example.org"
    assert texts["watched"] == "it is for devices of standing watched, not normal"
    assert explanation.reply == ()
    other = explain(parse_policy(POLICY.encode()), "a.x._device.example.net", RequestFacts(), now=NOW)
    assert {reason.rule.name: reason.text for reason in other.reasons}["house"] == (
        "the request does not come from house"
    )


def test_a_blocked_device_reaches_no_rule() -> None:
    device = DeviceStanding(Standing.BLOCKED)
    explanation = explain(parse_policy(POLICY.encode()), "a._device.example.net", RequestFacts(), device, now=NOW)
    assert explanation.reasons == ()
    assert explanation.match.grant is None


@given(
    st.sampled_from(
        [
            "a.old._device.example.net",
            "a.office._device.example.net",
            "a._device.example.org",
            "b.c._device.example.net",
        ]
    ),
    st.sampled_from([None, "iot-1", "other"]),
    st.sampled_from([None, "switch-1"]),
    st.sampled_from([None, *Standing]),
    st.booleans(),
    st.integers(0, 24 * 60),
)
def test_an_explanation_agrees_with_the_decision(
    name: str, ssid: str | None, nas: str | None, standing: Standing | None, approved: bool, hours: int
) -> None:
    policy = parse_policy(POLICY.encode())
    request = RequestFacts(ssid, nas, nas_port_type="Ethernet" if nas else None, realm="home.example")
    device = None if standing is None else DeviceStanding(standing, approved)
    now = NOW + hours * 3600
    explanation = explain(policy, name, request, device, now=now)
    assert explanation.match == policy.match(name, request, device, now=now)
    deciding = [reason.rule.name for reason in explanation.reasons if reason.miss is None]
    rule = explanation.match.rule
    assert deciding == ([rule.name] if rule is not None else [])


def test_a_window_that_is_always_open() -> None:
    text = POLICY.replace("until: 2027-01-01", "since: 2026-01-01").replace("days: [mon, tue], ", "")
    window = parse_policy(text.encode()).rules[1].window
    assert window is not None
    assert describe_window(window) == "from 08:00 to 18:00 since 2026-01-01 00:00 (Europe/Vienna)"
