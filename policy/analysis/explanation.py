"""Why policy treats a device as it does: each rule in order, with what of it does not match."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from policy.attributes import grant_attributes
from policy.facts import DeviceStanding, RequestFacts, Standing
from policy.grants import Attribute
from policy.matching.policy import CuiMode, Policy
from policy.matching.rules import Match, Rule
from policy.matching.walk import Miss, domains_of, in_force, walk
from policy.matching.windows import DAYS, TimeWindow

_MINUTES_OF_HOUR = 60


class Reason(NamedTuple):
    """A rule that was looked at. `miss`: the first thing that does not match; None: the rule decides. `text`: why."""

    rule: Rule
    miss: Miss | None
    text: str


class Explanation(NamedTuple):
    """The rules up to the one that decides, the match, and the reply that an accepted device gets.

    `reply` is without Session-Timeout, which depends on the DNS. Empty for a refusal.
    """

    reasons: tuple[Reason, ...]
    match: Match
    reply: tuple[Attribute, ...]


def explain(
    policy: Policy, name: str, request: RequestFacts, device: DeviceStanding | None = None, *, now: float
) -> Explanation:
    """Why `policy.match`, which has the same arguments, gives what it gives."""
    match = policy.match(name, request, device, now=now)
    standing = in_force(device, now).standing
    reasons: list[Reason] = []
    # A device that is blocked is refused before any rule.
    for step in walk(policy, name, request, device, now) if standing is not Standing.BLOCKED else ():
        reasons.append(Reason(step.rule, step.miss, _text(step.rule, step.miss, name, standing)))
    reply: tuple[Attribute, ...] = ()
    if match.grant is not None and match.rule is not None:
        cui = (
            "..." if policy.cui is CuiMode.ALWAYS or (policy.cui is CuiMode.WHEN_ASKED and request.wants_cui) else None
        )
        reply = grant_attributes(match.grant, user_name=name, rule=match.rule.name, cui=cui)
    return Explanation(tuple(reasons), match, reply)


def _text(rule: Rule, miss: Miss | None, name: str, standing: Standing) -> str:
    match miss:
        case None:
            return "it is the default" if rule.is_default else "everything that it names matches"
        case Miss.IDENTITY:
            shown = ", ".join(rule.patterns[:3]) + (", ..." if len(rule.patterns) > 3 else "")
            return f"its identity is {shown}"
        case Miss.DOMAINS:
            return f"its domains are {', '.join(rule.domains[:3])}; the name's is {' or '.join(domains_of(name))}"
        case Miss.DEVICES:
            return f"the device list {rule.devices} does not have the name"
        case Miss.NETWORKS:
            names = ", ".join(network.name for network in rule.networks or ())
            return f"the request does not come from {names}"
        case Miss.STANDING:
            return f"it is for devices of standing {', '.join(sorted(rule.standings or ()))}, not {standing}"
        case Miss.TIME:
            assert rule.window is not None
            return f"it applies {describe_window(rule.window)} only"


def describe_window(window: TimeWindow) -> str:
    """A time window in words."""
    words = []
    if len(window.days) < len(DAYS):
        words.append("on " + ", ".join(DAYS[day] for day in sorted(window.days)))
    if (window.begins, window.ends) != (0, 24 * _MINUTES_OF_HOUR):
        words.append(f"from {_time_of_day(window.begins)} to {_time_of_day(window.ends)}")
    if window.since is not None:
        words.append(f"since {datetime.fromtimestamp(window.since, window.timezone):%Y-%m-%d %H:%M}")
    if window.until is not None:
        words.append(f"until {datetime.fromtimestamp(window.until, window.timezone):%Y-%m-%d %H:%M}")
    return f"{' '.join(words) or 'always'} ({window.timezone})"


def _time_of_day(minutes: int) -> str:
    return f"{minutes // _MINUTES_OF_HOUR:02d}:{minutes % _MINUTES_OF_HOUR:02d}"
