"""Rules that no request ever reaches, because earlier rules cover all that they are about.

A claim is always true; some unreachable rules are not found. Two patterns, networks or time windows are compared
exactly, but what only several earlier patterns, networks or windows cover together is not recognized.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from policy.analysis.document import Document
from policy.analysis.networks import network_covers
from policy.analysis.patterns import covers
from policy.facts import Standing
from policy.matching.names import IdentityPattern
from policy.matching.policy import Policy
from policy.matching.rules import Rule
from policy.matching.walk import domains_of
from policy.matching.windows import DAYS, MINUTES_OF_DAY, TimeWindow

# A blocked device reaches no rule at all.
REACHING = frozenset(Standing) - {Standing.BLOCKED}
# Comparisons of two patterns. More would take minutes.
MAX_COMPARISONS = 5_000_000


class Covered(NamedTuple):
    """A rule, or one of its patterns, that is never reached. `by`: the rules that cover it, in order."""

    rule: Rule
    pattern: str | None
    by: tuple[Rule, ...]


class Coverage(NamedTuple):
    """What is unreachable. `unexamined`: the number of rules at the end that would have taken too long."""

    rules: tuple[Covered, ...]
    patterns: tuple[Covered, ...]
    unexamined: int


class _Atom(NamedTuple):
    """One combination of what a rule names; None: whatever it may be."""

    pattern: str | None
    domain: str | None
    network: str | None


def unreachable(policy: Policy, document: Document) -> Coverage:
    """The rules and patterns that are never reached. The explicit default is never one of them."""
    networks = document.get("networks", default={}) or {}
    earlier = _Earlier(policy, networks)
    rules: list[Covered] = []
    patterns: list[Covered] = []
    for position, rule in enumerate(policy.rules):
        if rule.is_default:
            continue
        if earlier.comparisons > MAX_COMPARISONS:
            return Coverage(tuple(rules), tuple(patterns), len(policy.rules) - position)
        found = {pattern: earlier.cover(rule, pattern) for pattern in rule.patterns or (None,)}
        if all(by is not None for by in found.values()):
            rules.append(Covered(rule, None, _joined(found.values())))
        else:
            patterns += [Covered(rule, pattern, _joined([by])) for pattern, by in found.items() if by is not None]
        earlier.add(rule)
    return Coverage(tuple(rules), tuple(patterns), 0)


def _joined(groups: Iterable[tuple[Rule, ...] | None]) -> tuple[Rule, ...]:
    return tuple({rule.name: rule for group in groups for rule in group or ()}.values())


@dataclass
class _Earlier:
    """The rules so far, indexed by what they are about, so that few need a comparison."""

    policy: Policy
    networks: dict[str, dict[str, object]]
    comparisons: int = 0
    _by_suffix: dict[str, dict[tuple[str, str], list[tuple[str, Rule]]]] = field(default_factory=dict)
    _shapes: dict[str, set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))
    _by_domain: dict[str, list[Rule]] = field(default_factory=lambda: defaultdict(list))
    _by_list: dict[str, list[Rule]] = field(default_factory=lambda: defaultdict(list))

    def add(self, rule: Rule) -> None:
        for pattern in rule.patterns:
            suffix, beside = _split(pattern)
            key = beside.partition("*")[0], beside.rpartition("*")[2] if "*" in beside else ""
            self._by_suffix.setdefault(suffix, {}).setdefault(key, []).append((pattern, rule))
            self._shapes[suffix].add((len(key[0]), len(key[1])))
        if not rule.patterns:
            for domain in rule.domains:
                self._by_domain[domain].append(rule)
            if not rule.domains and rule.devices is not None:
                self._by_list[rule.devices].append(rule)

    def cover(self, rule: Rule, pattern: str | None) -> tuple[Rule, ...] | None:
        """Earlier rules that cover all of what `rule` is about with this pattern; None if they do not."""
        found: dict[str, Rule] = {}
        for domain in rule.domains or (None,):
            for network in [n.name for n in rule.networks] if rule.networks is not None else [None]:
                by = self._cover_atom(rule, _Atom(pattern, domain, network))
                if by is None:
                    return None
                found.update((one.name, one) for one in by)
        return tuple(found.values())

    def _cover_atom(self, rule: Rule, atom: _Atom) -> list[Rule] | None:
        left = set((rule.standings or REACHING) & REACHING)
        by: list[Rule] = []
        for candidate in self._candidates(rule, atom):
            self.comparisons += 1
            standings = candidate.standings or REACHING
            if left & standings and self._covers(candidate, rule, atom):
                left -= standings
                by.append(candidate)
            if not left:
                return by
        return None

    def _candidates(self, rule: Rule, atom: _Atom) -> Iterator[Rule]:
        if rule.devices is not None:
            yield from self._by_list.get(rule.devices, ())
        if atom.pattern is not None:
            yield from self._by_pattern(atom.pattern)
            if "*" not in atom.pattern:
                for name, rules in self._by_list.items():
                    if name != rule.devices and atom.pattern in self.policy.device_lists[name]:
                        yield from rules
        elif atom.domain is not None and atom.domain.startswith("_"):
            # Every name of such a domain is below it.
            yield from self._by_pattern(f"**.{atom.domain}")
        for domain in _domains(atom):
            yield from self._by_domain.get(domain, ())

    def _by_pattern(self, pattern: str) -> Iterator[Rule]:
        labels = pattern.split(".")
        fixed = len(labels)
        while fixed > 0 and "*" not in labels[fixed - 1]:
            fixed -= 1
        for start in range(fixed, len(labels)):
            suffix = ".".join(labels[start:])
            groups = self._by_suffix.get(suffix)
            if groups is None:
                continue
            beside = labels[start - 1] if start > 0 and labels[start - 1] != "**" else ""
            for before, after in self._shapes[suffix]:
                self.comparisons += 1
                if len(beside) >= before + after:
                    key = beside[:before], beside[len(beside) - after :]
                    for outer, rule in groups.get(key, ()):
                        self.comparisons += 1
                        if covers(outer, pattern):
                            yield rule

    def _covers(self, candidate: Rule, rule: Rule, atom: _Atom) -> bool:
        """Whether a candidate that covers the atom's names by pattern, domain or list also covers the rest."""
        if candidate.domains and not any(domain in candidate.domains for domain in _domains(atom)):
            return False
        if candidate.devices is not None and candidate.devices != rule.devices:
            name = atom.pattern
            if name is None or "*" in name or name not in self.policy.device_lists[candidate.devices]:
                return False
        if candidate.networks is not None:
            inner = self.networks.get(atom.network) if atom.network is not None else None
            if inner is None or not any(
                network.name == atom.network or network_covers(self.networks[network.name], inner)
                for network in candidate.networks
            ):
                return False
        return window_covers(candidate.window, rule.window)


def _split(pattern: str) -> tuple[str, str]:
    """The labels at the right without a star, and the label beside them; the latter is empty for `**` or if none is."""
    suffix = IdentityPattern.compile(pattern).suffix
    rest = pattern[: -len(suffix) - 1] if len(suffix) < len(pattern) else ""
    beside = rest.rpartition(".")[2]
    return suffix, "" if beside == "**" else beside


def _domains(atom: _Atom) -> tuple[str, ...]:
    """What rules may call the domain that all names of the atom have; nothing if it is not known."""
    if atom.domain is not None:
        outer = atom.domain.partition(".")[2] if atom.domain.startswith("_") else None
        named: tuple[str, ...] = (atom.domain, outer) if outer else (atom.domain,)
        return tuple(dict.fromkeys((*named, *_domains_of_pattern(atom.pattern))))
    return _domains_of_pattern(atom.pattern)


def _domains_of_pattern(pattern: str | None) -> tuple[str, ...]:
    if pattern is None:
        return ()
    if "*" not in pattern:
        return domains_of(pattern)
    suffix = IdentityPattern.compile(pattern).suffix
    labels = suffix.split(".")
    underscored = [i for i, label in enumerate(labels[:-1]) if label.startswith("_")]
    if underscored:
        domain = ".".join(labels[underscored[-1] :])
        return domain, domain.partition(".")[2]
    if pattern.count(".") == suffix.count(".") + 1 and not pattern.startswith("**"):
        # One label and the suffix: the suffix is the parent of every name.
        return (suffix,)
    return ()


def window_covers(outer: TimeWindow | None, inner: TimeWindow | None) -> bool:
    """Whether `outer` is open whenever `inner` is. None: always open."""
    if outer is None:
        return True
    if inner is None:
        return False
    if outer.since is not None and (inner.since is None or inner.since < outer.since):
        return False
    if outer.until is not None and (inner.until is None or inner.until > outer.until):
        return False
    if len(outer.days) == len(DAYS) and (outer.begins, outer.ends) == (0, MINUTES_OF_DAY):
        return True
    if outer.timezone != inner.timezone or not inner.days <= outer.days:
        return False
    if (outer.begins, outer.ends) == (inner.begins, inner.ends):
        return True
    # Windows across midnight are compared only with their equal.
    return outer.begins <= inner.begins < inner.ends <= outer.ends
