"""Logged decisions under another policy: what is known, what is not, and lines that are none."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.core.reasons import ReasonCode, Verdict
from dane_radius.core.ruling import Decision, Evidence, Ruling
from dane_radius.replay.changes import Change, Replay, compare
from dane_radius.replay.log_files import LogReader
from dane_radius.replay.logged import BadLine, LoggedDecision, parse_line
from dane_radius.replay.outcome import NO_ANSWER, NO_MATCHES, NO_NAMES, Outcome, Replayer, Result
from dane_radius.server.decision_log import decision_line, request_fields
from policy import DeviceStanding, Policy, RequestFacts, Standing, parse_policy
from tests.unit.policy.decision_logs import BEGIN, city_lines, line, write_log

NAME = "a1.light._device.city.example"
POLICY = """\
version: 2
networks:
  masts: {ssid: [city-iot]}
zones:
  lighting: {vlan: 110}
  isolated: {vlan: 666}
  waiting: {vlan: 667}
standing: {quarantined: {zone: isolated}, pending: {zone: waiting}}
rules:
  - {name: lighting, identity: ["*.light._device.city.example"], networks: [masts], zone: lighting}
"""


def policy(*changes: tuple[str, str]) -> Policy:
    text = POLICY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_policy(text.encode())


def decision(name: str | None = NAME, **fields: object) -> LoggedDecision:
    found = parse_line(line(name, **{"zone": "lighting", **fields}))  # type: ignore[arg-type]
    assert found is not None
    return found


def outcome(new: Policy, logged: LoggedDecision, old: Policy | None = None) -> Outcome:
    strength = next((rule.require for rule in old.rules if rule.name == logged.rule), None) if old else None
    return Replayer(new).outcome(logged, strength)


def changes(new: Policy, *lines: str, old: Policy | None = None) -> dict[str, int]:
    run = Replay(new, old)
    for each in lines:
        found = parse_line(each)
        assert found is not None
        run.add(found)
    return {change.value: count for change, count in run.counts.items() if count}


# --- lines


def test_a_line_of_the_module_is_understood() -> None:
    request = RequestFacts("city-iot", "mast-7", "198.51.100.7", "Wireless-802.11")
    evidence = Evidence(
        names=(NAME,), certificate="ab" * 32, dns="secure", records=("3 1 1 abcd",), matched="3 1 1 abcd",
        standing="watched", approved=True, assigned_standing="watched", assigned_zone="lighting", zone="lighting",
        set_aside=(("4 1 1 ab", "not assigned"),),
    )  # fmt: skip
    ruling = Ruling(Verdict.ACCEPT, ReasonCode.DANE_MATCH, "TLSA matches", NAME, "lighting", evidence=evidence)
    text = decision_line(Decision(ruling, 300), at=BEGIN, seconds=0.001, request=request_fields(request, "anonymous"))
    found = parse_line(text)
    assert found is not None
    assert (found.at, found.name, found.reason, found.rule) == (BEGIN, NAME, ReasonCode.DANE_MATCH, "lighting")
    assert (found.zone, found.matched, found.certificate) == ("lighting", "3 1 1 abcd", "ab" * 32)
    assert (found.accepted, found.monitored, found.complete) == (True, False, True)
    assert found.device == DeviceStanding(Standing.WATCHED, True, "lighting")
    assert found.set_aside == ("4 1 1 ab",)
    assert found.request.ssid == "city-iot"
    assert found.request.nas_identifier == "mast-7"


@pytest.mark.parametrize(
    ("evidence", "device"),
    [
        # `standing` and `zone` are what policy made of it.
        ({"standing": "quarantined"}, None),
        ({"standing": "quarantined", "approved": False}, DeviceStanding()),
        ({"standing": "pending", "approved": True, "zone": "waiting"}, DeviceStanding(approved=True)),
        ({"assigned_standing": "quarantined"}, None),
        ({"approved": False, "assigned_standing": "quarantined"}, DeviceStanding(Standing.QUARANTINED)),
        ({"approved": True, "assigned_zone": "isolated"}, DeviceStanding(approved=True, zone="isolated")),
    ],
)
def test_what_was_known_of_the_standing(evidence: dict[str, Any], device: DeviceStanding | None) -> None:
    assert decision(**evidence).device == device


@pytest.mark.parametrize(
    ("nas", "address", "identifier", "found"),
    [
        ("mast-7", "198.51.100.7", "mast-7", "198.51.100.7"),
        ("198.51.100.7", "198.51.100.7", None, "198.51.100.7"),
        ("198.51.100.7", None, "198.51.100.7", "198.51.100.7"),
        (None, None, None, None),
    ],
)
def test_the_nas(nas: str | None, address: str | None, identifier: str | None, found: str | None) -> None:
    request = decision(nas=nas, nas_address=address).request
    assert (request.nas_identifier, request.nas_address) == (identifier, found)


def test_other_events_are_no_decisions() -> None:
    assert parse_line('{"event": "policy replaced", "timestamp": "2026-12-01T00:00:00Z"}') is None


GOOD = json.loads(line(NAME))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text",
        "[1, 2]",
        '"text"',
        "{",
        "{}",
        '{"event": "decision"}',
        "[" * 5000,
        line(NAME) + " more",
        *(
            json.dumps({**GOOD, key: value})
            for key, value in (
                ("reason", "no_such_reason"),
                ("reason", None),
                ("verdict", "maybe"),
                ("timestamp", "yesterday"),
                ("timestamp", "2026-12-01T00:00:00"),
                ("timestamp", None),
                ("timestamp", 17),
                ("name", ["a"]),
                ("ssid", {"a": 1}),
                ("evidence", "none"),
                ("evidence", {"records": 7}),
                ("evidence", {"assigned_standing": "strange", "approved": True}),
                ("evidence", {"assigned_standing": ["normal"], "approved": True}),
                ("evidence", {"assigned_zone": 7, "approved": True}),
                ("evidence", {"approved": "yes"}),
                ("evidence", {"approved": None}),
                ("evidence", {"set_aside": [7]}),
            )
        ),
    ],
)
def test_lines_that_are_none(text: str) -> None:
    with pytest.raises(BadLine):
        parse_line(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "a" * 63 + "…"},
        {"ssid": "a long network …"},
        {"realm": "a-long-realm.ex…"},
        {"evidence": {**GOOD["evidence"], "approved": True, "assigned_zone": "a-long-name-of-…"}},
        {"evidence": {**GOOD["evidence"], "zone": "a-long-name-of-…"}},
    ],
)
def test_a_line_that_was_cut_where_policy_looks_is_not_used(fields: dict[str, object]) -> None:
    with pytest.raises(BadLine, match="too long"):
        parse_line(json.dumps({**GOOD, **fields, "cut": True}))
    found = parse_line(json.dumps({**GOOD, "detail": "a long text …", "cut": True}))
    assert found is not None
    assert not found.complete


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(GOOD["evidence"])), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([key for key in GOOD if key != "event"]), json_values, max_size=3))
def test_no_line_ends_the_replay(fields: dict[str, object]) -> None:
    text = json.dumps({**GOOD, **fields})
    try:
        found = parse_line(text)
    except BadLine:
        return
    assert found is not None
    Replay(policy(), policy()).add(found)


# --- what another policy makes of a decision


def test_the_same_policy_changes_nothing() -> None:
    assert changes(policy(), line(NAME, zone="lighting")) == {"same": 1}
    assert changes(policy(), line(NAME, zone="lighting"), old=policy()) == {"same": 1}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("[city-iot]", "[other]"), "lost"),
        (("zone: lighting}", "refuse: true}"), "lost"),
        (("*.light", "*.lamp"), "lost"),
        (("networks: [masts], ", "when: {until: 2026-11-30}, "), "lost"),
        (("zone: lighting}", "zone: isolated}"), "changed"),
        (("networks: [masts], ", ""), "same"),
        (("networks: [masts], ", "require: dane_ee, "), "same"),
        (("networks: [masts], ", "require: pkix, "), "lost"),
        (("networks: [masts], ", "approval: required, "), "changed"),
    ],
)
def test_an_admitted_device(change: tuple[str, str], expected: str) -> None:
    assert changes(policy(change), line(NAME, zone="lighting")) == {expected: 1}


def test_a_zone_of_the_same_name_is_compared_with_the_old_policy_only() -> None:
    new = policy(("{vlan: 110}", "{vlan: 111}"))
    assert changes(new, line(NAME, zone="lighting")) == {"same": 1}
    assert changes(new, line(NAME, zone="lighting"), old=policy()) == {"changed": 1}


def test_a_log_of_version_1_names_no_zone() -> None:
    assert changes(policy(), line(NAME)) == {"incomparable": 1}
    old = parse_policy(
        b'version: 1\nrules: [{name: lighting, identity: ["*.light._device.city.example"], grant: {vlan: 110}}]\n'
    )
    assert changes(policy(), line(NAME), old=old) == {"same": 1}
    assert changes(policy(("{vlan: 110}", "{vlan: 9}")), line(NAME), old=old) == {"changed": 1}


@pytest.mark.parametrize("reason", ["policy_no_rule", "policy_network", "policy_time", "policy_denied", "zone_unknown"])
def test_whether_an_unasked_dns_would_have_vouched_is_not_known(reason: str) -> None:
    found = outcome(policy(), decision(reason=reason, rule=None, zone=None))
    assert (found.result, found.why, found.rule) == (Result.UNKNOWN, NO_ANSWER, "lighting")
    assert changes(policy(("*.light", "*.x")), line(NAME, reason=reason, rule=None)) in ({"reason": 1}, {"same": 1})


@pytest.mark.parametrize("reason", ["tlsa_absent", "dns_insecure", "dns_bogus", "dns_unavailable", "dns_overloaded"])
def test_no_policy_helps_without_a_valid_answer(reason: str) -> None:
    logged = line(NAME, reason=reason)
    assert changes(policy(("networks: [masts], ", "")), logged) == {"same": 1}
    assert changes(policy(("networks: [masts], ", "mode: monitor, ")), logged) == {"gained": 1}


@pytest.mark.parametrize(
    "reason", ["certificate_malformed", "san_missing", "name_wildcard", "session_file_missing", "internal_error"]
)
def test_what_comes_before_policy_stays(reason: str) -> None:
    assert changes(policy(), line(None, reason=reason, rule=None)) == {"same": 1}


def test_monitor_mode_ends() -> None:
    logged = line(NAME, reason="tlsa_mismatch", verdict="accept", zone="lighting", records=["3 1 1 " + "a" * 24 + "…"])
    assert changes(policy(("networks: [masts], ", "mode: monitor, ")), logged, old=policy()) == {"same": 1}
    assert changes(policy(), logged, old=policy(("networks: [masts], ", "mode: monitor, "))) == {"lost": 1}


def test_a_fault_is_not_monitored() -> None:
    new = policy(("version: 2\n", "version: 2\nmode: monitor\n"))
    assert changes(new, line(None, reason="internal_error", rule=None)) == {"same": 1}
    assert changes(new, line(None, reason="san_missing", rule=None)) == {"gained": 1}


MONITOR = ("version: 2\n", "version: 2\nmode: monitor\n")


def test_standing_of_the_time_counts() -> None:
    assert outcome(policy(), decision(assigned_standing="quarantined", approved=False)).zone == "isolated"
    assert outcome(policy(), decision(assigned_standing="blocked", approved=False)).reason is ReasonCode.DEVICE_BLOCKED
    for new in (policy(), policy(MONITOR)):
        unavailable = outcome(new, decision(reason="standing_unavailable", rule=None))
        assert (unavailable.result, unavailable.reason) == (Result.REFUSED, ReasonCode.STANDING_UNAVAILABLE)


@pytest.mark.parametrize(
    ("change", "standing", "reason", "result"),
    [
        (("*.light", "*.x"), "quarantined", "policy_no_rule", Result.REFUSED),
        (("[city-iot]", "[other]"), "quarantined", "policy_network", Result.REFUSED),
        (("networks: [masts], ", "when: {until: 2026-11-30}, "), "quarantined", "policy_time", Result.REFUSED),
        (("zone: lighting}", "refuse: true}"), "quarantined", "policy_denied", Result.REFUSED),
        (("*.light", "*.x"), "blocked", "device_blocked", Result.REFUSED),
        (("*.light", "*.x"), "watched", "policy_no_rule", Result.ACCESS),
        (("*.light", "*.x"), "pending", "policy_no_rule", Result.ACCESS),
        (("zone: lighting}", "refuse: true}"), None, "policy_denied", Result.ACCESS),
    ],
)
def test_monitor_mode_admits_no_device_that_somebody_has_isolated(
    change: tuple[str, str], standing: str | None, reason: str, result: Result
) -> None:
    found = outcome(policy(MONITOR, change), decision(assigned_standing=standing, approved=False))
    assert (found.result, found.reason.value, found.monitored) == (result, reason, result is Result.ACCESS)


def test_set_pending_and_waiting_for_approval_are_told_apart() -> None:
    waits = decision(standing="pending", approved=False, zone="waiting")
    was_set = decision(standing="pending", approved=False, assigned_standing="pending", zone="waiting")
    asking = policy(("networks: [masts], ", "approval: required, "))
    assert [outcome(asking, logged).zone for logged in (waits, was_set)] == ["waiting", "waiting"]
    # This policy asks for no approval.
    assert [outcome(policy(), logged).zone for logged in (waits, was_set)] == ["lighting", "waiting"]


def test_the_quarantine_of_a_file_of_version_1_is_not_the_devices_standing() -> None:
    """Somebody has approved the device, and the list in the file isolates it: another policy may well admit it."""
    old = parse_policy(
        b"version: 1\nquarantine: {identity: [a1.light._device.city.example], grant: {vlan: 666}}\n"
        b'rules: [{name: lighting, identity: ["*.light._device.city.example"], grant: {vlan: 110}}]\n'
    )
    by_list = line(NAME, standing="quarantined", approved=True)
    assert changes(policy(), by_list, old=old) == {"changed": 1}
    assert outcome(policy(), decision(standing="quarantined", approved=True, zone=None)).zone == "lighting"
    by_operations = line(NAME, standing="quarantined", approved=True, assigned_standing="quarantined")
    assert changes(policy(), by_operations, old=old) == {"same": 1}


def test_a_zone_that_was_chosen_for_the_device_stays() -> None:
    logged = line(NAME, standing="normal", approved=True, zone="isolated", assigned_zone="isolated")
    assert changes(policy(), logged, old=policy()) == {"same": 1}
    assert changes(policy(("{vlan: 666}", "{vlan: 9}")), logged, old=policy()) == {"changed": 1}
    assert changes(policy(), logged) == {"same": 1}
    # Here, the rule had given the zone.
    assert changes(policy(), line(NAME, standing="normal", approved=True, zone="isolated")) == {"changed": 1}
    # A choice that the rule gives anyway does not follow the rule.
    same = line(NAME, standing="normal", approved=True, zone="lighting", assigned_zone="lighting")
    assert changes(policy(("zone: lighting}", "zone: isolated}")), same, old=policy()) == {"same": 1}
    assert changes(policy(("[city-iot]", "[other]")), logged) == {"lost": 1}
    gone = policy(("  isolated: {vlan: 666}\n", ""), ("quarantined: {zone: isolated}", "quarantined: {zone: waiting}"))
    assert changes(gone, logged, old=policy()) == {"lost": 1}


def test_several_names_are_selected_again() -> None:
    names = [NAME, "b.other.example"]
    logged = decision(names=names)
    assert outcome(policy(), logged).result is Result.ACCESS
    other = "rules:\n  - {name: other, identity: [b.other.example], zone: isolated}\n"
    assert outcome(policy(("rules:\n", other)), logged).reason is ReasonCode.SAN_AMBIGUOUS
    only_other = policy(('["*.light._device.city.example"]', "[b.other.example]"))
    assert (outcome(only_other, logged).result, outcome(only_other, logged).why) == (Result.UNKNOWN, NO_ANSWER)
    ambiguous = decision(None, names=names, reason="san_ambiguous", rule=None)
    assert outcome(policy(), ambiguous).why == NO_ANSWER
    # A line that was too long may lack names, one of which this policy may cover, too.
    assert outcome(policy(), logged._replace(complete=False)).why == NO_NAMES


# --- which records match

CERTIFICATE = "c" * 64
EE_KEY, EE_CERT, EE_OTHER = "3 1 1 " + "a" * 24 + "…", "3 0 1 " + "c" * 24 + "…", "3 0 1 " + "d" * 24 + "…"
TA, PKIX, CD = "2 0 1 " + "e" * 24 + "…", "1 1 1 " + "f" * 24 + "…", "4 1 1 " + "b" * 24 + "…"
STRONG = policy(("networks: [masts], ", "require: dane_ee, "))
LOOSE = policy()


@pytest.mark.parametrize(
    ("new", "old", "reason", "records", "matched", "expected"),
    [
        # Of an accept, the matching record is known. Others are not, except by the certificate's own digest.
        (STRONG, None, "dane_match", [EE_KEY], EE_KEY, "dane_match"),
        (STRONG, None, "dane_match", [TA], TA, "policy_strength"),
        (STRONG, None, "dane_match", [TA, EE_KEY], TA, None),
        (STRONG, None, "dane_match", [TA, EE_CERT], TA, "dane_match"),
        (STRONG, None, "dane_match", [TA, EE_OTHER], TA, "tlsa_mismatch"),
        # Records of the device's own are tried first: if the old rule allowed them, they did not match.
        (STRONG, LOOSE, "dane_match", [TA, EE_KEY], TA, "tlsa_mismatch"),
        # Of a refusal, what the old rule allowed did not match.
        (LOOSE, STRONG, "tlsa_mismatch", [EE_KEY], None, "tlsa_mismatch"),
        (LOOSE, None, "tlsa_mismatch", [EE_KEY], None, None),
        (LOOSE, STRONG, "tlsa_mismatch", [EE_KEY, TA], None, None),
        (LOOSE, STRONG, "policy_strength", [TA], None, None),
        (STRONG, LOOSE, "policy_strength", [TA], None, "policy_strength"),
        (STRONG, LOOSE, "chain_invalid", [TA], None, "policy_strength"),
        (LOOSE, LOOSE, "chain_invalid", [TA], None, "chain_invalid"),
        (STRONG, LOOSE, "chain_invalid", [TA, EE_KEY], None, "tlsa_mismatch"),
    ],
)
def test_records(
    new: Policy, old: Policy | None, reason: str, records: list[str], matched: str | None, expected: str | None
) -> None:
    logged = decision(reason=reason, records=records, matched=matched, certificate=CERTIFICATE, dns="secure")
    found = outcome(new, logged, old)
    if expected is None:
        assert (found.result, found.why) == (Result.UNKNOWN, NO_MATCHES)
    elif expected == "dane_match":
        assert found.result is Result.ACCESS
    else:
        assert (found.result, found.reason.value) == (Result.REFUSED, expected)


def test_records_that_were_set_aside_do_not_count() -> None:
    logged = decision(reason="tlsa_unusable", records=[CD], set_aside=[[CD, "not assigned"]], dns="secure")
    assert outcome(LOOSE, logged).reason is ReasonCode.TLSA_UNUSABLE
    opted_in = policy(("networks: [masts], ", "pkix_cd: true, "))
    assert outcome(opted_in, logged).why == NO_MATCHES


def test_whole_certificates_are_counted_because_their_beginnings_are_the_same() -> None:
    full = "3 0 0 308201…"
    logged = decision(reason="tlsa_mismatch", records=[full, full], set_aside=[[full, "malformed"]], dns="secure")
    assert outcome(LOOSE, logged).why == NO_MATCHES
    both = decision(reason="tlsa_unusable", records=[full, full], set_aside=[[full, "a"], [full, "b"]], dns="secure")
    assert outcome(LOOSE, both).reason is ReasonCode.TLSA_UNUSABLE


@pytest.mark.parametrize("fields", [{"records": [EE_OTHER, "… and 4 more"]}])
def test_a_list_that_is_cut_is_not_complete(fields: dict[str, list[str]]) -> None:
    logged = decision(reason="tlsa_mismatch", certificate=CERTIFICATE, dns="secure", **fields)
    assert outcome(LOOSE, logged, LOOSE).why == NO_MATCHES


def test_time_of_the_decision_counts_even_out_of_order() -> None:
    new = policy(("networks: [masts], ", "when: {until: 2026-12-02}, "))
    replayer = Replayer(new)
    day = 86_400.0
    results = [replayer.outcome(decision(at=BEGIN + offset)).result for offset in (0, 2 * day, day - 1, day, 0)]
    assert results == [Result.ACCESS, Result.REFUSED, Result.ACCESS, Result.REFUSED, Result.ACCESS]


def test_what_is_remembered_is_bounded() -> None:
    replayer = Replayer(policy(), max_remembered=10)
    for number in range(100):
        replayer.outcome(decision(f"a{number}.light._device.city.example"))
    assert len(replayer._matches) <= 10


# --- groups


def test_devices_are_grouped() -> None:
    run = Replay(policy(("[city-iot]", "[other]")))
    for at, nas in ((0, "mast-1"), (-60, "mast-2"), (60, "mast-1")):
        run.add(decision(at=BEGIN + at, nas=nas))
    run.add(decision("b1.light._device.city.example"))
    ((key, group), (other, _)) = run.listed(Change.LOST)
    assert (key.device, key.old, key.new) == (NAME, "zone lighting, rule lighting", "refused: policy_network")
    assert (group.count, group.first, group.last) == (3, BEGIN - 60, BEGIN + 60)
    assert list(group.places) == ["SSID city-iot, NAS mast-1", "SSID city-iot, NAS mast-2"]
    assert other.device == "b1.light._device.city.example"
    assert run.to_json()["counts"]["lost"] == 4


def test_the_number_of_groups_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dane_radius.replay.changes.MAX_GROUPS", 2)
    run = Replay(policy(("[city-iot]", "[other]")))
    for number in range(5):
        run.add(decision(f"a{number}.light._device.city.example"))
    assert len(run.groups) == 2
    assert run.ungrouped == 3
    assert run.counts[Change.LOST] == 5


def test_an_old_policy_that_did_not_make_the_decisions_is_noticed() -> None:
    run = Replay(policy(), policy(("[city-iot]", "[other]")))
    run.add(decision())
    assert run.contradictions == 1
    assert run.counts[Change.SAME] == 1


def test_comparing_outcomes() -> None:
    refused = Outcome(Result.REFUSED, ReasonCode.TLSA_ABSENT)
    other = Outcome(Result.REFUSED, ReasonCode.POLICY_NO_RULE)
    access = Outcome(Result.ACCESS, ReasonCode.DANE_MATCH, zone="a")
    assert compare(refused, refused) is Change.SAME
    assert compare(refused, other) is Change.REASON
    assert compare(refused, access) is Change.GAINED
    assert compare(access, refused) is Change.LOST
    assert compare(access, access._replace(zone="b")) is Change.CHANGED
    assert compare(access, access._replace(zone=None)) is Change.INCOMPARABLE
    assert compare(access, Outcome(Result.UNKNOWN, ReasonCode.DANE_MATCH)) is Change.UNKNOWN


# --- files


def read(*paths: Path) -> tuple[list[LoggedDecision], LogReader]:
    reader = LogReader()
    return list(reader.decisions([str(path) for path in paths])), reader


def test_plain_and_compressed_files_have_the_same_decisions(tmp_path: Path) -> None:
    plain, zipped = tmp_path / "log", tmp_path / "log.gz"
    write_log(plain, city_lines(500))
    write_log(zipped, city_lines(500))
    assert zipped.read_bytes()[:2] == b"\x1f\x8b"
    assert read(plain)[0] == read(zipped)[0]
    # The name of a file does not say what it is.
    zipped.rename(tmp_path / "rotated.1")
    assert len(read(tmp_path / "rotated.1")[0]) == 500


def test_bad_lines_are_counted_and_named_and_never_fatal(tmp_path: Path) -> None:
    path = tmp_path / "log"
    long = line(NAME).replace("as logged", "x" * 200_000)
    good = line(NAME).encode()
    path.write_bytes(
        b"\n".join([good, b"garbage", b"", good, b"\xff\xfe", long.encode(), good, b'{"event": "status"}', good[:50]])
    )
    found, reader = read(path)
    assert len(found) == 3
    assert (reader.bad_lines, reader.other_lines) == (4, 1)
    assert [problem.split(": ")[0].removeprefix(f"{path}, ") for problem in reader.problems] == [
        "line 2",
        "line 5",
        "line 6",
        "line 9",
    ]


def test_a_thousand_bad_lines_are_not_all_named(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("garbage\n" * 1000)
    _, reader = read(path)
    assert reader.bad_lines == 1000
    assert len(reader.problems) == 20


def test_a_damaged_file_ends_early_and_the_next_one_is_read(tmp_path: Path) -> None:
    whole, cut, damaged = tmp_path / "whole", tmp_path / "cut.gz", tmp_path / "damaged.gz"
    write_log(whole, city_lines(100))
    octets = gzip.compress("".join(f"{each}\n" for each in city_lines(20_000)).encode())
    cut.write_bytes(octets[: len(octets) // 2])
    damaged.write_bytes(octets[:1000] + b"\0" * 100 + octets[1100:])
    found, reader = read(cut, tmp_path / "missing", damaged, whole)
    assert len(found) > 100
    assert [problem.rpartition("/")[2].split(":")[0] for problem in reader.problems if "line" not in problem] == [
        "cut.gz",
        "missing",
        "damaged.gz",
    ]


def test_progress_reaches_the_size_of_the_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b.gz"
    write_log(first, city_lines(10_000))
    write_log(second, city_lines(10_000))
    seen: list[int] = []
    reader = LogReader(seen.append)
    assert sum(1 for _ in reader.decisions([str(first), str(second)])) == 20_000
    assert seen == sorted(seen)
    assert len(seen) > 4
    assert seen[-1] == first.stat().st_size + second.stat().st_size


def test_the_log_of_a_city(tmp_path: Path) -> None:
    example = Path(__file__).parents[3] / "policy" / "examples" / "city.yaml"
    new = parse_policy(example.read_bytes(), base=example.parent)
    run = Replay(new, new)
    standings = set()
    for text in city_lines(5_000):
        found = parse_line(text)
        assert found is not None
        run.add(found)
        standings.add(found.device)
    assert run.counts[Change.SAME] == 5_000
    assert run.contradictions == 0
    assert standings == {
        None,
        DeviceStanding(Standing.QUARANTINED),
        DeviceStanding(Standing.WATCHED),
        DeviceStanding(approved=True, zone="service"),
    }
