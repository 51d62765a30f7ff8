"""Rules with the same identity pattern, and what else they ask for.

Of such rules, some can never decide, because an earlier one matches whenever they do. A slot forgets them, so that the
number of rules that a request makes it try does not grow with the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from policy.facts import Standing
from policy.matching.rules import Rule
from policy.matching.verdict import Access
from policy.matching.windows import TimeWindow

# Between two calls of `rest` while an index is built.
ENTRIES_PER_REST = 16


class Conditions(NamedTuple):
    """What a rule asks for besides its identity patterns and networks. Equal conditions are one object."""

    domains: tuple[str, ...]
    devices: str | None
    standings: frozenset[Standing] | None
    window: TimeWindow | None

    @property
    def of_name(self) -> bool:
        """Whether some of them are about the name."""
        return bool(self.domains) or self.devices is not None


class Entry(NamedTuple):
    """A rule as the index sees it. number: its position. networks: their numbers; None: any place.

    conditions: None for a rule without. access: what it gives a device of which nothing is known; None: that depends on
    more than the rule. denies_always: it refuses at every place and time, whatever the standing.

    Most devices need no more than this. A rule itself is large, and reading it means waiting for memory.
    """

    number: int
    networks: frozenset[int] | None
    conditions: Conditions | None
    access: Access | None
    rule: Rule
    denies_always: bool

    @property
    def depends_on_name(self) -> bool:
        """Whether the rule asks for more of the name than its patterns."""
        return self.conditions is not None and self.conditions.of_name


class Slot:
    """Several rules with the same pattern.

    anywhere, by_network: the rules that can decide, in order. Of the rules that ask for no more of the name: covers,
    whether there is one; first_grant, first_denial, the number of the first that grants, and that denies always;
    pkix_cd, whether one allows usage 4. conditional: one of the others for each kind.
    """

    __slots__ = ("anywhere", "by_network", "conditional", "covers", "entries", "first_denial", "first_grant", "pkix_cd")

    def __init__(self, *entries: Entry) -> None:
        # All rules, until `freeze`.
        self.entries: list[Entry] = list(entries)
        self.anywhere: tuple[Entry, ...] = ()
        self.by_network: dict[int, tuple[Entry, ...]] = {}
        self.first_grant = self.first_denial = NEVER
        self.covers = self.pkix_cd = False
        self.conditional: tuple[Entry, ...] = ()

    def freeze(self, rest: Callable[[], None]) -> None:
        """Sort out which rules can decide where. `rest` is called often."""
        entries, self.entries = self.entries, []
        anywhere: list[Entry] = []
        by_network: dict[int, list[Entry]] = {}
        kinds: dict[tuple[object, ...], Entry] = {}
        for count, entry in enumerate(entries):
            if count % ENTRIES_PER_REST == 0:
                rest()
            if entry.networks is None:
                anywhere.append(entry)
            for network in entry.networks or ():
                by_network.setdefault(network, []).append(entry)
            if entry.depends_on_name:
                kinds.setdefault(_kind(entry), entry)
            else:
                self._summarize(entry)
        self.anywhere = tuple(_decisive(anywhere))
        for count, (network, of) in enumerate(by_network.items()):
            if count % ENTRIES_PER_REST == 0:
                rest()
            self.by_network[network] = tuple(_decisive(of))
        self.conditional = tuple(kinds.values())

    def _summarize(self, entry: Entry) -> None:
        self.covers = True
        self.pkix_cd |= entry.rule.allow_pkix_cd
        if entry.rule.grant is not None:
            self.first_grant = min(self.first_grant, entry.number)
        elif entry.denies_always:
            self.first_denial = min(self.first_denial, entry.number)


Leaf = Entry | Slot
NEVER = 1 << 60


def _kind(entry: Entry) -> tuple[object, ...]:
    assert entry.conditions is not None
    return (
        entry.conditions.domains,
        entry.conditions.devices,
        entry.rule.grant is not None,
        entry.denies_always,
        entry.rule.allow_pkix_cd,
    )


def _decisive(entries: Iterable[Entry]) -> Iterator[Entry]:
    seen: set[int] = set()
    for entry in entries:
        conditions = entry.conditions
        if conditions is None:
            yield entry
            return
        if id(conditions) not in seen:
            seen.add(id(conditions))
            yield entry


def joined(leaf: Leaf | None, entry: Entry, slots: list[Slot]) -> Leaf:
    """A leaf with one rule more. A slot that has to be made for it is appended to `slots`.

    Rules come in order, and a rule may come several times.
    """
    if leaf is None or leaf is entry:
        return entry
    if isinstance(leaf, Slot):
        if leaf.entries[-1] is not entry:
            leaf.entries.append(entry)
        return leaf
    slots.append(Slot(leaf, entry))
    return slots[-1]
