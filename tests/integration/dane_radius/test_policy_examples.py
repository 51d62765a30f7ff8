"""The ready-made policies on a real FreeRADIUS: a device of each zone is admitted, and others are refused.

And `dane-radius policy` against FreeRADIUS: its dictionaries, and the log of decisions that it made.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dane_radius.cli import main
from policy import (
    Attribute,
    DeviceStanding,
    ExampleCase,
    Policy,
    RequestFacts,
    Standing,
    grant_attributes,
    load_policy,
)
from policy.analysis import DEFAULT_DICTIONARY, EXAMPLES, Document, example_file, read_dictionary
from policy.analysis.cases import request_of
from tests.harness.eap import EapResult, authenticate, write_peer_config
from tests.harness.freeradius import FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import Authority, Identity, authority
from tests.harness.unbound import Unbound

pytestmark = pytest.mark.daemons

# The top of all names in the examples.
TOP = "example"


@dataclass(frozen=True)
class Trial:
    """An authentication that an example case describes, and what the policy says of it now."""

    case: ExampleCase
    name: str
    request: RequestFacts
    device: DeviceStanding
    certificate: Identity


@dataclass(frozen=True)
class Example:
    policy: Policy
    file: Path
    trials: tuple[Trial, ...]


def in_force(name: str, folder: Path) -> Path:
    """A copy of the example, in `folder`, whose grants end in two years: the servers of this test use today's date."""
    source = example_file(name)
    file = folder / source.name
    year = datetime.now(UTC).year + 2
    file.write_text(re.sub(r"^( +until: )\d{4}-", rf"\g<1>{year}-", source.read_text(), flags=re.MULTILINE))
    shutil.copytree(source.parent / "lists", folder / "lists", dirs_exist_ok=True)
    return file


def trials_of(name: str, folder: Path, ca: Authority) -> Example:
    """A trial for each case, under a name of its own, so that each can have a standing of its own."""
    file = in_force(name, folder)
    policy = load_policy(file)
    document = Document(file.read_bytes())
    found = []
    for number, case in enumerate(policy.tests):
        listed = any(case.device in devices for devices in policy.device_lists.values())
        own = case.device if listed else f"t{number}-{case.device}"
        request = request_of(case, policy, document)
        assert request is not None
        found.append(Trial(case, own, request, DeviceStanding(case.standing, case.approved), ca.issue(own)))
    return Example(policy, file, tuple(found))


@pytest.fixture(scope="module")
def ca() -> Authority:
    return authority("CA of the examples")


@pytest.fixture(scope="module")
def examples(folder: Path, ca: Authority) -> dict[str, Example]:
    copies = folder / "example-files"
    copies.mkdir()
    return {name: trials_of(name, copies, ca) for name in EXAMPLES}


@pytest.fixture(scope="module")
def unbound(folder: Path, examples: dict[str, Example]) -> Iterator[Unbound]:
    records = {
        f"{trial.name.removesuffix(f'.{TOP}')} TLSA {trial.certificate.tlsa()}\n": None
        for example in examples.values()
        for trial in example.trials
    }
    with Knot(folder / "examples-knot", [Zone(TOP, "".join(records))]) as knot:
        stubs = {TOP: ("127.0.0.1", knot.port)}
        with Unbound(folder / "examples-unbound", stubs, knot.trust_anchors(TOP)) as resolver:
            yield resolver


def write_journal(folder: Path, trials: tuple[Trial, ...]) -> None:
    """What trust-sync would have written: the standing of each device that somebody has said something about."""
    folder.mkdir()
    folder.chmod(0o755)
    lines: list[dict[str, Any]] = [{"format": 1, "source": "https://operations.example", "sequence": len(trials)}]
    for number, trial in enumerate(trials, 1):
        if trial.device != DeviceStanding():
            standing, approved, zone, until = trial.device
            entry = {"sequence": number, "subject": "device", "name": trial.name, "standing": standing.value}
            rest = {"approved": approved, "zone": zone, "until": until, "then": "normal", "removed": False}
            lines.append(entry | rest)
    (folder / "journal").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (folder / "journal").chmod(0o644)


def server_of(name: str, example: Example, folder: Path, unbound: Unbound, ca: Authority) -> FreeRadius:
    """A server with the example and its device lists installed, as an operator would."""
    server = FreeRadius(folder / f"example-{name}", unbound.port, example.file.read_text(), [ca], debug=True)
    server.prepare()
    shutil.copytree(example.file.parent / "lists", server.policy_file.parent / "lists")
    write_journal(server.folder / "standing", example.trials)
    settings = server.config_file.read_text()
    server.config_file.write_text(f'standing = "{server.folder}/standing"\n{settings}')
    return server


def attempt(server: FreeRadius, trial: Trial, number: int) -> EapResult:
    """The device's authentication from the place of the case."""
    request = trial.request
    peer = write_peer_config(
        server.folder / "peers",
        trial.certificate,
        identity=f"anonymous@{request.realm or 'elsewhere.example'}",
        server_ca=server.server_ca_file,
        name=f"p{number}",
    )
    extra = [f"-N61:d:{15 if request.wired else 19}"]
    if request.nas_address is not None:
        extra.append(f"-N4:x:{ipaddress.ip_address(request.nas_address).packed.hex()}")
    nas = request.nas_identifier or "some-nas"
    return authenticate(server, peer, ssid=request.ssid, nas=nas, extra=tuple(extra))


def encoded(attribute: Attribute) -> str:
    """How eapol_test shows an attribute that a zone of the examples has."""
    name, _, value = attribute
    vendor_specific = {"WISPr-Bandwidth-Max-Up": 7, "WISPr-Bandwidth-Max-Down": 8}
    return f"0000372a{vendor_specific[name]:02x}06{int(value):08x}"


def check_reply(result: EapResult, policy: Policy, zone: str, rule: str, name: str) -> None:
    """The reply has the attributes of the zone."""
    grant = policy.zones[zone].grant
    attributes = grant_attributes(grant, user_name=name, rule=rule, cui=None)
    assert result.text("User-Name") == name
    assert result.attributes["Tunnel-Private-Group-Id"] == [str(grant.vlan).encode().hex()]
    assert result.attributes["Class"] == [(grant.class_ or f"rule={rule}").encode().hex()]
    assert int(result.attributes["Session-Timeout"][0]) <= grant.session_timeout
    if grant.filter_id is not None:
        # eapol_test knows no name for it.
        assert f"Attribute 11 (?Unknown?) length={2 + len(grant.filter_id)}" in result.output
    if grant.nas_filter_rules:
        joined = "\0".join(grant.nas_filter_rules)
        assert f"Attribute 92 (?Unknown?) length={2 + len(joined)}" in result.output
    found = result.attributes.get("Vendor-Specific", [])
    for attribute in attributes:
        if attribute in grant.attributes:
            assert encoded(attribute) in found


def known_standing(evidence: dict[str, Any]) -> DeviceStanding:
    """What the server knew of the device, as a replay reads it from the log."""
    return DeviceStanding(
        Standing(evidence.get("assigned_standing", "normal")),
        evidence.get("approved", False),
        evidence.get("assigned_zone"),
    )


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_on_a_real_server(
    name: str, examples: dict[str, Example], folder: Path, unbound: Unbound, ca: Authority
) -> None:
    example = examples[name]
    policy = example.policy
    reached: set[str | None] = set()
    refused: set[str] = set()
    with server_of(name, example, folder, unbound, ca) as server:
        for number, trial in enumerate(example.trials):
            # A time window may be closed at the time of the test.
            expected = policy.match(trial.name, trial.request, trial.device, now=time.time())
            result = attempt(server, trial, number)
            decision = server.decision_for(result.station)
            assert decision["name"] == trial.name, (trial.case.name, decision)
            assert (decision["verdict"] == "accept") is (expected.grant is not None), (trial.case.name, decision)
            assert result.accepted is (expected.grant is not None), trial.case.name
            assert decision["evidence"].get("zone") == expected.zone, (trial.case.name, decision)
            assert known_standing(decision["evidence"]) == trial.device, (trial.case.name, decision)
            if expected.zone is not None and expected.rule is not None:
                assert decision["rule"] == expected.rule.name
                check_reply(result, policy, expected.zone, expected.rule.name, trial.name)
                reached.add(expected.zone)
            else:
                refused.add(decision["reason"])
        log = server.decision_log
    # Every zone has a device in it, except for those that depend on the time of day.
    always = {rule.zone for rule in policy.rules if rule.window is None or len(rule.window.days) == 7}
    standing = {policy.standing_zones.quarantined, policy.standing_zones.pending} - {None}
    windowed = {rule.zone for rule in policy.rules if rule.approval and rule.window is not None}
    assert reached >= (always | standing) - {None} - ({policy.standing_zones.pending} if windowed else set())
    assert len(refused) >= 2
    replays_without_change(log, example.file)


def replays_without_change(log: Path, file: Path) -> None:
    """What the server decided is what `replay` decides from its log, by the same policy."""
    for old in ([], ["--old", str(file)]):
        result = CliRunner().invoke(main, ["policy", "replay", "--log", str(log), *old, str(file), "--json"])
        assert result.exit_code == 0
        found = json.loads(result.stdout)
        assert found["bad_lines"] == 0
        assert found["decisions"] >= 10
        assert found["contradictions"] == 0
        assert found["counts"]["same"] == found["decisions"], found


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_has_no_findings_with_freeradius_dictionaries(name: str) -> None:
    # tests/unit/policy/test_examples.py looks for ended grants, at a time of its own.
    options = ["--strict", "--dictionary", DEFAULT_DICTIONARY, "--ignore", "rule-ended"]
    result = CliRunner().invoke(main, ["policy", "check", str(example_file(name)), *options])
    assert result.exit_code == 0, result.output


# --- FreeRADIUS agrees about attributes

ATTRIBUTES = [
    ("Aruba-User-Role", "iot"),
    ("aruba-user-role", "iot"),
    ("Arubba-User-Role", "iot"),
    ("WISPr-Bandwidth-Max-Down", "2000000"),
    ("WISPr-Bandwidth-Max-Down", "4294967295"),
    ("WISPr-Bandwidth-Max-Down", "lots"),
    ("WISPr-Bandwidth-Max-Down", "0x10"),
    ("Service-Type", "Framed-User"),
    ("Service-Type", "framed-user"),
    ("Service-Type", "Framed-Nothing"),
    ("Service-Type", "2"),
    ("Tunnel-Type:1", "VLAN"),
    ("Tunnel-Type:1", "WLAN"),
    ("Tunnel-Server-Endpoint:1", "a.example"),
    ("Framed-IP-Address", "192.0.2.1"),
    ("Framed-IPv6-Prefix", "2001:db8::/64"),
    ("Framed-IPv6-Prefix", "2001:db8::/129"),
    ("Framed-Interface-Id", "1:2:3:4"),
    ("Framed-Interface-Id", "1:2:3"),
    ("Framed-IPv6-Address", "2001:db8::1"),
    ("Framed-IPv6-Address", "192.0.2.1"),
    ("Cisco-AVPair", "ip:inacl#1=permit ip any any"),
    ("Extended-Vendor-Specific-1", "x"),
    ("Nothing-Like-It", "x"),
]


def freeradius_sends(name: str, value: str) -> bool:
    """Whether radclient, which parses as the server does, accepts the attribute."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    done = subprocess.run(
        ["radclient", "-x", "-r", "1", "-t", "0.1", "127.0.0.1:9", "auth", "x"],
        input=f'User-Name = "a"\n{name} = "{escaped}"\n',
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return f"{name.partition(':')[0].lower()}" in done.stdout.lower() and "Error parsing" not in done.stderr


@pytest.mark.parametrize(("name", "value"), ATTRIBUTES)
def test_freeradius_agrees_about_attributes(name: str, value: str) -> None:
    problem = read_dictionary().problem(name, value)
    assert (problem is None) is freeradius_sends(name, value), problem


def test_all_dictionaries_of_the_package_are_read() -> None:
    dictionary = read_dictionary()
    assert len(dictionary) > 5_000
    # One of each kind: a vendor's, an extended one, one with a tag, one of a TLV.
    for name in ("Cisco-AVPair", "Tunnel-Private-Group-Id", "WiMAX-Release", "Frag-Status", "Juniper-Switching-Filter"):
        assert dictionary.find(name) is not None, name
