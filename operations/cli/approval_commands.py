"""The commands `questions` and `approve`."""

from __future__ import annotations

import click

from operations.cli.administration import Administration
from operations.cli.standing_commands import print_result
from operations.cli.target import Target, target_options
from operations.core.approvals import Answer
from operations.core.names import approvable_maker, parse_name
from operations.core.standing import Subject
from operations.service.schemas import AnswerBody, Answered, Approval, StandingChange
from policy import Standing
from web_service.cli import format_time, json_option, people, print_json, print_table
from web_service.core import Reason, Refused, validate


@click.command("questions")
@target_options
@json_option
def questions_command(target: Target, as_json: bool) -> None:
    """List the devices that wait for an answer: may they join?

    \b
    Example:
      dane-operations questions
    """
    with target.opened() as service:
        found = service.questions()
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    print_table(
        "May these devices join?",
        ["device", "maker", "type", "place", "since"],
        [
            [
                view.name if view.proven else f"{view.name} (somebody presents this name; not proven)",
                view.maker,
                view.type or "-",
                view.place or "-",
                format_time(view.asked_at),
            ]
            for view in found.questions
        ],
    )
    if found.questions:
        people.print("Answer: dane-operations approve NAME --answer yes|no|always", highlight=False)


@click.command("approve")
@click.argument("name")
@click.option(
    "--answer",
    type=click.Choice([answer.value for answer in Answer]),
    default=Answer.YES.value,
    show_default=True,
    help="no: block the device. always: yes, also for every other device of its maker.",
)
@click.option("--maker", "is_maker", is_flag=True, help="NAME is the domain of a maker: approve all of its devices.")
@click.option("--withdraw", is_flag=True, help="Withdraw an approval.")
@click.option("--reason", default="", help="Why, for the history.")
@target_options
@json_option
def approve_command(
    name: str, answer: str, is_maker: bool, withdraw: bool, reason: str, target: Target, as_json: bool
) -> None:
    """Answer whether a device may join, also before it has asked.

    \b
    Example:
      dane-operations approve a1b2c3.camera._device.example.net
      dane-operations approve a1b2c3.camera._device.example.net --answer always
      dane-operations approve example.net --maker
    """
    chosen = Answer(answer)
    if (is_maker or withdraw) and chosen is not Answer.YES:
        raise click.UsageError("--answer excludes --maker and --withdraw: give one of them")
    with target.opened() as service:
        if is_maker or withdraw:
            subject = Subject.MAKER if is_maker else Subject.DEVICE
            wanted = validate(Approval, {"approved": not withdraw, "reason": reason})
            print_result(service.approve(subject, name, wanted), as_json)
            return
        try:
            answered = service.answer(name, validate(AnswerBody, {"answer": answer, "reason": reason}))
        except Refused as refused:
            if refused.reason is not Reason.NOT_FOUND:
                raise
            _unasked(service, parse_name(name), chosen, reason, as_json)
            return
    _print_answered(answered, as_json)


def _unasked(service: Administration, name: str, answer: Answer, reason: str, as_json: bool) -> None:
    """Decide about a device that has not asked."""
    reason = reason or f"answered {answer}"
    if answer is Answer.NO:
        wanted = validate(StandingChange, {"standing": Standing.BLOCKED.value, "reason": reason})
        print_result(service.set_standing(name, wanted), as_json)
        return
    approval = Approval(approved=True, reason=reason)
    # First, so that nothing is approved if the maker cannot be.
    if answer is Answer.ALWAYS:
        service.approve(Subject.MAKER, approvable_maker(name), approval)
    result = service.approve(Subject.DEVICE, name, approval)
    print_result(result, as_json)


def _print_answered(answered: Answered, as_json: bool) -> None:
    if as_json:
        print_json(answered.model_dump(mode="json"))
        return
    state = "approved" if answered.standing.approved else answered.standing.standing
    people.print(f"{answered.standing.name}: {answered.answer}, {state}", highlight=False)
    others = [name for name in answered.closed if name != answered.standing.name]
    if others:
        people.print(f"Also answered: {', '.join(others)}", highlight=False)
