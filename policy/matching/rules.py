"""Rules, and what matching them results in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from policy.facts import Standing, Strength
from policy.grants import Grant
from policy.matching.networks import Network
from policy.matching.windows import TimeWindow


class RuleKind(StrEnum):
    """The section of the policy file that a rule stands in. They are evaluated in this order."""

    RULE = "rule"
    GRANT = "grant"
    ROAMING = "roaming"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, compiled. Everything that it names must match: an entry of `patterns`, one of `domains`, and so on.

    grant: None for a rule that refuses. zone: the zone that the grant is of. domains: identity domains, or the domains
    of organizations (`example.net` for `_device.example.net`). devices: the name of a device list. standings: those
    that the rule is for; None for every standing. approval: the device must have been approved. why: for a rule that
    refuses, text for people. note, terms: what the file says of a grant or of roaming. line: in the file, from 1.
    """

    name: str
    patterns: tuple[str, ...]
    networks: tuple[Network, ...] | None
    require: Strength
    allow_pkix_cd: bool
    monitor: bool
    grant: Grant | None
    zone: str | None = None
    domains: tuple[str, ...] = ()
    devices: str | None = None
    window: TimeWindow | None = None
    standings: frozenset[Standing] | None = None
    approval: bool = False
    kind: RuleKind = RuleKind.RULE
    why: str | None = None
    note: str | None = None
    terms: str | None = None
    line: int | None = None

    @property
    def is_default(self) -> bool:
        """Whether the rule is the explicit default, which every name reaches."""
        return self.kind is RuleKind.DEFAULT


class MatchRefusal(StrEnum):
    """Why a match gives no access.

    no_rule: no rule covers the name. network, time, standing: rules cover the name, but not this place, time, or
    standing. denied: the rule refuses. The others follow from the device's standing.
    """

    NO_RULE = "no_rule"
    NETWORK = "network"
    TIME = "time"
    STANDING = "standing"
    DENIED = "denied"
    BLOCKED = "blocked"
    QUARANTINED = "quarantined"
    PENDING = "pending"
    UNKNOWN_ZONE = "unknown_zone"


class Match(NamedTuple):
    """What a policy says about a name in a request, before any DNS query.

    rule: the rule that decides; without one, a default that refuses, or None. named: whether a rule covers the name.
    standing: the standing that counts. grant, zone: the access; None for a refusal. detail: for people, of a refusal.
    expires: seconds since 1970, from which on the match may be another; None: not before the policy, or what is known
    of the device, changes.
    """

    rule: Rule | None
    named: bool
    standing: Standing = Standing.NORMAL
    grant: Grant | None = None
    zone: str | None = None
    refusal: MatchRefusal | None = None
    detail: str = ""
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class StandingRule:
    """A rule by which `operations` changes a device's standing. Policy itself does not evaluate it.

    stations: admitted from more than this many stations; or refusals: refused at least this often; each within `within`
    seconds. duration: for how many seconds the standing is set; None: until somebody changes it.
    """

    name: str
    stations: int | None
    refusals: int | None
    within: int
    standing: Standing
    duration: int | None


@dataclass(frozen=True, slots=True)
class ExampleCase:
    """An example of the policy file: what a device at a place is expected to get.

    network: the name of a network, for a request that comes from it. at: seconds since 1970; None: now. zone, rule,
    vlan: what is expected, where the case names it. refused: a refusal is expected, by `reason` if it is not None.
    """

    name: str
    device: str
    network: str | None = None
    ssid: str | None = None
    nas: str | None = None
    port_type: str | None = None
    realm: str | None = None
    at: float | None = None
    standing: Standing = Standing.NORMAL
    approved: bool = False
    refused: bool = False
    reason: str | None = None
    zone: str | None = None
    rule: str | None = None
    vlan: int | str | None = None
    line: int | None = None
