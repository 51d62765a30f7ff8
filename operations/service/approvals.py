"""The answers of people to open questions."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import select
from sqlalchemy.orm import Session

from operations.core import standing as rules
from operations.core.approvals import Answer
from operations.core.names import approvable_maker, parse_name
from operations.core.standing import Power, Subject, Wish
from operations.service import audit, questions, standings
from operations.service.access import Principal, Scope
from operations.service.schemas import AnswerBody, Answered
from operations.store import change_feed
from operations.store.models import Question
from policy import Standing
from web_service.core import Reason, Refused


def answer(session: Session, who: Principal, name: str, wanted: AnswerBody, now: dt.datetime) -> Answered:
    """Answer the open question about a device. Raises Refused, also if there is none.

    yes: the device is approved. always: so is every device of its maker, now and later. no: the device is blocked.
    """
    who.require(Scope.APPROVAL_WRITE)
    name = parse_name(name)
    maker = approvable_maker(name) if wanted.answer is Answer.ALWAYS else None
    change_feed.lock(session)
    is_open = session.scalars(select(Question.id).where(Question.name == name, Question.answer.is_(None))).first()
    if is_open is None:
        raise Refused(
            Reason.NOT_FOUND, f"there is no open question about {name}: `dane-operations questions` lists them"
        )
    reason = wanted.reason or f"answered {wanted.answer}"
    closed = questions.close(session, who, Subject.DEVICE, name, wanted.answer, now)
    if wanted.answer is Answer.NO:
        _block(session, who, name, reason, now)
    else:
        standings.set_approved(session, who, Subject.DEVICE, name, True, reason, now)
    if maker is not None:
        standings.set_approved(session, who, Subject.MAKER, maker, True, reason, now)
        closed += questions.close(session, who, Subject.MAKER, maker, Answer.ALWAYS, now)
    state = standings.state_of(session, Subject.DEVICE, name)
    return Answered(
        answer=str(wanted.answer),
        standing=standings.view_of(Subject.DEVICE, name, state, now),
        closed=sorted(closed),
    )


def _block(session: Session, who: Principal, name: str, reason: str, now: dt.datetime) -> None:
    before = standings.state_of(session, Subject.DEVICE, name)
    after = rules.change(before, Wish(Standing.BLOCKED, reason), Power.PERSON, who.actor, now)
    if after is not None:
        standings.put(session, Subject.DEVICE, name, after, "approval")
        audit.record(session, who, "approval.refused", name, now, reason=reason)
