"""Questions that people answer, and what each answer does."""

from __future__ import annotations

import datetime as dt
from typing import Any

from operations.core.approvals import Answer
from operations.core.standing import Subject
from operations.service import approvals, questions, standings
from operations.service.access import Principal
from operations.service.schemas import (
    AnswerBody,
    Approval,
    StandingResult,
)
from tests.unit.operations.asking import HOUR, put, refusal, standing_of
from tests.unit.operations.conftest import CAMERA, IDS, NOW, WHO, Bench, admitted, refused
from web_service.core import Reason


def waiting(name: str = CAMERA, **fields: Any) -> Any:
    return admitted(name, evidence={"zone": "waiting", "standing": "pending"}, **fields)


def asked(bench: Bench) -> list[Any]:
    return bench.read(lambda s: questions.find_open(s, WHO)).questions


def reply(bench: Bench, answer: Answer, name: str = CAMERA, who: Principal = WHO) -> Any:
    return bench.write(lambda s: approvals.answer(s, who, name, AnswerBody(answer=answer), NOW))


def test_a_household_is_asked_once_what_it_can_answer(bench: Bench) -> None:
    bench.report(waiting(), waiting(at=NOW + HOUR))
    (question,) = asked(bench)
    assert (question.name, question.maker, question.type, question.place, question.proven) == (
        CAMERA, "example.net", "camera", "home", True,
    )  # fmt: skip
    assert not any(word in str(question) for word in ("3 1 1", "SHA", "00ff"))


def test_yes(bench: Bench) -> None:
    bench.report(waiting())
    assert reply(bench, Answer.YES).standing.approved
    assert asked(bench) == []
    (event,) = bench.events()
    assert (event["name"], event["approved"], event["standing"], event["removed"]) == (CAMERA, True, "normal", False)
    bench.report(waiting(), batch="again")
    assert asked(bench) == []


def test_no_blocks_the_device_and_only_it(bench: Bench) -> None:
    other = "b2.camera._device.example.net"
    bench.report(waiting(), waiting(other))
    reply(bench, Answer.NO)
    assert standing_of(bench) == "blocked"
    assert [question.name for question in asked(bench)] == [other]
    bench.report(waiting(), batch="again")
    assert [question.name for question in asked(bench)] == [other]


def test_always_is_for_every_device_of_the_maker_and_no_other(bench: Bench) -> None:
    same, other = "b2.camera._device.example.net", "c3.camera._device.other.example"
    bench.report(waiting(), waiting(same), waiting(other))
    assert reply(bench, Answer.ALWAYS).closed == [CAMERA, same]
    assert [question.name for question in asked(bench)] == [other]
    assert {(event["subject"], event["name"]) for event in bench.events() if event["approved"]} == {
        ("device", CAMERA),
        ("maker", "example.net"),
    }
    bench.report(waiting("d4.camera._device.example.net"), batch="again")
    assert [question.name for question in asked(bench)] == [other]


def test_always_is_refused_as_a_whole_if_no_node_would_take_the_maker(bench: Bench) -> None:
    """`lan` is one label, which nobody owns."""
    name = "a1._device.lan"
    bench.report(waiting(name))
    with refusal(Reason.INVALID_NAME):
        reply(bench, Answer.ALWAYS, name)
    assert bench.events() == []
    assert [question.name for question in asked(bench)] == [name]
    assert reply(bench, Answer.YES, name).standing.approved


def test_an_approval_does_not_end_a_quarantine(bench: Bench) -> None:
    bench.report(waiting())
    put(bench, "quarantined")
    reply(bench, Answer.YES)
    assert standing_of(bench) == "quarantined"


def test_an_approval_cancels_no_quarantine_that_was_announced(bench: Bench) -> None:
    put(bench, "pending", seconds=3600, then="quarantined")
    bench.report(waiting())
    assert reply(bench, Answer.YES).standing.standing == "normal"
    assert standing_of(bench, now=NOW + HOUR) == "quarantined"


def test_nobody_answers_what_was_not_asked_or_without_the_scope(bench: Bench) -> None:
    with refusal(Reason.NOT_FOUND):
        reply(bench, Answer.YES)
    bench.report(waiting())
    with refusal(Reason.FORBIDDEN):
        reply(bench, Answer.YES, who=IDS)
    assert bench.events() == []


def test_strangers_cannot_flood_people_with_questions(bench: Bench) -> None:
    bench.report(*(refused(f"s{number}.camera._device.example.net", reason="approval_pending") for number in range(50)))
    assert len(asked(bench)) == 2
    assert not any(question.proven for question in asked(bench))
    # A device that has proven its name is asked about, and comes first.
    bench.report(waiting())
    assert next(question.name for question in asked(bench)) == CAMERA
    assert len(asked(bench)) == 3


def test_a_stranger_cannot_change_the_place_of_a_question(bench: Bench) -> None:
    bench.report(waiting())
    bench.report(refused(reason="approval_pending", ssid="Elsewhere", nas="ap-9"))
    (question,) = asked(bench)
    assert (question.place, question.proven) == ("home", True)


def test_a_block_answers_the_question(bench: Bench) -> None:
    bench.report(waiting())
    put(bench, "blocked")
    assert asked(bench) == []


def test_questions_about_devices_that_are_gone_are_forgotten_and_asked_again(bench: Bench) -> None:
    other = "s1.camera._device.example.net"
    bench.report(waiting(), refused(other, reason="approval_pending"))
    for days, left in ((1, [CAMERA, other]), (3, [CAMERA]), (31, [])):
        later = NOW + dt.timedelta(days=days)
        bench.write(lambda s, later=later: questions.forget(s, later))
        assert [question.name for question in asked(bench)] == left
    bench.report(waiting(), batch="again")
    assert len(asked(bench)) == 1


def test_an_approval_in_advance_and_its_withdrawal(bench: Bench) -> None:
    def approve(approved: bool, subject: Subject = Subject.DEVICE, name: str = CAMERA) -> StandingResult:
        return bench.write(lambda s: standings.approve(s, WHO, subject, name, Approval(approved=approved), NOW))

    assert approve(True).approved
    assert not approve(True).changed
    bench.report(waiting())
    assert asked(bench) == []
    assert not approve(False).approved
    assert [event["removed"] for event in bench.events()] == [False, True]
    bench.report(waiting(), batch="again")
    assert len(asked(bench)) == 1
    assert not approve(True, Subject.MAKER, "example.net").maker_approved
    assert asked(bench) == []
    # The answer says that the device counts as approved nevertheless.
    assert approve(True).maker_approved
    withdrawn = approve(False)
    assert (withdrawn.approved, withdrawn.maker_approved) == (False, True)
    assert not approve(True, name="b.lock._device.other.example").maker_approved
