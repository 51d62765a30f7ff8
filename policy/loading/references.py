"""Names in a policy file that refer to other parts of it: each must exist, and name one thing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from policy.loading.problems import Path, Problem, one_of
from policy.model import version_1, version_2
from policy.model.zones import StandingModel


class References:
    """Checks the references of a file, entry by entry."""

    def __init__(self, networks: Collection[str], zones: Collection[str] = (), lists: Collection[str] = ()) -> None:
        """The names that the file defines."""
        self._networks, self._zones, self._lists = networks, zones, lists
        self._names: set[str] = set()

    def release(self, rest: Callable[[], None]) -> None:
        """Forget the names of the rules, in small steps: there may be very many."""
        while self._names:
            self._names.pop()
            rest()

    def rule_of_version_1(self, path: Path, rule: version_1.RuleModel) -> Iterator[Problem]:
        """The mistakes of a rule of version 1."""
        yield from self._name(path, rule.name)
        yield from _check_all((*path, "networks"), rule.networks, self._networks, "networks")

    def standing(self, standing: StandingModel) -> Iterator[Problem]:
        """The mistakes of the section `standing`."""
        for key, entry in (("quarantined", standing.quarantined), ("pending", standing.pending)):
            if entry is not None:
                yield from self._zone(("standing", key, "zone"), entry.zone)
        seen: set[str] = set()
        for number, rule in enumerate(standing.rules):
            if rule.name in seen:
                yield _duplicate(("standing", "rules", number, "name"), rule.name)
            seen.add(rule.name)

    def rule(self, path: Path, rule: version_2.RuleModel, *, last: bool) -> Iterator[Problem]:
        """The mistakes of an entry of `rules`, which may be the last one."""
        if rule.default and not last:
            yield Problem((*path, "default"), "True found; the default is expected to be the last rule")
        if rule.devices is not None and rule.devices not in self._lists:
            yield _unknown((*path, "devices"), rule.devices, self._lists, "device_lists")
        yield from self._entry(path, rule, rule.name, rule.zone)

    def grant(self, path: Path, rule: version_2.GrantModel | version_2.RoamingModel, name: str) -> Iterator[Problem]:
        """The mistakes of an entry of `grants` or `roaming`. name: its own, or the one made for it."""
        if rule.since is not None and rule.until is not None and rule.since >= rule.until:
            yield Problem((*path, "until"), "until is not after since")
        yield from self._entry(path, rule, name, rule.zone)

    def _entry(self, path: Path, rule: version_2.ConditionsModel, name: str, zone: str | None) -> Iterator[Problem]:
        yield from self._name(path, name)
        yield from _check_all((*path, "networks"), rule.networks, self._networks, "networks")
        if zone is not None:
            yield from self._zone((*path, "zone"), zone)

    def case(self, path: Path, case: version_2.CaseModel) -> Iterator[Problem]:
        """The mistakes of an example case. Called after every rule was checked."""
        if case.network is not None:
            yield from _check_all((*path, "network"), [case.network], self._networks, "networks")
        if isinstance(case.expect, version_2.ExpectModel):
            if case.expect.zone is not None:
                yield from self._zone((*path, "expect", "zone"), case.expect.zone)
            if case.expect.rule is not None and case.expect.rule not in self._names:
                yield _unknown((*path, "expect", "rule"), case.expect.rule, self._names, "rules")

    def _name(self, path: Path, name: str) -> Iterator[Problem]:
        if name in self._names:
            yield _duplicate((*path, "name"), name)
        self._names.add(name)

    def _zone(self, path: Path, zone: str) -> Iterator[Problem]:
        if zone not in self._zones:
            yield _unknown(path, zone, self._zones, "zones")


def _duplicate(path: Path, name: str) -> Problem:
    return Problem(path, f"duplicate {name!r}; unique names are expected")


def _check_all(path: Path, names: Sequence[str] | None, known: Collection[str], section: str) -> Iterator[Problem]:
    for name in names or ():
        if name not in known:
            yield _unknown(path, name, known, section)


def _unknown(path: Path, name: str, known: Collection[str], section: str) -> Problem:
    return Problem(path, f"{name!r} found; one of {section} is expected ({one_of(known)})")
