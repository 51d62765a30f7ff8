"""A policy ready for use: immutable, indexed by domain, without I/O. Every authentication evaluates it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from policy.facts import DeviceStanding, RequestFacts, Standing
from policy.grants import Zone
from policy.matching.device_lists import NameTable
from policy.matching.index import REFUSALS, RuleIndex
from policy.matching.name_trie import NameTrie
from policy.matching.names import IdentityPattern
from policy.matching.rules import ExampleCase, Match, MatchRefusal, Rule, StandingRule
from policy.matching.slots import NEVER, Leaf, Slot
from policy.matching.verdict import StandingZones
from policy.matching.walk import NOTHING_KNOWN, blocked, earlier, in_force, no_match, quarantined

_NO_ENTRY: Any = Slot()


class CuiMode(StrEnum):
    """When a reply has a Chargeable-User-Identity: never, when the NAS asks for one (RFC 4372), or always."""

    NEVER = "never"
    WHEN_ASKED = "when_asked"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, eq=False)
class PolicySettings:
    """What the rest of a decision needs of a policy. Caches keep this object, and not the rules of an old policy.

    Each policy has one of its own, so that it stands for the policy. minimum_session: seconds.
    """

    monitor: bool
    ttl_factor: int
    minimum_session: int
    cui: CuiMode

    def is_monitored(self, rule: Rule | None) -> bool:
        """Whether a refusal is only reported. Without a rule, the global mode decides."""
        return self.monitor if rule is None else self.monitor or rule.monitor


@dataclass(frozen=True, eq=False)
class Policy:
    """A valid policy. `rules` are in the order of evaluation: the first one that matches decides.

    minimum_session: seconds. quarantine: the devices that a file of version 1 names. device_lists: by name.
    standing_rules: for `operations`. tests: the example cases of the file. source, digest: the file, and the SHA-256 of
    its content and of its device lists'. file_digest: that of its content alone. list_files, list_stamps: the paths
    of the device lists by name, and the versions that were read.
    """

    rules: Sequence[Rule]
    monitor: bool = False
    ttl_factor: int = 12
    minimum_session: int = 60
    quarantine: tuple[IdentityPattern, ...] = ()
    source: str = "(none)"
    digest: str = ""
    version: int = 1
    cui: CuiMode = CuiMode.WHEN_ASKED
    standing_zones: StandingZones = field(default_factory=lambda: StandingZones({}))
    device_lists: Mapping[str, NameTable] = field(default_factory=dict)
    standing_rules: tuple[StandingRule, ...] = ()
    tests: tuple[ExampleCase, ...] = ()
    file_digest: str = ""
    list_files: Mapping[str, str] = field(default_factory=dict)
    list_stamps: Mapping[str, tuple[int, int, int] | None] = field(default_factory=dict)
    # Over the rules without the default. None: it is made here.
    index: RuleIndex | None = field(default=None, repr=False)
    settings: PolicySettings = field(init=False, repr=False)
    _default: Rule | None = field(default=None, init=False, repr=False)
    _quarantine: NameTrie = field(default_factory=NameTrie, init=False, repr=False)

    @property
    def zones(self) -> Mapping[str, Zone]:
        """The zones of the file, by name."""
        return self.standing_zones.zones

    def __post_init__(self) -> None:
        rules = self.rules
        default = rules[-1] if rules and rules[-1].is_default else None
        if self.index is None:
            ordinary = rules if default is None else rules[:-1]
            object.__setattr__(self, "index", RuleIndex(ordinary, self.device_lists))
        object.__setattr__(self, "_default", default)
        settings = PolicySettings(self.monitor, self.ttl_factor, self.minimum_session, self.cui)
        object.__setattr__(self, "settings", settings)
        for pattern in self.quarantine:
            # Only whether a pattern matches is asked.
            self._quarantine.add(pattern.text, _NO_ENTRY, [])
        self._quarantine.freeze()

    def match(self, name: str, request: RequestFacts, device: DeviceStanding | None = None, *, now: float) -> Match:
        """The rule for a name in a request, and what it gives. Needs no I/O and no DNS answer.

        device: what is known of the device's standing; None: nothing. now: seconds since 1970.
        """
        known = in_force(device, now)
        if known.standing is Standing.BLOCKED:
            return blocked(name, known.until)
        entry, closest, changes = self._rule_index.find(name, request, known.standing, now)
        expires = known.until if changes is None else earlier(known.until, changes)
        if entry is None:
            return self._by_default(name, request, known, REFUSALS[closest], expires)
        if known is NOTHING_KNOWN and entry.access is not None and not self.quarantine:
            return Match(entry.rule, True, *entry.access, expires)
        return self._by_rule(name, entry.rule, known, expires)

    def _by_rule(self, name: str, rule: Rule, known: DeviceStanding, expires: float | None) -> Match:
        if self.quarantine and rule.grant is not None and self._is_quarantined(name):
            known = quarantined(known)
        return Match(rule, True, *self.standing_zones.access(name, rule, known), expires)

    def _by_default(
        self, name: str, request: RequestFacts, known: DeviceStanding, refusal: MatchRefusal, expires: float | None
    ) -> Match:
        if self._default is not None and self._default.grant is not None:
            return self._by_rule(name, self._default, known, expires)
        return no_match(name, request, known, refusal, self._default, expires)

    @property
    def _rule_index(self) -> RuleIndex:
        assert self.index is not None
        return self.index

    def _is_quarantined(self, name: str) -> bool:
        found: list[Leaf] = []
        self._quarantine.find(name, found)
        return bool(found)

    def could_grant(self, name: str) -> bool:
        """Whether any network would admit the name at some time, provided that the DNS vouches for it."""
        grant, denial = self._rule_index.first_grant(name)
        by_default = self._default is not None and self._default.grant is not None
        return grant < denial or (denial is NEVER and by_default)

    def suffixes(self) -> list[str]:
        """The names below which rules grant access to devices, in the rules' order: the part after `*` or `**`.

        For a rule about one device, the name above the device; for a rule about domains only, the domains.
        """
        return list(self._rule_index.suffixes)

    def allows_pkix_cd(self, name: str) -> bool:
        """Whether any rule for this name enables TLSA usage 4."""
        return (self._default is not None and self._default.allow_pkix_cd) or self._rule_index.allows_pkix_cd(name)

    def selects(self, name: str) -> bool:
        """Whether any rule covers this name, in whatever network. A default that refuses covers none."""
        return (self._default is not None and self._default.grant is not None) or self._rule_index.selects(name)

    def is_monitored(self, rule: Rule | None) -> bool:
        """Whether a refusal is only reported. Without a rule, the global mode decides."""
        return self.settings.is_monitored(rule)

    def with_lists(
        self, lists: Mapping[str, NameTable], stamps: Mapping[str, tuple[int, int, int] | None], digest: str
    ) -> Policy:
        """The same policy with other content in its device lists. The two share everything else."""
        index = self._rule_index.with_lists(lists)
        return replace(self, device_lists=lists, list_stamps=stamps, digest=digest, index=index)
