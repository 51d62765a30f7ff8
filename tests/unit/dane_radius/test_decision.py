"""The decision as a pure function: each way to a reject has its own reason, and everything else is an accept.

Chains and record matching have their own table in tests/conformance.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from dane_radius.core.answers import Absence, Answer, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from dane_radius.core.certificate import Leaf, parse_leaf
from dane_radius.core.decision import (
    MAX_CACHED_OCTETS,
    Prepared,
    chargeable_user_identity,
    conclude,
    prepare,
    rule_by_answer,
)
from dane_radius.core.reasons import ReasonCode, Refused, Verdict
from dane_radius.core.ruling import Decision, Evidence, Ruling, refuse, session_terms
from dane_radius.core.tlsa import TlsaRecord
from policy import Grant, Policy, RequestFacts, parse_policy
from tests.conformance.world import NAME, NOW, anchor, build, ca, leaf
from tests.harness.pki import Identity

PLAIN = build((ca("root"), leaf()))
DEVICE = PLAIN["leaf"]
LEAF = parse_leaf(DEVICE.der)
RULES = """
networks: {lab: {ssid: [lab]}}
quarantine: {identity: ["q*.camera._device.example.net"], grant: {vlan: 666, session_timeout: 60}}
rules:
  - {name: stolen, identity: [s1.camera._device.example.net], deny: true}
  - {name: lab, identity: ["*.lab._device.example.net"], networks: [lab], grant: {vlan: 9}}
  - {name: watched, identity: ["*.watched._device.example.net"], mode: monitor, grant: {vlan: 8, session_timeout: 1h}}
  - {name: cameras, identity: ["*.camera._device.example.net"], grant: {vlan: 7, session_timeout: 8h}}
"""
POLICY = parse_policy(f"version: 1\n{RULES}".encode())
MONITOR = parse_policy(f"version: 1\nmode: monitor\n{RULES}".encode())
HERE = RequestFacts(ssid="iot", nas_identifier="ap-1")


def device(*names: str) -> Leaf:
    return parse_leaf(build((ca("root"), leaf(names=names)))["leaf"].der)


def decided(
    answer: Answer, certificate: Leaf = LEAF, policy: Policy = POLICY, request: RequestFacts = HERE, now: datetime = NOW
) -> Decision:
    prepared = prepare(certificate, policy, request, now=now.timestamp())
    assert isinstance(prepared, Prepared)
    return conclude(prepared, answer, [], now)


def vouched(identity: Identity = DEVICE, ttl: int = 3600) -> Secure:
    return Secure((identity.tlsa(3, 1, 1),), ttl)


def test_an_accept_contains_the_name_the_reason_and_the_access() -> None:
    decision = decided(vouched())
    assert decision.accepted
    assert (decision.ruling.verdict, decision.ruling.reason) == (Verdict.ACCEPT, ReasonCode.DANE_MATCH)
    assert (decision.ruling.name, decision.ruling.rule, decision.ruling.monitored) == (NAME, "cameras", False)
    found = {name: value for name, _, value in decision.attributes}
    assert found["User-Name"] == NAME
    assert found["Tunnel-Private-Group-Id:0"] == "7"
    assert decision.ttl == 3600
    assert decision.ruling.evidence.dns == "secure"
    assert decision.ruling.evidence.matched == DEVICE.tlsa(3, 1, 1).short
    assert json.loads(json.dumps(decision.to_json()))["reason"] == "dane_match"


@pytest.mark.parametrize(
    ("answer", "code", "dns"),
    [
        (SecureAbsent(Absence.NXDOMAIN, 5), ReasonCode.TLSA_ABSENT, "secure NXDOMAIN"),
        (SecureAbsent(Absence.NODATA, 5), ReasonCode.TLSA_ABSENT, "secure NODATA"),
        (Insecure("no AD flag"), ReasonCode.DNS_INSECURE, "insecure"),
        (Bogus(7, "expired"), ReasonCode.DNS_BOGUS, "bogus, EDE 7: expired"),
        (Unavailable("no answer"), ReasonCode.DNS_UNAVAILABLE, "unavailable"),
        (Unavailable("too many", overloaded=True), ReasonCode.DNS_OVERLOADED, "unavailable"),
        (Secure((), 60, ("TLSA data of 2 octets",)), ReasonCode.TLSA_UNUSABLE, "secure"),
        (Secure((TlsaRecord(3, 1, 1, b"\0" * 32),), 60), ReasonCode.TLSA_MISMATCH, "secure"),
    ],
)
def test_every_other_answer_is_a_reject_with_its_reason(answer: Answer, code: ReasonCode, dns: str) -> None:
    decision = decided(answer)
    assert (decision.ruling.verdict, decision.ruling.reason) == (Verdict.REJECT, code)
    assert decision.attributes == ()
    assert decision.ruling.evidence.dns == dns
    assert decision.ruling.evidence.matched is None
    # In monitor mode, the same answer gives an accept that is marked and has the shortest session.
    watched = decided(answer, device("a1.watched._device.example.net"))
    assert watched.ruling.reason is code
    assert (watched.ruling.verdict, watched.ruling.monitored) == (Verdict.ACCEPT, True)
    found = {name: value for name, _, value in watched.attributes}
    assert found["Session-Timeout"] == "60"
    assert found["Tunnel-Private-Group-Id:0"] == "8"


@given(st.integers(0, 90_000), st.booleans(), st.integers(0, 40 * 86_400))
def test_a_cached_ruling_equals_a_new_one(ttl: int, cached: bool, later: int) -> None:
    """The cache of rulings must not change a decision."""
    now = NOW + timedelta(seconds=later)
    answer, key = vouched(), b"k" * 32
    known, fresh = (
        prepare(LEAF, POLICY, RequestFacts(ssid="iot", wants_cui=True), now=NOW.timestamp()) for _ in range(2)
    )
    assert isinstance(known, Prepared)
    assert isinstance(fresh, Prepared)
    first = conclude(known, answer, [], NOW, cui_key=key)
    again = conclude(known, answer.aged(ttl), [], now, cached=cached, cui_key=key)
    assert again.ruling is first.ruling
    assert again == conclude(fresh, answer.aged(ttl), [], now, cached=cached, cui_key=key)
    assert (again.ttl, again.cached) == (ttl, cached)


def test_a_change_of_any_input_gives_a_new_ruling() -> None:
    prepared = prepare_anew()
    answer = vouched(ttl=3600)
    first = conclude(prepared, answer, [], NOW)
    again = conclude(prepared, answer.aged(20), [], NOW, cached=True)
    assert (first.accepted, again.accepted) == (True, True)
    assert {a: v for a, _, v in first.attributes}["Session-Timeout"] == "28800"
    assert {a: v for a, _, v in again.attributes}["Session-Timeout"] == "240"
    other = DEVICE.tlsa(3, 0, 2)
    for changed, code in (
        (Secure((other._replace(data=bytes(64)),), 3600), ReasonCode.TLSA_MISMATCH),
        (Secure((other._replace(usage=9),), 3600), ReasonCode.TLSA_UNUSABLE),
        (SecureAbsent(Absence.NODATA, 5), ReasonCode.TLSA_ABSENT),
        (Insecure("unsigned"), ReasonCode.DNS_INSECURE),
    ):
        refused = conclude(prepared, changed, [], NOW)
        assert (refused.accepted, refused.ruling.reason) == (False, code)
        assert "Session-Timeout" not in {name for name, _, _ in refused.attributes}
    stale = conclude(prepared, Secure(answer.records, 0, stale=True), [], NOW)
    assert stale.ruling.evidence.dns == "secure, stale"
    assert {a: v for a, _, v in stale.attributes}["Session-Timeout"] == "60"
    elsewhere = conclude(prepared, Secure(answer.records, 3600, (), "keys.example.org"), [], NOW)
    assert elsewhere.ruling.evidence.dns == "secure, CNAME to keys.example.org"


def test_another_cui_key_gives_another_identifier() -> None:
    prepared = prepare(LEAF, POLICY, RequestFacts(ssid="iot", wants_cui=True), now=NOW.timestamp())
    assert isinstance(prepared, Prepared)
    handles = set()
    for key in (b"k" * 32, b"l" * 32, None, b"k" * 32):
        decision = conclude(prepared, vouched(), [], NOW, cui_key=key)
        handles.add({name: value for name, _, value in decision.attributes}.get("Chargeable-User-Identity"))
    assert len(handles) == 3
    assert None in handles


def test_a_ruling_by_a_path_is_not_cached() -> None:
    """It depends on the anchors and on the clock."""
    prepared = prepare_anew()
    answer = Secure((PLAIN["root"].tlsa(2, 0, 1),), 3600)
    assert rule_by_answer(prepared, answer) is None
    held = [anchor(PLAIN["root"])]
    assert conclude(prepared, answer, held, NOW).accepted
    assert conclude(prepared, answer, [], NOW).ruling.reason is ReasonCode.CHAIN_INVALID
    assert conclude(prepared, answer, held, NOW + timedelta(days=1000)).ruling.reason is ReasonCode.CHAIN_INVALID
    assert conclude(prepared, answer, held, NOW).accepted


def prepare_anew() -> Prepared:
    prepared = prepare(LEAF, POLICY, HERE, now=NOW.timestamp())
    assert isinstance(prepared, Prepared)
    return prepared


def test_the_evidence_contains_malformed_records() -> None:
    decision = decided(Secure((DEVICE.tlsa(), TlsaRecord(9, 1, 1, b"\1" * 32)), 60, ("TLSA data of 2 octets",)))
    assert decision.accepted
    assert ("(malformed)", "TLSA data of 2 octets") in decision.ruling.evidence.set_aside
    assert any("unknown usage 9" in why for _, why in decision.ruling.evidence.set_aside)


def test_the_evidence_contains_the_cname_and_staleness() -> None:
    decision = decided(Secure((DEVICE.tlsa(),), 0, (), "keys.example.org", stale=True))
    assert decision.ruling.evidence.dns == "secure, stale, CNAME to keys.example.org"
    # A stale answer has no TTL left, so the session is the shortest that policy allows.
    assert ("Session-Timeout", "60") in {(name, value) for name, _, value in decision.attributes}


# --- before the DNS --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("x1.printer._device.example.net",), ReasonCode.POLICY_NO_RULE),
        (("a1.camera._device.example.org",), ReasonCode.POLICY_NO_RULE),
        (("a1.lab._device.example.net",), ReasonCode.POLICY_NETWORK),
        (("s1.camera._device.example.net",), ReasonCode.POLICY_DENIED),
        (("a1.camera._device.example.net", "a2.camera._device.example.net"), ReasonCode.SAN_AMBIGUOUS),
        (("a1.example.org", "a2.example.org"), ReasonCode.SAN_AMBIGUOUS),
        # Rules cover both names, though only one of them at this network: still ambiguous.
        (("a1.camera._device.example.net", "a1.lab._device.example.net"), ReasonCode.SAN_AMBIGUOUS),
        (("a1.camera._device.example.net", "s1.camera._device.example.net"), ReasonCode.SAN_AMBIGUOUS),
        ((), ReasonCode.SAN_MISSING),
        (("*.camera._device.example.net",), ReasonCode.NAME_WILDCARD),
        (("a1.camera._device.example.net", "*.example.org"), ReasonCode.NAME_WILDCARD),
    ],
)
def test_rejects_that_need_no_dns(names: tuple[str, ...], code: ReasonCode) -> None:
    ruling = prepare(device(*names), POLICY, HERE, now=NOW.timestamp())
    assert isinstance(ruling, Ruling)
    assert (ruling.verdict, ruling.reason) == (Verdict.REJECT, code)
    assert ruling.attributes == ()
    watched = prepare(device(*names), MONITOR, HERE, now=NOW.timestamp())
    assert isinstance(watched, Ruling)
    assert (watched.verdict, watched.reason, watched.monitored) == (Verdict.ACCEPT, code, True)


def test_the_only_name_that_policy_covers_is_the_identity() -> None:
    prepared = prepare(
        device("a1.example.org", NAME, "A1.Camera._Device.Example.Net."), POLICY, HERE, now=NOW.timestamp()
    )
    assert isinstance(prepared, Prepared)
    assert prepared.name == NAME
    assert prepared.evidence.names == ("a1.example.org", NAME)


def test_an_internal_error_is_a_reject_even_in_monitor_mode() -> None:
    ruling = refuse(Refused(ReasonCode.INTERNAL_ERROR, "x"), MONITOR)
    assert (ruling.verdict, ruling.monitored) == (Verdict.REJECT, False)


# --- grants ----------------------------------------------------------------------------------------------------------


def test_a_quarantined_device_gets_the_quarantine_access() -> None:
    quarantined = build((ca("root"), leaf(names=("q1.camera._device.example.net",))))["leaf"]
    decision = decided(vouched(quarantined), parse_leaf(quarantined.der))
    found = {name: value for name, _, value in decision.attributes}
    assert decision.accepted
    assert decision.ruling.evidence.standing == "quarantined"
    assert (found["Tunnel-Private-Group-Id:0"], found["Session-Timeout"]) == ("666", "60")
    # Quarantine is for authenticated devices: a device that the DNS does not vouch for is refused.
    assert not decided(vouched(), parse_leaf(quarantined.der)).accepted


@pytest.mark.parametrize(
    ("grant", "ttl", "left", "expected"),
    [
        (28800, 3600, 1e6, 28800),
        (28800, 300, 1e6, 3600),
        (28800, 0, 1e6, 60),
        (28800, 1, 1e6, 60),
        (28800, 6, 1e6, 72),
        (60, 2**31 - 1, 1e6, 60),
        (28800, 3600, 500, 500),
        (28800, 3600, 5, 5),
        (28800, 3600, 0.5, 1),
        (28800, 3600, 0, 1),
        # Expired: only a DANE-EE record can match, and RFC 7671 section 5.1 ignores the dates then.
        (28800, 3600, -0.5, 28800),
        (28800, 300, -86400, 3600),
    ],
)
def test_session_timeout(grant: int, ttl: int, left: float, expected: int) -> None:
    terms = session_terms(Grant(session_timeout=grant), Policy((), ttl_factor=12, minimum_session=60), LEAF)
    assert terms.seconds(ttl, LEAF.not_after.timestamp() - left) == expected


@given(
    st.integers(60, 604800),
    st.integers(0, 2**31 - 1),
    st.floats(-1e6, 1e7),
    st.integers(1, 1000),
    st.integers(30, 86400),
)
@settings(deadline=None)
def test_the_session_timeout_stays_within_its_limits(
    grant: int, ttl: int, left: float, factor: int, minimum: int
) -> None:
    policy = Policy((), ttl_factor=factor, minimum_session=minimum)
    terms = session_terms(Grant(session_timeout=grant), policy, LEAF)
    seconds = terms.seconds(ttl, terms.certificate_end - left)
    assert type(seconds) is int
    assert 1 <= seconds <= min(grant, max(ttl * factor, minimum))
    if left >= 1:
        assert seconds <= left


def test_the_cui_is_stable_opaque_and_sent_on_request_only() -> None:
    handle = chargeable_user_identity(NAME, b"k" * 16)
    assert handle == chargeable_user_identity(NAME, b"k" * 16)
    assert handle not in (chargeable_user_identity(NAME, b"j" * 16), chargeable_user_identity("b.example", b"k" * 16))
    assert handle is not None
    assert NAME not in handle
    assert chargeable_user_identity(NAME, None) is None
    for wanted, key, given_out in ((True, b"k" * 16, True), (False, b"k" * 16, False), (True, None, False)):
        prepared = prepare(LEAF, POLICY, RequestFacts(wants_cui=wanted), now=NOW.timestamp())
        assert isinstance(prepared, Prepared)
        decision = conclude(prepared, vouched(), [], NOW, cui_key=key)
        assert ("Chargeable-User-Identity" in {name for name, _, _ in decision.attributes}) is given_out


@pytest.mark.parametrize(
    ("mode", "wants", "sent"),
    [("never", True, False), ("when_asked", True, True), ("when_asked", False, False), ("always", False, True)],
)
def test_the_modes_of_the_cui(mode: str, wants: bool, sent: bool) -> None:
    policy = parse_policy(
        f"version: 2\ncui: {mode}\nzones: {{a: {{}}}}\nrules: [{{name: r, identity: ['{NAME}'], zone: a}}]\n".encode()
    )
    for key, expected in ((b"k" * 16, sent), (None, False)):
        prepared = prepare(LEAF, policy, RequestFacts(wants_cui=wants), now=NOW.timestamp())
        assert isinstance(prepared, Prepared)
        decision = conclude(prepared, vouched(), [], NOW, cui_key=key)
        assert ("Chargeable-User-Identity" in {name for name, _, _ in decision.attributes}) is expected


# --- chains, as far as the decision adds to them ---------------------------------------------------------------------


def test_the_evidence_contains_the_chain_or_why_there_is_none() -> None:
    prepared = prepare(LEAF, POLICY, HERE, now=NOW.timestamp())
    assert isinstance(prepared, Prepared)
    answer = Secure((PLAIN["root"].tlsa(2, 0, 1),), 60)
    good = conclude(prepared, answer, [anchor(PLAIN["root"])], NOW)
    assert good.ruling.evidence.chain == "leaf < CN=CA root"
    late = conclude(prepared, answer, [anchor(PLAIN["root"])], NOW + timedelta(days=1000))
    assert late.ruling.reason is ReasonCode.CHAIN_INVALID
    assert any("expired" in failure for failure in late.ruling.evidence.chain_failures)
    unknown = conclude(prepared, answer, [], NOW)
    assert "neither held as an anchor nor published" in unknown.ruling.detail


def test_a_certificate_that_cryptography_cannot_parse_is_a_reject_with_a_reason() -> None:
    """cryptography raises a special exception for EDIPartyName. In a chain it must become a chain failure."""
    from tests.unit.dane_radius.test_certificate import with_raw_extension
    from tests.unit.dane_radius.test_der import tlv

    san = tlv(0x30, tlv(0x82, NAME.encode()) + tlv(0xA5, tlv(0xA1, tlv(0x0C, b"x"))))
    odd = parse_leaf(with_raw_extension(san))
    with pytest.raises(x509.UnsupportedGeneralNameType):
        _ = x509.load_der_x509_certificate(odd.der).extensions
    prepared = prepare(odd, POLICY, HERE, now=NOW.timestamp())
    assert isinstance(prepared, Prepared)
    decision = conclude(prepared, Secure((PLAIN["root"].tlsa(2, 0, 1),), 60), [anchor(PLAIN["root"])], NOW)
    assert decision.ruling.reason is ReasonCode.CHAIN_INVALID


def test_the_json_evidence_omits_empty_fields() -> None:
    assert Evidence().to_json() == {}
    assert Evidence(names=("a",)).to_json() == {"names": ["a"]}
    ruling = Ruling(Verdict.REJECT, ReasonCode.TLSA_ABSENT, "d", evidence=Evidence(names=("a",)))
    assert Decision(ruling).to_json()["evidence"] == {"names": ["a"]}
    assert Decision(ruling, 0, cached=True).to_json()["evidence"] == {"names": ["a"], "ttl": 0, "cached": True}


# --- keys ------------------------------------------------------------------------------------------------------------


def test_a_dsa_key_is_refused_whatever_the_dns_says() -> None:
    weak = build((ca("root"), leaf(key="dsa2048")))["leaf"]
    ruling = prepare(parse_leaf(weak.der), POLICY, HERE, now=NOW.timestamp())
    assert isinstance(ruling, Ruling)
    assert (ruling.verdict, ruling.reason) == (Verdict.REJECT, ReasonCode.CERTIFICATE_KEY_UNUSABLE)
    for kind in ("p256", "p384", "p521", "ed25519", "rsa2048"):
        good = build((ca("root"), leaf(key=kind)))["leaf"]
        assert decided(vouched(good), parse_leaf(good.der)).accepted


# --- memory ----------------------------------------------------------------------------------------------------------


def test_large_rrsets_and_certificates_are_not_cached() -> None:
    """A zone chooses how much it publishes; the cache of rulings must not hold thousands of large RRsets."""
    prepared = prepare_anew()
    padding = tuple(TlsaRecord(3, 0, 0, bytes([number]) * 1000) for number in range(5))
    for records, cached in (
        ((DEVICE.tlsa(),), True),
        ((DEVICE.tlsa(), *padding[:3]), True),
        ((DEVICE.tlsa(), *padding), False),
    ):
        first, again = (rule_by_answer(prepared, Secure(records, 60)) for _ in range(2))
        assert first is not None
        assert first == again
        assert first.accepted
        assert (first is again) is cached
    large = device(*(f"a{number}.{'x' * 60}.example.net" for number in range(100)), NAME)
    assert len(large.der) > MAX_CACHED_OCTETS
    ready = prepare(large, POLICY, HERE, now=NOW.timestamp())
    assert isinstance(ready, Prepared)
    rulings = [rule_by_answer(ready, vouched()) for _ in range(2)]
    assert rulings[0] == rulings[1]
    assert rulings[0] is not rulings[1]
