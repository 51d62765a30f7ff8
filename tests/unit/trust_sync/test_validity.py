"""Whether the sessions of a name may continue, after each DNS answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.core import Absence, Answer, Bogus, Insecure, Secure, SecureAbsent, TlsaRecord, Unavailable
from trust_sync.sessions import TerminationCause
from trust_sync.sessions.validity import WatchedName, assess, watch_changes
from trust_sync.shared import Trigger, retry_delay

NAME = "a1.camera._device.example.net"


ONE, TWO = TlsaRecord(3, 1, 1, b"1" * 32), TlsaRecord(3, 1, 1, b"2" * 32)


def secure(*records: TlsaRecord, ttl: int = 60) -> Secure:
    return Secure(records, ttl)


def seen(*records: TlsaRecord, trigger: Trigger = Trigger.TTL, attempts: int = 0) -> WatchedName:
    return WatchedName(NAME, 0.0, frozenset(map(str, records)) if records else None, attempts, trigger)


@pytest.mark.parametrize(
    ("watch", "answer", "end"),
    [
        (seen(ONE), secure(ONE), None),
        (seen(), secure(ONE), None),
        (seen(ONE), secure(ONE, TWO), None),
        (seen(ONE, TWO), secure(TWO), None),
        (seen(ONE), secure(TWO), TerminationCause.REPLACED),
        (seen(ONE), SecureAbsent(Absence.NXDOMAIN, 5), TerminationCause.ABSENT),
        (seen(), SecureAbsent(Absence.NODATA, 5), TerminationCause.ABSENT),
        (seen(trigger=Trigger.ROLLOVER), secure(ONE), TerminationCause.ROLLOVER),
        (seen(ONE, trigger=Trigger.ROLLOVER), secure(ONE), None),
        (seen(ONE, trigger=Trigger.ROLLOVER), secure(TWO), TerminationCause.REPLACED),
        (seen(ONE), Insecure("no AD"), None),
        (seen(ONE), Bogus(6, ""), None),
        (seen(ONE), Unavailable("time-out"), None),
        (seen(ONE, trigger=Trigger.REVOKED), Unavailable("time-out"), None),
    ],
)
def test_only_a_validated_answer_ends_sessions(
    watch: WatchedName, answer: Answer, end: TerminationCause | None
) -> None:
    assessment = assess(watch, answer, 100.0, 5.0)
    assert assessment.end is end
    assert assessment.watch.due > 100.0


def test_after_an_outage_what_was_known_before_still_counts() -> None:
    assessment = assess(seen(ONE), Unavailable("down"), 0.0, 5.0)
    assert assess(assessment.watch, secure(TWO), 10.0, 5.0).end is TerminationCause.REPLACED


def test_a_revocation_that_the_dns_does_not_show_yet_is_looked_for_again_soon_and_not_for_ever() -> None:
    watch, now, looks = seen(ONE, trigger=Trigger.REVOKED), 0.0, 0
    while watch.trigger is Trigger.REVOKED:
        assessment = assess(watch, secure(ONE), now, 5.0)
        assert assessment.end is None
        watch, looks = assessment.watch, looks + 1
        now = watch.due
    assert looks == 7
    assert now < 100


@pytest.mark.parametrize("answer", [Unavailable("x"), Bogus(7, "expired"), Insecure("x")])
def test_failures_back_off_up_to_a_bound(answer: Answer) -> None:
    watch, waits = seen(ONE), []
    for _ in range(12):
        watch = assess(watch, answer, 0.0, 5.0).watch
        waits.append(watch.due)
    assert waits == sorted(waits)
    assert waits[0] < 5
    assert waits[-1] == 300.0
    assert watch.records == frozenset({str(ONE)})


@pytest.mark.parametrize("trigger", [Trigger.REVOKED, Trigger.FEED, Trigger.ROLLOVER])
def test_after_news_a_resolver_that_stumbles_costs_less_than_a_second(trigger: Trigger) -> None:
    watch, waits = seen(ONE, trigger=trigger), []
    for _ in range(16):
        watch = assess(watch, Unavailable("SERVFAIL"), 0.0, 5.0).watch
        waits.append(watch.due)
    assert sum(waits[:3]) < 1
    assert waits[-1] == 300.0
    assert watch.trigger is trigger


@given(st.integers(0, 10_000))
def test_retries_stay_within_bounds(attempts: int) -> None:
    assert 2.0 <= retry_delay(attempts, 2.0, 300.0) <= 300.0


def test_names_come_and_go_with_their_sessions() -> None:
    assert watch_changes({"a", "b"}, {"b", "c"}) == ({"c"}, {"a"})
