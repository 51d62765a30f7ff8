"""What changes from one policy to another, in words: what the files say, and what devices get."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from policy.analysis.cases import describe_match, request_of
from policy.analysis.document import Document
from policy.analysis.explanation import describe_window
from policy.analysis.samples import Place, sample_names, sample_places
from policy.facts import DeviceStanding, RequestFacts, Standing
from policy.matching.policy import Policy
from policy.matching.rules import Match, Rule, RuleKind

_SECTION_NAMES = {"networks": "network", "zones": "zone", "device_lists": "device list"}
_KIND_NAMES = {RuleKind.GRANT: "grant", RuleKind.ROAMING: "roaming entry"}
_SETTINGS = ("mode", "session", "cui", "timezone", "standing", "quarantine")
# What files say nothing about, but means something.
_DEFAULTS: dict[str, Any] = {"mode": "enforce", "cui": "when_asked", "timezone": "UTC"}
_MAX_SHOWN = 60


class AccessChange(NamedTuple):
    """A device that gets something else. `case`: the example case that it comes from; None: a generated name."""

    device: str
    place: str
    case: str | None
    old: str
    new: str


class Difference(NamedTuple):
    """`text`: what the files say otherwise, a sentence each. `access`: what devices get otherwise.

    `compared`: the number of combinations of name and place that were tried.
    """

    text: tuple[str, ...]
    access: tuple[AccessChange, ...]
    compared: int


def compare(
    old: Policy,
    old_document: Document,
    new: Policy,
    new_document: Document,
    *,
    now: float,
    lists: Mapping[str, tuple[frozenset[str], frozenset[str]]] | None = None,
) -> Difference:
    """What changes. `lists`: the names of each device list in the old and in the new policy, where they are known."""
    known = lists or {}
    text = [
        *_settings(old_document, new_document),
        *(
            line
            for section, noun in _SECTION_NAMES.items()
            for line in _section(noun, old_document.get(section) or {}, new_document.get(section) or {})
        ),
        *_lists(known),
        *_rules(old.rules, new.rules),
    ]
    changed_names = [name for before, after in known.values() for name in sorted(before ^ after)[:_MAX_SHOWN]]
    names = sample_names(old, new, also=changed_names)
    places = sample_places((old, old_document), (new, new_document))
    access = [*_cases(old, old_document, new, new_document, now), *_access(old, new, names, places, now)]
    return Difference(tuple(text), tuple(dict.fromkeys(access)), len(names) * len(places))


# --- the files


def _settings(old: Document, new: Document) -> Iterator[str]:
    for key in _SETTINGS:
        before, after = old.get(key, default=_DEFAULTS.get(key)), new.get(key, default=_DEFAULTS.get(key))
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from (f"{key}: {line}" for line in _keys(before, after))
        elif before != after:
            yield f"{key}: {_value(before)} becomes {_value(after)}"


def _section(noun: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in old:
        if name not in new:
            yield f"{noun} {name} is removed"
    for name, value in new.items():
        if name not in old:
            yield f"{noun} {name} is new: {_value(value)}"
        elif isinstance(value, Mapping) and isinstance(old[name], Mapping):
            yield from (f"{noun} {name}: {line}" for line in _keys(old[name], value))
        elif value != old[name]:
            yield f"{noun} {name}: {_value(old[name])} becomes {_value(value)}"


def _keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys((*old, *new)):
        if key not in new:
            yield f"{key} ({_value(old[key])}) is removed"
        elif key not in old:
            yield f"{key} is now {_value(new[key])}"
        elif old[key] != new[key]:
            yield f"{key} is now {_value(new[key])}, not {_value(old[key])}"


def _lists(lists: Mapping[str, tuple[frozenset[str], frozenset[str]]]) -> Iterator[str]:
    for name, (before, after) in lists.items():
        for what, names in (("added", after - before), ("removed", before - after)):
            if names:
                shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
                yield f"device list {name}: {len(names)} name{'s' if len(names) > 1 else ''} {what} ({shown})"


def _rules(old: Sequence[Rule], new: Sequence[Rule]) -> Iterator[str]:
    before, after = {rule.name: rule for rule in old}, {rule.name: rule for rule in new}
    for name, rule in before.items():
        if name not in after:
            yield f"{_noun(rule)} {name} is removed"
    for name, rule in after.items():
        if name not in before:
            yield f"{_noun(rule)} {name} is new: {_describe(rule)}"
        else:
            yield from (f"{_noun(rule)} {name}: {line}" for line in _rule(before[name], rule))
    kept = [name for name in before if name in after]
    yield from _moves(kept, [name for name in after if name in before])


def _moves(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    """The rules to move, as few as possible, to get from one order to the other."""
    stay = _longest_common(old, new)
    order = list(new)
    for name in new:
        if name not in stay:
            position = order.index(name)
            where = f"below {order[position - 1]}" if position else "to the top"
            yield f"rule {name} is moved {where}"


def _longest_common(old: Sequence[str], new: Sequence[str]) -> set[str]:
    """A longest list of names that are in the same order in both: a longest increasing sequence of positions."""
    position = {name: index for index, name in enumerate(old)}
    tails: list[int] = []
    tail_names: list[str] = []
    previous: dict[str, str | None] = {}
    for name in new:
        at = bisect.bisect_left(tails, position[name])
        previous[name] = tail_names[at - 1] if at else None
        tails[at : at + 1] = [position[name]]
        tail_names[at : at + 1] = [name]
    found: set[str] = set()
    last = tail_names[-1] if tail_names else None
    while last is not None:
        found.add(last)
        last = previous[last]
    return found


def _noun(rule: Rule) -> str:
    return _KIND_NAMES.get(rule.kind, "rule")


_RULE_FIELDS = {
    "patterns": "identity",
    "domains": "domains",
    "devices": "devices",
    "networks": "networks",
    "window": "when",
    "standings": "standing",
    "require": "require",
    "allow_pkix_cd": "pkix_cd",
    "monitor": "monitor mode",
    "approval": "approval",
    "zone": "zone",
    "why": "the reason of the refusal",
    "terms": "terms",
    "note": "note",
}


def _rule(old: Rule, new: Rule) -> Iterator[str]:
    if (old.grant is None) != (new.grant is None):
        yield "it now refuses" if new.grant is None else f"it no longer refuses, but gives {_access_of(new)}"
    for field, noun in _RULE_FIELDS.items():
        before, after = _field(old, field), _field(new, field)
        if before != after:
            yield f"{noun} is now {_value(after)}, not {_value(before)}"
    if old.grant is not None and new.grant is not None and old.grant != new.grant and old.zone is new.zone is None:
        yield "the access that it gives is changed"


def _field(rule: Rule, field: str) -> Any:
    value = getattr(rule, field)
    match field:
        case "networks":
            return None if value is None else [network.name for network in value]
        case "standings":
            return None if value is None else sorted(value)
        case "window":
            return None if value is None else describe_window(value)
        case _:
            return list(value) if isinstance(value, tuple) else value


def _describe(rule: Rule) -> str:
    about = [
        f"{noun} {_value(_field(rule, field))}"
        for field, noun in _RULE_FIELDS.items()
        if field not in ("zone", "why", "note", "terms", "require") and _field(rule, field)
    ]
    return f"{', '.join(about) or 'everything else'} -> {_access_of(rule)}"


def _access_of(rule: Rule) -> str:
    if rule.grant is None:
        return "refused"
    return f"zone {rule.zone}" if rule.zone is not None else f"VLAN {rule.grant.vlan}"


def _value(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        text = "{" + ", ".join(f"{key}: {_value(inner)}" for key, inner in value.items()) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(_value(inner) for inner in value) + "]"
    else:
        text = str(value)
    return text if len(text) <= 200 else text[:199] + "…"


# --- what devices get


def _cases(
    old: Policy, old_document: Document, new: Policy, new_document: Document, now: float
) -> Iterator[AccessChange]:
    for owner, document in ((new, new_document), (old, old_document)):
        for case in owner.tests:
            request = request_of(case, owner, document)
            if request is not None:
                device = DeviceStanding(case.standing, case.approved)
                at = now if case.at is None else case.at
                change = _change(old, new, case.device, request, device, at)
                if change is not None:
                    place = f"network {case.network}" if case.network is not None else _place(request)
                    yield AccessChange(case.device, place, case.name, *change)


def _access(
    old: Policy, new: Policy, names: Sequence[str], places: Sequence[Place], now: float
) -> Iterator[AccessChange]:
    for name in names:
        for place in places:
            for device in (None, DeviceStanding(Standing.QUARANTINED), DeviceStanding(approved=True)):
                change = _change(old, new, name, place.request, device, now)
                if change is not None:
                    standing = "" if device is None else " (quarantined)" if not device.approved else " (approved)"
                    yield AccessChange(name, place.name + standing, None, *change)
                    # What an approved or quarantined device gets is not said as well.
                    break


def _change(
    old: Policy, new: Policy, name: str, request: RequestFacts, device: DeviceStanding | None, now: float
) -> tuple[str, str] | None:
    before, after = old.match(name, request, device, now=now), new.match(name, request, device, now=now)
    if same_access(before, after):
        return None
    old_text, new_text = describe_match(before), describe_match(after)
    # Of one zone or rule, what it gives or requires has changed.
    return old_text, new_text if new_text != old_text else f"{new_text}, otherwise than before"


def same_access(old: Match, new: Match) -> bool:
    """Whether a device gets the same by both matches, if the DNS vouches for it."""
    if old.grant is None or new.grant is None:
        return old.grant is new.grant
    assert old.rule is not None
    assert new.rule is not None
    strength = (old.rule.require, old.rule.allow_pkix_cd) == (new.rule.require, new.rule.allow_pkix_cd)
    return strength and old.grant == new.grant


def _place(request: RequestFacts) -> str:
    words = [
        f"{what} {value}"
        for what, value in (
            ("SSID", request.ssid),
            ("NAS", request.nas_identifier or request.nas_address),
            ("port type", request.nas_port_type),
            ("realm", request.realm),
        )
        if value
    ]
    return ", ".join(words) or "a place of which nothing is known"
