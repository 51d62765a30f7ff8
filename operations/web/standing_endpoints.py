"""Standings and approvals over HTTP. Each handler makes one transaction and returns one answer; all raise Refused."""

from __future__ import annotations

import structlog

from operations.core.standing import Subject
from operations.service import approvals, questions, schemas, standings
from operations.web.call import Call
from web_service.core import validate
from web_service.local import utc_now

log = structlog.get_logger("operations.web")


async def show_standing(call: Call) -> schemas.StandingView:
    call.query()
    name = call.path("name")
    return await call.context.read(lambda s: standings.show(s, call.who, Subject.DEVICE, name, utc_now()))


async def set_standing(call: Call, wanted: schemas.StandingChange) -> schemas.StandingResult:
    name, policy = call.path("name"), call.context.policy
    result = await call.context.write(lambda s: standings.set_standing(s, call.who, name, wanted, policy, utc_now()))
    return _told(call, result)


async def release(call: Call, wanted: schemas.Release) -> schemas.StandingResult:
    name = call.path("name")
    result = await call.context.write(lambda s: standings.release(s, call.who, name, wanted, utc_now()))
    return _told(call, result)


async def approve_device(call: Call, wanted: schemas.Approval) -> schemas.StandingResult:
    return await _approve(call, Subject.DEVICE, call.path("name"), wanted)


async def approve_maker(call: Call, wanted: schemas.Approval) -> schemas.StandingResult:
    return await _approve(call, Subject.MAKER, call.path("domain"), wanted)


async def _approve(call: Call, subject: Subject, name: str, wanted: schemas.Approval) -> schemas.StandingResult:
    result = await call.context.write(lambda s: standings.approve(s, call.who, subject, name, wanted, utc_now()))
    return _told(call, result)


def _told(call: Call, result: schemas.StandingResult) -> schemas.StandingResult:
    """Tell the followers of the feed now, not at the next poll of the database."""
    if result.changed:
        call.context.watch.check_now()
        log.info(
            "standing.changed",
            subject=result.subject,
            name=result.name,
            standing=result.standing,
            approved=result.approved,
            by=call.who.actor,
            seq=result.seq,
        )
    return result


async def list_standings(call: Call) -> schemas.StandingList:
    query = call.query()
    wanted = validate(schemas.StandingSearch, {key: value for key, value in query.items() if key != "limit"})
    limit = call.integer("limit")
    return await call.context.read(
        lambda s: standings.page(
            s, call.who, Subject(wanted.subject), wanted.standing, wanted.after or "", limit, utc_now()
        )
    )


async def history(call: Call) -> schemas.History:
    call.query()
    return await call.context.read(lambda s: standings.history(s, call.who, Subject.DEVICE, call.path("name")))


async def list_questions(call: Call) -> schemas.QuestionList:
    call.query()
    return await call.context.read(lambda s: questions.find_open(s, call.who))


async def answer_question(call: Call, wanted: schemas.AnswerBody) -> schemas.Answered:
    name = call.path("name")
    answered = await call.context.write(lambda s: approvals.answer(s, call.who, name, wanted, utc_now()))
    call.context.watch.check_now()
    log.info("question.answered", name=answered.standing.name, answer=answered.answer, by=call.who.actor)
    return answered
