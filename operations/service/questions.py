"""Open questions: devices that wait for the approval of a person."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from operations.core.approvals import Answer, place_of, worth_asking
from operations.core.decisions import Decision
from operations.core.names import maker_of, type_of
from operations.core.standing import Subject
from operations.local.policy_file import PolicyFile
from operations.service.access import Principal, Scope
from operations.service.schemas import QuestionList, QuestionView
from operations.store.models import Question, StandingEntry
from policy import Standing

# Questions that one answer lists at most. A person does not answer more at a time.
MAX_LISTED = 200
# After so many days without another attempt, an open question is forgotten.
FORGET_DAYS = 30
FORGET_UNPROVEN_DAYS = 2


def ask(session: Session, decision: Decision, policy: PolicyFile, limit: int, now: dt.datetime) -> bool:
    """Ask about a device that waits, unless that was asked or answered; returns whether the question is new."""
    question = session.scalars(
        select(Question).where(Question.name == decision.name, Question.answer.is_(None))
    ).first()
    network = policy.network_of(decision.ssid, decision.nas, decision.port_type)
    if question is None:
        if _is_answered(session, decision.name) or not worth_asking(decision, _open_unproven(session), limit):
            return False
        session.add(
            Question(
                name=decision.name,
                maker=maker_of(decision.name),
                type=type_of(decision.name),
                proven=decision.proven,
                network=network,
                nas=decision.nas,
                ssid=decision.ssid,
                zone=decision.zone,
                asked_at=now,
                last_seen=decision.at,
            )
        )
        session.flush()
        return True
    question.last_seen = max(question.last_seen, decision.at)
    # What a stranger causes must not change what is said of a device that has proven its name.
    if decision.proven or not question.proven:
        question.proven = question.proven or decision.proven
        question.network, question.nas, question.ssid = network, decision.nas, decision.ssid
        question.zone = decision.zone
    return False


def _is_answered(session: Session, name: str) -> bool:
    """Whether a person has decided about the device, or about its maker."""
    device = session.get(StandingEntry, (str(Subject.DEVICE), name))
    if device is not None and (device.approved or device.standing == Standing.BLOCKED):
        return True
    maker = session.get(StandingEntry, (str(Subject.MAKER), maker_of(name)))
    return maker is not None and maker.approved


def _open_unproven(session: Session) -> int:
    statement = select(func.count(Question.id)).where(Question.answer.is_(None), Question.proven.is_(False))
    return int(session.execute(statement).scalar_one())


def find_open(session: Session, who: Principal) -> QuestionList:
    """The open questions, those of proven names first, then the oldest first. Raises Refused."""
    who.require(Scope.DEVICE_READ)
    rows = session.scalars(
        select(Question)
        .where(Question.answer.is_(None))
        .order_by(Question.proven.desc(), Question.asked_at)
        .limit(MAX_LISTED)
    )
    return QuestionList(questions=[view(row) for row in rows])


def view(row: Question) -> QuestionView:
    return QuestionView(
        name=row.name,
        maker=row.maker,
        type=row.type,
        place=place_of(row.network, row.ssid, row.nas),
        proven=row.proven,
        zone=row.zone,
        asked_at=row.asked_at,
        last_seen=row.last_seen,
    )


def forget(session: Session, now: dt.datetime) -> None:
    """Forget open questions about devices that have not been here lately. They are asked again if they come."""
    for proven, days in ((True, FORGET_DAYS), (False, FORGET_UNPROVEN_DAYS)):
        session.execute(
            delete(Question).where(
                Question.answer.is_(None),
                Question.proven.is_(proven),
                Question.last_seen < now - dt.timedelta(days=days),
            )
        )


def close(session: Session, who: Principal, subject: Subject, name: str, answer: Answer, now: dt.datetime) -> list[str]:
    """Close the open questions about a device, or about all devices of a maker; returns their names."""
    column = Question.name if subject is Subject.DEVICE else Question.maker
    rows = session.scalars(select(Question).where(column == name, Question.answer.is_(None))).all()
    for row in rows:
        row.answer, row.answered_at, row.answered_by = str(answer), now, who.actor[:120]
    return [row.name for row in rows]
