"""The pure core: what records lead to, whether sessions go on, which addresses may be reached."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.core.anchor_record import AnchorRecord, AnchorSource
from dane_radius.core.answers import Absence, Answer, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from dane_radius.core.tlsa import TlsaRecord
from tests.harness.pki import authority, self_signed
from trust_sync.addresses import refusal
from trust_sync.certificate import CertificateProblem, CertificateRefused
from trust_sync.config import RegistryConfig
from trust_sync.fetch import max_age
from trust_sync.leads import DeadEnd, Fetch, Found, Lead, check_fetched, leads
from trust_sync.messages import AnchorMessage, read_anchor
from trust_sync.reasons import Reason
from trust_sync.registry_anchors import outdated
from trust_sync.standing import Cause, Trigger, Watch, judge, retry_after, watch_changes

NOW = datetime.now(UTC)
NAME = "a1.camera._device.example.net"
CA = authority("Vendor CA")
DEVICE = CA.issue(NAME)


def follow(*records: TlsaRecord, name: str = NAME, pkix_cd: bool = True, now: datetime = NOW) -> list[Lead]:
    return leads(records, name, now, pkix_cd=pkix_cd)


def test_a_ca_in_the_dns_is_an_anchor_for_its_identity_domain() -> None:
    (lead,) = follow(CA.tlsa(2, 0, 0))
    assert isinstance(lead, Found)
    assert (lead.certificate.der, lead.domains, lead.source) == (CA.der, ("_device.example.net",), AnchorSource.DANE_TA)


def test_a_device_certificate_is_an_anchor_for_its_own_name_only() -> None:
    device = self_signed(NAME)
    (lead,) = follow(device.tlsa(3, 0, 0))
    assert isinstance(lead, Found)
    assert (lead.domains, lead.source) == ((NAME,), AnchorSource.LEAF)


def test_an_issued_device_certificate_has_its_ca_as_second_choice() -> None:
    first, second = follow(DEVICE.tlsa(3, 0, 0))
    assert isinstance(first, Found)
    assert isinstance(second, Fetch)
    assert (second.host, second.path) == ("device.example.net", f"/.well-known/ca/{CA.ski.hex('-')}.pem")


@pytest.mark.parametrize("usage", [1, 4])
def test_pkix_usages_lead_to_the_authority_url(usage: int) -> None:
    (lead,) = follow(DEVICE.tlsa(usage, 0, 0))
    assert isinstance(lead, Fetch)
    assert check_fetched(lead, CA.pem, NAME, NOW).domains == ("_device.example.net",)


def test_usage_4_needs_the_policys_consent() -> None:
    assert follow(DEVICE.tlsa(4, 0, 0), pkix_cd=False) == []


@pytest.mark.parametrize("record", [DEVICE.tlsa(3, 1, 1), DEVICE.tlsa(3, 1, 0), CA.tlsa(2, 0, 1), CA.tlsa(0, 0, 0)])
def test_records_without_a_usable_certificate_lead_nowhere(record: TlsaRecord) -> None:
    assert follow(record) == []


DEAD_ENDS = {
    "no CA": (authority("x", ca=False).tlsa(2, 0, 0), NAME, NOW, Reason.NOT_A_CA),
    "expired CA": (CA.tlsa(2, 0, 0), NAME, NOW + timedelta(days=400), Reason.EXPIRED),
    "future CA": (CA.tlsa(2, 0, 0), NAME, NOW - timedelta(days=4), Reason.NOT_YET_VALID),
    "expired device": (DEVICE.tlsa(4, 0, 0), NAME, NOW + timedelta(days=31), Reason.EXPIRED),
    "other name": (DEVICE.tlsa(3, 0, 0), "b2.camera._device.example.net", NOW, Reason.WRONG_NAME),
    "no name": (CA.issue().tlsa(3, 0, 0), NAME, NOW, Reason.WRONG_NAME),
    "no authority": (CA.issue("a1.iot.example.net").tlsa(4, 0, 0), "a1.iot.example.net", NOW, Reason.NO_AUTHORITY),
}


@pytest.mark.parametrize("case", DEAD_ENDS)
def test_dead_ends_say_why(case: str) -> None:
    record, name, now, reason = DEAD_ENDS[case]
    (lead,) = follow(record, name=name, now=now)
    assert isinstance(lead, DeadEnd)
    assert lead.reason is reason


def test_a_good_record_beside_bad_ones_is_found_first() -> None:
    bad = TlsaRecord(2, 0, 0, b"\x30\x82" + bytes(100))
    found = follow(bad, authority("x", ca=False).tlsa(2, 0, 0), CA.tlsa(2, 0, 0))
    assert isinstance(found[0], Found)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 3), st.binary(max_size=200)), max_size=5)
)
def test_any_records_give_leads_or_nothing(records: list[tuple[int, int, int, bytes]]) -> None:
    for lead in follow(*(TlsaRecord(*record) for record in records)):
        assert isinstance(lead, DeadEnd)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (authority("Other").pem, CertificateProblem.WRONG_KEY_IDENTIFIER),
        (authority("Other", ski=CA.ski).pem, CertificateProblem.WRONG_SIGNATURE),
        (DEVICE.pem, CertificateProblem.NOT_A_CA),
        (CA.pem + CA.pem, CertificateProblem.NOT_A_CERTIFICATE),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", CertificateProblem.NOT_A_CERTIFICATE),
        (b"", CertificateProblem.NOT_A_CERTIFICATE),
    ],
)
def test_what_was_fetched_must_have_issued_the_certificate_in_the_dns(body: bytes, problem: CertificateProblem) -> None:
    (lead,) = follow(DEVICE.tlsa(4, 0, 0))
    assert isinstance(lead, Fetch)
    with pytest.raises(CertificateRefused) as caught:
        check_fetched(lead, body, NAME, NOW)
    assert caught.value.problem is problem


# standing

ONE, TWO = TlsaRecord(3, 1, 1, b"1" * 32), TlsaRecord(3, 1, 1, b"2" * 32)


def secure(*records: TlsaRecord, ttl: int = 60) -> Secure:
    return Secure(records, ttl)


def seen(*records: TlsaRecord, trigger: Trigger = Trigger.TTL, attempts: int = 0) -> Watch:
    return Watch(NAME, 0.0, frozenset(map(str, records)) if records else None, attempts, trigger)


@pytest.mark.parametrize(
    ("watch", "answer", "end"),
    [
        (seen(ONE), secure(ONE), None),
        (seen(), secure(ONE), None),
        (seen(ONE), secure(ONE, TWO), None),
        (seen(ONE, TWO), secure(TWO), None),
        (seen(ONE), secure(TWO), Cause.REPLACED),
        (seen(ONE), SecureAbsent(Absence.NXDOMAIN, 5), Cause.ABSENT),
        (seen(), SecureAbsent(Absence.NODATA, 5), Cause.ABSENT),
        (seen(trigger=Trigger.ROLLOVER), secure(ONE), Cause.ROLLOVER),
        (seen(ONE, trigger=Trigger.ROLLOVER), secure(ONE), None),
        (seen(ONE, trigger=Trigger.ROLLOVER), secure(TWO), Cause.REPLACED),
        (seen(ONE), Insecure("no AD"), None),
        (seen(ONE), Bogus(6, ""), None),
        (seen(ONE), Unavailable("time-out"), None),
        (seen(ONE, trigger=Trigger.REVOKED), Unavailable("time-out"), None),
    ],
)
def test_only_a_validated_answer_ends_sessions(watch: Watch, answer: Answer, end: Cause | None) -> None:
    judgement = judge(watch, answer, 100.0, 5.0)
    assert judgement.end is end
    assert judgement.watch.due > 100.0


def test_after_an_outage_what_was_known_before_still_counts() -> None:
    judgement = judge(seen(ONE), Unavailable("down"), 0.0, 5.0)
    assert judge(judgement.watch, secure(TWO), 10.0, 5.0).end is Cause.REPLACED


def test_a_revocation_that_the_dns_does_not_show_yet_is_looked_for_again_soon_and_not_for_ever() -> None:
    watch, now, looks = seen(ONE, trigger=Trigger.REVOKED), 0.0, 0
    while watch.trigger is Trigger.REVOKED:
        judgement = judge(watch, secure(ONE), now, 5.0)
        assert judgement.end is None
        watch, looks = judgement.watch, looks + 1
        now = watch.due
    assert looks == 7
    assert now < 100


@pytest.mark.parametrize("answer", [Unavailable("x"), Bogus(7, "expired"), Insecure("x")])
def test_failures_back_off_up_to_a_bound(answer: Answer) -> None:
    watch, waits = seen(ONE), []
    for _ in range(12):
        watch = judge(watch, answer, 0.0, 5.0).watch
        waits.append(watch.due)
    assert waits == sorted(waits)
    assert waits[0] < 5
    assert waits[-1] == 300.0
    assert watch.records == frozenset({str(ONE)})


@pytest.mark.parametrize("trigger", [Trigger.REVOKED, Trigger.FEED, Trigger.ROLLOVER])
def test_after_news_a_resolver_that_stumbles_costs_less_than_a_second(trigger: Trigger) -> None:
    watch, waits = seen(ONE, trigger=trigger), []
    for _ in range(16):
        watch = judge(watch, Unavailable("SERVFAIL"), 0.0, 5.0).watch
        waits.append(watch.due)
    assert sum(waits[:3]) < 1
    assert waits[-1] == 300.0
    assert watch.trigger is trigger


@given(st.integers(0, 10_000))
def test_retries_stay_within_bounds(attempts: int) -> None:
    assert 2.0 <= retry_after(attempts, 2.0, 300.0) <= 300.0


def test_names_come_and_go_with_their_sessions() -> None:
    assert watch_changes({"a", "b"}, {"b", "c"}) == ({"c"}, {"a"})


# addresses

ALLOWED = (ipaddress.ip_network("192.168.7.0/24"), ipaddress.ip_network("fd00:7::/64"))


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
     "255.255.255.255", "224.0.0.1", "240.0.0.1", "198.18.0.1", "::1", "::", "fe80::1", "fd00::1", "ff02::1",
     "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::1", "fec0::1",
     "127.1", "localhost", "",
     "0x7f000001", "192.168.8.1", "fd00:8::1"],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert refusal(address, ALLOWED)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "192.168.7.9", "fd00:7::1", "::ffff:192.168.7.1"]
)
def test_public_and_allowed_addresses_are_not(address: str) -> None:
    assert refusal(address, ALLOWED) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", None), ("max-age=300", 300), ('public, Max-Age="60"', 60), ("no-store", 0), ("no-cache, max-age=9", 0),
     ("max-age=-1", None), ("max-age=99999999999", None), ("s-maxage=5", None)],
)  # fmt: skip
def test_cache_control(header: str, seconds: float | None) -> None:
    assert max_age(header) == seconds


# registries

REGISTRY = RegistryConfig(name="home", url="https://r.example", api_key_file="/k", domains=["example.net"])


def test_a_registry_speaks_for_its_domains_only() -> None:
    assert read_anchor(AnchorMessage(pem=CA.pem.decode()), "_device.example.net", REGISTRY, NOW).domain
    # The last one would be a command of its own on Unbound's control socket.
    for domain in ("example.org", "notexample.net", "net", "", "*.example.net", "x\nstop\n.example.net"):
        with pytest.raises(ValueError, match=r"outside of|dNSName"):
            read_anchor(AnchorMessage(pem=CA.pem.decode()), domain, REGISTRY, NOW)


def test_a_registrys_anchor_must_be_a_ca_and_what_it_says_it_is() -> None:
    with pytest.raises(CertificateRefused, match="not a CA"):
        read_anchor(AnchorMessage(pem=DEVICE.pem.decode()), "example.net", REGISTRY, NOW)
    with pytest.raises(CertificateRefused, match="fingerprint"):
        read_anchor(AnchorMessage(pem=CA.pem.decode(), fingerprint="00" * 32), "example.net", REGISTRY, NOW)


def test_a_wrong_clock_keeps_no_registry_anchor_out() -> None:
    message = AnchorMessage(pem=CA.pem.decode(), fingerprint=CA.fingerprint)
    for now in (NOW - timedelta(days=9000), NOW + timedelta(days=9000)):
        assert read_anchor(message, "example.net", REGISTRY, now).certificate.der == CA.der


def record(fingerprint: str, *domains: str, source: AnchorSource = AnchorSource.REGISTRY) -> AnchorRecord:
    return AnchorRecord(fingerprint, "f.pem", "CN=x", "", domains, source, NOW, NOW)


def test_a_snapshot_ends_what_it_no_longer_has_and_only_what_is_the_registrys() -> None:
    wanted = {read_anchor(AnchorMessage(pem=CA.pem.decode()), "example.net", REGISTRY, NOW).key}
    held = [
        record(CA.fingerprint, "example.net", "a.example.net", "example.org"),
        record("1" * 64, "example.net"),
        record("2" * 64, "example.org"),
        record("3" * 64, "example.net", source=AnchorSource.DANE_TA),
        record("4" * 64, "example.net", source=AnchorSource.MANUAL),
    ]
    assert outdated(held, REGISTRY, wanted) == [(CA.fingerprint, ["a.example.net"]), ("1" * 64, ["example.net"])]
