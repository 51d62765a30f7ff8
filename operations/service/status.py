"""The state of the service: standings, inventory, questions, nodes, policy."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from operations.core.standing import Subject
from operations.local.policy_file import PolicyFile
from operations.service.node_reports import node_view
from operations.service.schemas import PolicyView, StatusView
from operations.store import change_feed
from operations.store.models import Device, NodeRow, Question, SessionRow, StandingEntry
from policy import Standing


def status(session: Session, policy: PolicyFile | None) -> StatusView:
    """Counts, nodes and policy. policy: None: without it."""
    counts = dict.fromkeys((str(standing) for standing in Standing), 0)
    entries = (
        select(StandingEntry.standing, func.count())
        .where(StandingEntry.subject == str(Subject.DEVICE))
        .group_by(StandingEntry.standing)
    )
    for standing, count in session.execute(entries):
        counts[standing] = count
    inventory = {"yes": 0, "no": 0}
    for proven, count in session.execute(select(Device.proven, func.count()).group_by(Device.proven)):
        inventory["yes" if proven else "no"] = count
    return StatusView(
        origin=change_feed.origin(session),
        feed_sequence=change_feed.last_seq(session),
        devices=counts,
        inventory=inventory,
        open_questions=session.execute(select(func.count(Question.id)).where(Question.answer.is_(None))).scalar_one(),
        sessions=session.execute(select(func.count()).select_from(SessionRow)).scalar_one(),
        nodes=[node_view(row) for row in session.scalars(select(NodeRow).order_by(NodeRow.name))],
        policy=policy_view(policy) if policy is not None else None,
    )


def policy_view(policy: PolicyFile) -> PolicyView:
    """What is known of the policy file."""
    return PolicyView(
        path=str(policy.path) if policy.path else None,
        zones=sorted(policy.zones),
        rules=[rule.name for rule in policy.rules],
        error=policy.error,
    )
