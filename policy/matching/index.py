"""The index over the rules of a policy: finds the rule that decides without trying every rule.

It gives what `walk` gives. What it costs depends on the name and on how many kinds of rules cover it, but not on how
many rules and listed devices there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from policy.facts import RequestFacts, Standing
from policy.matching.device_lists import NameTable
from policy.matching.name_trie import NameTrie
from policy.matching.networks import Network
from policy.matching.place import NetworkIndex
from policy.matching.rules import MatchRefusal, Rule
from policy.matching.slots import ENTRIES_PER_REST, NEVER, Conditions, Entry, Leaf, Slot, joined
from policy.matching.verdict import Access
from policy.matching.walk import domains_of

# The rule that decides, or None; how close the closest rule came, as a position in `REFUSALS`; and when a time window
# opens or closes that matters, in seconds since 1970. A plain tuple, which is faster to make than an object.
Found = tuple[Entry | None, int, float | None]

# How close a rule came: what did not match.
_NAME, _NETWORK, _STANDING, _TIME, _NOTHING = range(5)
REFUSALS = (MatchRefusal.NO_RULE, MatchRefusal.NETWORK, MatchRefusal.STANDING, MatchRefusal.TIME)
_NO_CONDITIONS = Conditions((), None, None, None)


class RuleIndex:
    """Finds rules by name and request. The rules do not include the default."""

    def __init__(
        self, rules: Sequence[Rule], lists: Mapping[str, NameTable], rest: Callable[[], None] = lambda: None
    ) -> None:
        """`rest` is called often while the index is built."""
        self._lists = lists
        self._hasher = next(iter(lists.values()), None)
        builder = _Builder(rest)
        for number, rule in enumerate(rules):
            builder.add(number, rule)
        builder.freeze()
        self._names, self._by_domain, self._by_list = builder.names, builder.by_domain, builder.by_list
        self._everywhere = builder.everywhere
        self._places = NetworkIndex(builder.networks)
        self._has_pkix_cd = builder.has_pkix_cd
        self.suffixes = list(builder.suffixes)

    def with_lists(self, lists: Mapping[str, NameTable]) -> RuleIndex:
        """The same rules with other content in their device lists."""
        other = object.__new__(RuleIndex)
        other.__dict__.update(self.__dict__)
        other._lists, other._hasher = lists, next(iter(lists.values()), None)
        return other

    def containers(self) -> list[Any]:
        """What is large, for `dismantle`."""
        return [self._names, self._by_domain, self._by_list]

    def _leaves(self, name: str) -> list[Leaf]:
        leaves: list[Leaf] = [] if self._everywhere is None else [self._everywhere]
        self._names.find(name, leaves)
        if self._by_domain:
            for domain in dict.fromkeys(domains_of(name)):
                leaf = self._by_domain.get(domain)
                if leaf is not None:
                    leaves.append(leaf)
        if self._by_list:
            assert self._hasher is not None
            digest = self._hasher.digest_of(name)
            for devices, leaf in self._by_list.items():
                if self._lists[devices].holds(digest):
                    leaves.append(leaf)
        return leaves

    def find(self, name: str, request: RequestFacts, standing: Standing, now: float) -> Found:
        """The first rule that matches a name, a place, a standing and a time."""
        leaves = self._leaves(name)
        networks: tuple[int, ...] | None = None
        best: Entry | None = None
        closest = _NAME
        # Rules with a time window that match otherwise, and when that opens or closes.
        changes: list[tuple[int, float]] = []
        for leaf in leaves:
            if type(leaf) is Entry:
                if leaf.networks is None:
                    buckets: tuple[tuple[Entry, ...], ...] = ((leaf,),)
                else:
                    if networks is None:
                        networks = self._places.at(request)
                    if leaf.networks.isdisjoint(networks):
                        continue
                    buckets = ((leaf,),)
            else:
                assert type(leaf) is Slot
                if leaf.by_network:
                    if networks is None:
                        networks = self._places.at(request)
                    buckets = _buckets(leaf, networks)
                else:
                    buckets = (leaf.anywhere,)
            for bucket in buckets:
                for entry in bucket:
                    if best is not None and entry.number >= best.number:
                        break
                    if entry.conditions is None:
                        best = entry
                        break
                    missed = self._missed(entry, name, standing, now, changes)
                    if missed is _NOTHING:
                        best = entry
                        break
                    if missed > closest:
                        closest = missed
        if best is not None:
            return best, _NAME, _earliest(changes, best.number) if changes else None
        if closest is _NAME and any(self._covers_by(leaf, name) for leaf in leaves):
            closest = _NETWORK
        return None, closest, _earliest(changes, NEVER) if changes else None

    def _missed(self, entry: Entry, name: str, standing: Standing, now: float, changes: list[tuple[int, float]]) -> int:
        """What of a rule's conditions does not hold. Notes when that of time changes."""
        conditions = entry.conditions
        assert conditions is not None
        if conditions.of_name and not self._holds_for(conditions, name):
            return _NAME
        if conditions.standings is not None and standing not in conditions.standings:
            return _STANDING
        if conditions.window is not None:
            phase = conditions.window.phase(now)
            if phase.ends is not None:
                changes.append((entry.number, phase.ends))
            if not phase.is_open:
                return _TIME
        return _NOTHING

    def _holds_for(self, conditions: Conditions, name: str) -> bool:
        if conditions.domains and not any(domain in conditions.domains for domain in domains_of(name)):
            return False
        return conditions.devices is None or name in self._lists[conditions.devices]

    def _covers(self, entry: Entry, name: str) -> bool:
        return entry.conditions is None or self._holds_for(entry.conditions, name)

    def _covers_by(self, leaf: Leaf, name: str) -> bool:
        if isinstance(leaf, Entry):
            return self._covers(leaf, name)
        return leaf.covers or any(self._covers(entry, name) for entry in leaf.conditional)

    def selects(self, name: str) -> bool:
        """Whether any rule covers a name."""
        return any(self._covers_by(leaf, name) for leaf in self._leaves(name))

    def allows_pkix_cd(self, name: str) -> bool:
        """Whether any rule that covers a name allows usage 4."""
        return self._has_pkix_cd and any(self._allows_pkix_cd_by(leaf, name) for leaf in self._leaves(name))

    def _allows_pkix_cd_by(self, leaf: Leaf, name: str) -> bool:
        if isinstance(leaf, Slot) and leaf.pkix_cd:
            return True
        entries = (leaf,) if isinstance(leaf, Entry) else leaf.conditional
        return any(entry.rule.allow_pkix_cd and self._covers(entry, name) for entry in entries)

    def first_grant(self, name: str) -> tuple[int, int]:
        """The first rule that could grant a name access somewhere, and the first that denies it everywhere."""
        grant = denial = NEVER
        for leaf in self._leaves(name):
            if isinstance(leaf, Slot):
                grant, denial = min(grant, leaf.first_grant), min(denial, leaf.first_denial)
            for entry in (leaf,) if isinstance(leaf, Entry) else leaf.conditional:
                if self._covers(entry, name):
                    if entry.rule.grant is not None:
                        grant = min(grant, entry.number)
                    elif entry.denies_always:
                        denial = min(denial, entry.number)
        return grant, denial


def _buckets(slot: Slot, networks: tuple[int, ...]) -> tuple[tuple[Entry, ...], ...]:
    """The rules of a slot that can decide at a place, in one or several lists, each in order."""
    by_network = slot.by_network
    if len(by_network) < len(networks):
        here = [bucket for network, bucket in by_network.items() if network in networks]
    else:
        here = [by_network[network] for network in networks if network in by_network]
    return (slot.anywhere, *here)


def _earliest(changes: list[tuple[int, float]], best: int) -> float | None:
    return min((at for number, at in changes if number <= best), default=None)


class _Builder:
    """Sorts rules into the index."""

    def __init__(self, rest: Callable[[], None]) -> None:
        self._rest = rest
        self.names = NameTrie()
        self.by_domain: dict[str, Leaf] = {}
        self.by_list: dict[str, Leaf] = {}
        # Rules for every name. The language has none but the default.
        self.everywhere: Leaf | None = None
        self.has_pkix_cd = False
        self.suffixes: dict[str, None] = {}
        self.networks: list[Network] = []
        self._slots: list[Slot] = []
        self._network_numbers: dict[str, int] = {}
        self._network_sets: dict[tuple[str, ...], frozenset[int]] = {}
        self._conditions: dict[Conditions, Conditions] = {}
        # By the grant's identity: a grant of version 1 is the rule's own, and hashing it would take long.
        self._accesses: dict[tuple[int, str | None], Access] = {}

    def add(self, number: int, rule: Rule) -> None:
        if number % ENTRIES_PER_REST == 0:
            self._rest()
        self.has_pkix_cd |= rule.allow_pkix_cd
        if rule.grant is not None:
            self._note_suffixes(rule)
        # By what is most specific; the rest of what a rule asks of the name is a condition.
        if rule.patterns:
            entry = self._entry(number, rule, Conditions(rule.domains, rule.devices, rule.standings, rule.window))
            for pattern in rule.patterns:
                self.names.add(pattern, entry, self._slots)
        elif rule.domains:
            entry = self._entry(number, rule, Conditions((), rule.devices, rule.standings, rule.window))
            for domain in rule.domains:
                self.by_domain[domain] = joined(self.by_domain.get(domain), entry, self._slots)
        else:
            entry = self._entry(number, rule, Conditions((), None, rule.standings, rule.window))
            if rule.devices is None:
                self.everywhere = joined(self.everywhere, entry, self._slots)
            else:
                self.by_list[rule.devices] = joined(self.by_list.get(rule.devices), entry, self._slots)

    def _note_suffixes(self, rule: Rule) -> None:
        for pattern in rule.patterns:
            # What follows the last label with a star; of one exact name, what follows the device's own label.
            _, star, after = pattern.rpartition("*")
            suffix = (after if star else pattern).partition(".")[2]
            if "." in suffix:
                self.suffixes[suffix] = None
        if not rule.patterns:
            self.suffixes.update(dict.fromkeys(rule.domains))

    def _entry(self, number: int, rule: Rule, conditions: Conditions) -> Entry:
        access = None
        if rule.grant is not None and not rule.approval:
            access = Access(Standing.NORMAL, rule.grant, rule.zone)
            access = self._accesses.setdefault((id(rule.grant), rule.zone), access)
        return Entry(
            number,
            self._networks_of(rule),
            None if conditions == _NO_CONDITIONS else self._conditions.setdefault(conditions, conditions),
            access,
            rule,
            rule.grant is None and rule.networks is None and rule.standings is None and rule.window is None,
        )

    def _networks_of(self, rule: Rule) -> frozenset[int] | None:
        if rule.networks is None:
            return None
        key = tuple(network.name for network in rule.networks)
        found = self._network_sets.get(key)
        if found is None:
            found = self._network_sets[key] = frozenset(map(self._network_number, rule.networks))
        return found

    def _network_number(self, network: Network) -> int:
        if network.name not in self._network_numbers:
            self._network_numbers[network.name] = len(self.networks)
            self.networks.append(network)
        return self._network_numbers[network.name]

    def freeze(self) -> None:
        for slot in self._slots:
            slot.freeze(self._rest)
        self.names.freeze(self._rest)
