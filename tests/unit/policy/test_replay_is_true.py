"""What a replay says of a logged decision is what the server would have decided by the other policy.

Real certificates, DNS answers of every kind, real decisions and real log lines. `unknown` is the only other answer.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dane_radius.core.anchor_record import Anchor, AnchorRecord, AnchorSource
from dane_radius.core.answers import Absence, Answer, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from dane_radius.core.certificate import Leaf, parse_leaf
from dane_radius.core.decision import Prepared, conclude, prepare
from dane_radius.core.reasons import ReasonCode, Refused
from dane_radius.core.ruling import Decision
from dane_radius.core.tlsa import TlsaRecord
from dane_radius.replay.changes import Change, Replay
from dane_radius.replay.logged import LoggedDecision, parse_line
from dane_radius.replay.outcome import Outcome, Replayer, Result
from dane_radius.server.decision_log import decision_line, request_fields
from policy import DeviceStanding, Policy, RequestFacts, Standing, parse_policy
from tests.harness.pki import authority

NAME = "a1.camera._device.example.net"
SECOND = "a1.other._device.example.net"
NOW = datetime.now(UTC)

CA = authority("Replay CA")
DEVICES = [parse_leaf(CA.issue(NAME).der), parse_leaf(CA.issue(NAME, SECOND).der), parse_leaf(CA.issue().der)]
MINE, OTHER = CA.issue(NAME), CA.issue(NAME)
LEAF = parse_leaf(MINE.der)
ANCHOR = Anchor(
    AnchorRecord(
        CA.fingerprint, "ca.pem", "CN=Replay CA", CA.ski.hex(), ("example.net",), AnchorSource.REGISTRY, NOW,
        NOW + timedelta(days=300),
    ),
    CA.der,
)  # fmt: skip
RECORDS = [
    MINE.tlsa(3, 1, 1), OTHER.tlsa(3, 1, 1), MINE.tlsa(3, 0, 1), OTHER.tlsa(3, 0, 1), MINE.tlsa(3, 1, 2),
    OTHER.tlsa(3, 0, 2), MINE.tlsa(3, 0, 0), OTHER.tlsa(3, 0, 0), CA.tlsa(2, 0, 1), CA.tlsa(2, 0, 0),
    OTHER.tlsa(2, 0, 1),
    MINE.tlsa(1, 1, 1), OTHER.tlsa(1, 1, 1), CA.tlsa(0, 0, 1), MINE.tlsa(4, 1, 1), OTHER.tlsa(4, 0, 1),
    TlsaRecord(3, 1, 1, b"short"), TlsaRecord(9, 1, 1, bytes(32)), TlsaRecord(3, 0, 0, MINE.der[:-4]),
]  # fmt: skip

WRONG_CERTIFICATES = tuple(TlsaRecord(3, 0, 1, bytes([number] * 32)) for number in range(20))
DAMAGED = TlsaRecord(3, 0, 0, MINE.der[:-4])
# Answers whose log lines can be misread.
SPECIAL = [
    (MINE.tlsa(4, 1, 1),),
    (OTHER.tlsa(4, 0, 1), MINE.tlsa(4, 1, 1)),
    # Only the first records are logged.
    (*WRONG_CERTIFICATES, MINE.tlsa(3, 1, 1)),
    (*WRONG_CERTIFICATES, OTHER.tlsa(3, 1, 1)),
    # The log shows the same text for all of these.
    (DAMAGED, MINE.tlsa(3, 0, 0)),
    (DAMAGED, OTHER.tlsa(3, 0, 0)),
    (DAMAGED,),
    # Several records match, and one of them is logged as the one that does.
    (CA.tlsa(2, 0, 1), MINE.tlsa(1, 1, 1)),
    (CA.tlsa(2, 0, 1), OTHER.tlsa(1, 1, 1)),
    (CA.tlsa(2, 0, 1), MINE.tlsa(3, 1, 1)),
    (CA.tlsa(0, 0, 1), MINE.tlsa(4, 1, 1)),
    # Digest agility sets records aside.
    (MINE.tlsa(3, 0, 1), OTHER.tlsa(3, 0, 2)),
    (OTHER.tlsa(3, 0, 1), MINE.tlsa(3, 0, 2)),
]
answers = st.one_of(
    st.sampled_from(SPECIAL).map(lambda records: Secure(records, 300)),
    st.lists(st.sampled_from(RECORDS), max_size=4, unique=True).map(lambda found: Secure(tuple(found), 300)),
    st.lists(st.integers(0, 40), min_size=10, max_size=30, unique=True).map(
        lambda numbers: Secure((*(TlsaRecord(3, 1, 1, bytes([n] * 32)) for n in numbers), MINE.tlsa(3, 1, 1)), 300)
    ),
    st.sampled_from(
        [SecureAbsent(Absence.NXDOMAIN, 60), Insecure("unsigned"), Bogus(6, "bogus"), Unavailable("no answer")]
    ),
)


@st.composite
def old_policy_texts(draw: st.DrawFn) -> str:
    """Policies of version 1, which list the devices in quarantine themselves."""
    quarantine = draw(
        st.sampled_from(
            [
                "",
                *(f'quarantine: {{identity: ["{name}"], grant: {{vlan: 6}}}}\n' for name in (NAME, SECOND, "**.x.net")),
            ]
        )
    )
    mode = draw(st.sampled_from(["enforce", "enforce", "monitor"]))
    what = draw(st.sampled_from(["grant: {vlan: 1}", "grant: {vlan: 1}", "deny: true"]))
    networks = draw(st.sampled_from(["", ", networks: [house]"]))
    return (
        f"version: 1\nmode: {mode}\nnetworks: {{house: {{ssid: [iot]}}}}\n{quarantine}rules:\n"
        f'  - {{name: r0, identity: ["*.camera._device.example.net"]{networks}, {what}}}\n'
    )


@st.composite
def policy_texts(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 3)) == 0:
        return draw(old_policy_texts())
    rules = ""
    for number in range(draw(st.integers(1, 3))):
        pattern = draw(st.sampled_from(["*.camera._device.example.net", "**._device.example.net", SECOND]))
        what = draw(st.sampled_from(["zone: one", "zone: two", "zone: one", "refuse: true"]))
        more = [
            draw(st.sampled_from(["", f", {key}: {value}"]))
            for key, value in (
                ("networks", "[house]"),
                ("require", draw(st.sampled_from(["no_ca", "pkix", "dane_ee"]))),
                ("pkix_cd", "true"),
                ("mode", "monitor"),
                ("standing", "[normal, quarantined]"),
                ("when", "{until: 2020-01-01}"),
            )
        ]
        approval = draw(st.sampled_from(["", ", approval: required"])) if what != "refuse: true" else ""
        rules += f'  - {{name: r{number}, identity: ["{pattern}"], {what}{"".join(more)}{approval}}}\n'
    standing = draw(
        st.sampled_from(["{}", "{quarantined: {zone: two}}", "{pending: {zone: two}, quarantined: {zone: two}}"])
    )
    return (
        f"version: 2\nmode: {draw(st.sampled_from(['enforce', 'enforce', 'enforce', 'monitor']))}\n"
        f"networks: {{house: {{ssid: [iot]}}}}\nzones: {{one: {{vlan: 1}}, two: {{vlan: 2}}}}\n"
        f"standing: {standing}\nrules:\n{rules}"
    )


@cache
def parsed(text: str) -> Policy:
    return parse_policy(text.encode())


standings = st.one_of(
    st.none(),
    st.builds(
        DeviceStanding,
        st.sampled_from(Standing),
        st.booleans(),
        st.sampled_from([None, None, "one", "two", "gone"]),
        # The reader of the journal says what counts now.
        st.none(),
    ),
)
# What is known of the standing, or that it cannot be said.
UNAVAILABLE = "unavailable"
standings_or_none = st.one_of(standings, standings, standings, st.just(UNAVAILABLE))
requests = st.sampled_from([RequestFacts("iot", "ap", "192.0.2.1", "Wireless-802.11"), RequestFacts("other", "ap")])
leaves = st.sampled_from([LEAF] * 6 + DEVICES)


def decide(
    leaf: Leaf, policy: Policy, request: RequestFacts, device: DeviceStanding | str | None, answer: Answer
) -> Decision:
    """What the server decides."""

    def standing_of(name: str) -> DeviceStanding | None:
        if isinstance(device, str):
            raise Refused(ReasonCode.STANDING_UNAVAILABLE, f"nothing is known of {name}")
        return device

    prepared = prepare(leaf, policy, request, standing_of, now=NOW.timestamp())
    if isinstance(prepared, Prepared):
        return conclude(prepared, answer, [ANCHOR], NOW)
    return Decision(prepared)


def logged(decision: Decision, request: RequestFacts) -> LoggedDecision:
    fields = request_fields(request, "anonymous")
    found = parse_line(decision_line(decision, at=NOW.timestamp(), seconds=0.001, request=fields))
    assert found is not None
    return found


def agrees(claimed: Outcome, decision: Decision) -> None:
    """The claim, if it is one, is the truth."""
    ruling = decision.ruling
    if claimed.result is Result.UNKNOWN:
        return
    assert (claimed.result is Result.ACCESS) == decision.accepted, (claimed, ruling)
    assert claimed.monitored == ruling.monitored, (claimed, ruling)
    assert claimed.rule == ruling.rule, (claimed, ruling)
    assert claimed.reason is ruling.reason, (claimed, ruling)
    if decision.accepted and ruling.terms is not None:
        assert claimed.zone == ruling.evidence.zone, (claimed, ruling)


SEEN: Counter[str] = Counter()


@settings(max_examples=400)
@given(policy_texts(), policy_texts(), leaves, requests, standings_or_none, answers, st.booleans())
def test_a_claim_is_true(
    old_text: str,
    new_text: str,
    leaf: Leaf,
    request: RequestFacts,
    device: DeviceStanding | str | None,
    answer: Answer,
    knows_old: bool,
) -> None:
    old, new = parsed(old_text), parsed(new_text)
    then, now = decide(leaf, old, request, device, answer), decide(leaf, new, request, device, answer)
    decision = logged(then, request)
    if then.ruling.name is not None:
        assert decision.device == (None if isinstance(device, str) else device)
    run = Replay(new, old if knows_old else None)
    run.add(decision)
    assert run.contradictions == 0
    strength = next((rule.require for rule in old.rules if rule.name == decision.rule), None) if knows_old else None
    claimed = Replayer(new).outcome(decision, strength)
    SEEN[claimed.result] += 1
    agrees(claimed, now)


@settings(max_examples=300)
@given(policy_texts(), leaves, requests, standings_or_none, answers)
def test_the_same_policy_changes_nothing(
    text: str, leaf: Leaf, request: RequestFacts, device: DeviceStanding | str | None, answer: Answer
) -> None:
    """Nothing but records that the line does not show leaves a doubt."""
    policy = parsed(text)
    decision = logged(decide(leaf, policy, request, device, answer), request)
    run = Replay(policy, policy)
    run.add(decision)
    doubts = {Change.UNKNOWN} if not decision.complete or decision.set_aside else set()
    assert {change for change, count in run.counts.items() if count} <= {Change.SAME, *doubts}


STRENGTHS = [
    "version: 2\nzones: {one: {vlan: 1}}\nrules:\n"
    f'  - {{name: r0, identity: ["**._device.example.net"], require: {require}, pkix_cd: {pkix_cd}, zone: one}}\n'
    for require in ("any", "no_ca", "pkix", "dane_ee")
    for pkix_cd in ("true", "false")
]


def check_claim_about_records(old_text: str, new_text: str, answer: Answer) -> None:
    old, new = parsed(old_text), parsed(new_text)
    decision = logged(decide(LEAF, old, RequestFacts("iot"), None, answer), RequestFacts("iot"))
    truth = decide(LEAF, new, RequestFacts("iot"), None, answer)
    for strength in (None, old.rules[0].require):
        agrees(Replayer(new).outcome(decision, strength), truth)


@pytest.mark.parametrize("records", SPECIAL)
def test_a_claim_about_special_records_is_true(records: tuple[TlsaRecord, ...]) -> None:
    for old_text, new_text in product(STRENGTHS, STRENGTHS):
        check_claim_about_records(old_text, new_text, Secure(records, 300))


@settings(max_examples=400)
@given(st.sampled_from(STRENGTHS), st.sampled_from(STRENGTHS), answers)
def test_a_claim_about_records_is_true(old_text: str, new_text: str, answer: Answer) -> None:
    check_claim_about_records(old_text, new_text, answer)


def test_most_claims_are_claims() -> None:
    """The test above cannot pass by saying nothing."""
    test_a_claim_is_true()
    total = sum(SEEN.values())
    assert SEEN[Result.UNKNOWN] < total / 2
    assert SEEN[Result.ACCESS] > total / 20
    assert SEEN[Result.REFUSED] > total / 10
