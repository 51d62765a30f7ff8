"""Matching by its definition: a walk over all rules, in order. It is slow, and says why each rule does not decide.

`Policy.match` gives the same result by an index. This form explains it, and the tests compare the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from policy.facts import DeviceStanding, RequestFacts, Standing
from policy.matching.names import IdentityPattern, identity_domain
from policy.matching.rules import Match, MatchRefusal, Rule
from policy.matching.verdict import StandingZones

NOTHING_KNOWN = DeviceStanding()


class DeviceList(Protocol):
    """A list of device names."""

    def __contains__(self, name: str) -> bool: ...
    def __len__(self) -> int: ...


class WalkedPolicy(Protocol):
    """What the walk needs of a policy."""

    @property
    def rules(self) -> Sequence[Rule]: ...
    @property
    def device_lists(self) -> Mapping[str, DeviceList]: ...
    @property
    def quarantine(self) -> tuple[IdentityPattern, ...]: ...
    @property
    def standing_zones(self) -> StandingZones: ...


class Miss(StrEnum):
    """The first thing of a rule that does not match, in the order in which they are looked at."""

    IDENTITY = "identity"
    DOMAINS = "domains"
    DEVICES = "devices"
    NETWORKS = "networks"
    STANDING = "standing"
    TIME = "time"


class Step(NamedTuple):
    """One rule of the walk. miss: why it does not decide; None: it does.

    changes: seconds since 1970 at which its time window opens or closes next, where the rest of the rule matches.
    """

    rule: Rule
    miss: Miss | None
    changes: float | None = None


# Of the rules that cover a name, the one that fails last says why there is no access.
_REFUSALS = {
    Miss.NETWORKS: MatchRefusal.NETWORK,
    Miss.STANDING: MatchRefusal.STANDING,
    Miss.TIME: MatchRefusal.TIME,
}
_NAME_MISSES = frozenset({Miss.IDENTITY, Miss.DOMAINS, Miss.DEVICES})


def in_force(device: DeviceStanding | None, now: float) -> DeviceStanding:
    """What counts of a device's standing at `now`."""
    if device is None or (device.until is not None and now >= device.until):
        return NOTHING_KNOWN
    return device


def domains_of(name: str) -> tuple[str, str]:
    """What a rule may call the domain of a name: its identity domain, and without the `_device` of that."""
    domain = identity_domain(name)
    return domain, domain.partition(".")[2] if domain.startswith("_") else domain


def covers(rule: Rule, name: str, lists: Mapping[str, DeviceList]) -> bool:
    """Whether a rule is about a name, in whatever network."""
    return name_miss(rule, name, lists) is None


def name_miss(rule: Rule, name: str, lists: Mapping[str, DeviceList]) -> Miss | None:
    """What of the name does not match a rule."""
    if rule.patterns and not any(IdentityPattern.compile(text).matches(name) for text in rule.patterns):
        return Miss.IDENTITY
    if rule.domains and not any(domain in rule.domains for domain in domains_of(name)):
        return Miss.DOMAINS
    if rule.devices is not None and name not in lists[rule.devices]:
        return Miss.DEVICES
    return None


def walk(
    policy: WalkedPolicy, name: str, request: RequestFacts, device: DeviceStanding | None, now: float
) -> Iterator[Step]:
    """The rules in order, up to the one that decides."""
    standing = in_force(device, now).standing
    for rule in policy.rules:
        step = _step(rule, policy, name, request, standing, now)
        yield step
        if step.miss is None:
            return


def _step(rule: Rule, policy: WalkedPolicy, name: str, request: RequestFacts, standing: Standing, now: float) -> Step:
    miss = name_miss(rule, name, policy.device_lists)
    if miss is None and rule.networks is not None and not any(n.matches(request) for n in rule.networks):
        miss = Miss.NETWORKS
    if miss is None and rule.standings is not None and standing not in rule.standings:
        miss = Miss.STANDING
    if miss is not None or rule.window is None:
        return Step(rule, miss)
    phase = rule.window.phase(now)
    return Step(rule, None if phase.is_open else Miss.TIME, phase.ends)


def match_by_walk(
    policy: WalkedPolicy, name: str, request: RequestFacts, device: DeviceStanding | None, now: float
) -> Match:
    """What `Policy.match` returns, by the walk."""
    known = in_force(device, now)
    expires = known.until
    if known.standing is Standing.BLOCKED:
        return blocked(name, expires)
    refusal, named = MatchRefusal.NO_RULE, False
    for step in walk(policy, name, request, device, now):
        expires = earlier(expires, step.changes)
        if step.rule.is_default and step.rule.grant is None:
            return no_match(name, request, known, refusal, step.rule, expires)
        if step.miss is None:
            if step.rule.grant is not None and any(pattern.matches(name) for pattern in policy.quarantine):
                known = quarantined(known)
            return Match(step.rule, True, *policy.standing_zones.access(name, step.rule, known), expires)
        if step.miss not in _NAME_MISSES:
            named = True
            refusal = further(refusal, _REFUSALS[step.miss])
    assert named is (refusal is not MatchRefusal.NO_RULE)
    return no_match(name, request, known, refusal, None, expires)


def earlier(one: float | None, other: float | None) -> float | None:
    """The earlier of two times; None: never."""
    return other if one is None else one if other is None else min(one, other)


def blocked(name: str, expires: float | None) -> Match:
    """The match of a device that is blocked. It does not depend on any rule."""
    detail = f"{name} is blocked"
    return Match(None, True, Standing.BLOCKED, None, None, MatchRefusal.BLOCKED, detail, expires)


def quarantined(known: DeviceStanding) -> DeviceStanding:
    """The standing of a device that a file of version 1 quarantines."""
    if known.standing in (Standing.NORMAL, Standing.WATCHED):
        return known._replace(standing=Standing.QUARANTINED)
    return known


_ORDER = (MatchRefusal.NO_RULE, MatchRefusal.NETWORK, MatchRefusal.STANDING, MatchRefusal.TIME)


def further(one: MatchRefusal, other: MatchRefusal) -> MatchRefusal:
    """Of two refusals, that of the rule that came closer to a match."""
    return one if _ORDER.index(one) >= _ORDER.index(other) else other


def no_match(
    name: str,
    request: RequestFacts,
    known: DeviceStanding,
    refusal: MatchRefusal,
    default: Rule | None,
    expires: float | None,
) -> Match:
    """The match of a name that no rule admits. `default`: the default that refuses, if the file has one."""
    match refusal:
        case MatchRefusal.NETWORK:
            detail = f"rules cover {name}, but none of them at {_place(request)}"
        case MatchRefusal.TIME:
            detail = f"rules cover {name} here, but not at this time"
        case MatchRefusal.STANDING:
            detail = f"rules cover {name} here, but not while it is {known.standing}"
        case _:
            detail = f"no rule covers {name}"
    if default is not None:
        detail += f"; rule {default.name} denies it" + (f": {default.why}" if default.why else "")
    named = refusal is not MatchRefusal.NO_RULE
    return Match(default, named, known.standing, None, None, refusal, detail, expires)


def _place(request: RequestFacts) -> str:
    where = [
        f"{what} {value}"
        for what, value in (
            ("SSID", request.ssid),
            ("NAS", request.nas_identifier or request.nas_address),
            ("port type", request.nas_port_type),
            ("realm", request.realm),
        )
        if value
    ]
    return f"this network ({', '.join(where) or 'the request names no SSID and no NAS'})"
