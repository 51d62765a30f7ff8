"""Rules, standing rules and example cases, compiled from the models of a file."""

from __future__ import annotations

from collections.abc import Mapping

from policy.facts import Standing, Strength
from policy.grants import Zone
from policy.loading.parts import grant_of_version_1, timezone_of, window_of
from policy.matching.networks import Network
from policy.matching.rules import ExampleCase, Rule, RuleKind, StandingRule
from policy.matching.windows import TimeWindow, moment_of
from policy.model import version_1, version_2
from policy.model.zones import StandingRuleModel


class RuleCompiler:
    """Compiles the rules of one file. Equal parts of rules are one object."""

    def __init__(self, networks: Mapping[str, Network], zones: Mapping[str, Zone], timezone: str) -> None:
        self._networks, self._zones, self._timezone = networks, zones, timezone
        self._network_sets: dict[tuple[str, ...], tuple[Network, ...]] = {}
        self._windows: dict[TimeWindow, TimeWindow] = {}
        self._standings: dict[frozenset[Standing], frozenset[Standing]] = {}

    def of_version_1(self, model: version_1.RuleModel, line: int | None) -> Rule:
        """A rule of a file of version 1."""
        return Rule(
            name=model.name,
            patterns=tuple(model.identity),
            networks=self._networks_of(model.networks),
            require=Strength(model.require),
            allow_pkix_cd=model.pkix_cd,
            monitor=model.mode == "monitor",
            grant=None if model.grant is None else grant_of_version_1(model.grant),
            line=line,
        )

    def rule(self, model: version_2.RuleModel, line: int | None) -> Rule:
        """A rule of the section `rules`."""
        return self._compile(
            model,
            name=model.name,
            patterns=tuple(model.identity or ()),
            domains=tuple(model.domains or ()),
            devices=model.devices,
            zone=model.zone,
            window=None if model.when is None else self._shared(window_of(model.when, self._timezone)),
            kind=RuleKind.DEFAULT if model.default else RuleKind.RULE,
            why=model.refuse if isinstance(model.refuse, str) else None,
            note=model.description,
            line=line,
        )

    def grant(self, model: version_2.GrantModel, number: int, line: int | None) -> Rule:
        """An entry of the section `grants`, which is number `number` in it, from 1."""
        return self._compile(
            model,
            name=model.name or f"grant-{number}",
            patterns=tuple(model.identity),
            domains=tuple(model.domains or ()),
            zone=model.zone,
            window=self._shared(window_of(model.when, self._timezone, model.since, model.until)),
            kind=RuleKind.GRANT,
            note=model.note,
            line=line,
        )

    def roaming(self, model: version_2.RoamingModel, number: int, line: int | None) -> Rule:
        """An entry of the section `roaming`, which is number `number` in it, from 1."""
        return self._compile(
            model,
            name=model.name or f"roaming-{number}",
            domains=tuple(model.domains),
            zone=model.zone,
            window=self._shared(window_of(model.when, self._timezone, model.since, model.until)),
            kind=RuleKind.ROAMING,
            note=model.note,
            terms=model.terms,
            line=line,
        )

    def _compile(
        self,
        model: version_2.ConditionsModel,
        *,
        name: str,
        zone: str | None,
        window: TimeWindow | None,
        kind: RuleKind,
        patterns: tuple[str, ...] = (),
        domains: tuple[str, ...] = (),
        devices: str | None = None,
        why: str | None = None,
        note: str | None = None,
        terms: str | None = None,
        line: int | None,
    ) -> Rule:
        return Rule(
            name=name,
            patterns=patterns,
            networks=self._networks_of(model.networks),
            require=Strength(model.require),
            allow_pkix_cd=model.pkix_cd,
            monitor=model.mode == "monitor",
            grant=None if zone is None else self._zones[zone].grant,
            zone=zone,
            domains=domains,
            devices=devices,
            window=window,
            standings=self._standings_of(model.standing),
            approval=model.approval is not None,
            kind=kind,
            why=why,
            note=note,
            terms=terms,
            line=line,
        )

    def _networks_of(self, names: list[str] | None) -> tuple[Network, ...] | None:
        if names is None:
            return None
        key = tuple(names)
        found = self._network_sets.get(key)
        if found is None:
            found = self._network_sets[key] = tuple(self._networks[name] for name in names)
        return found

    def _standings_of(self, names: list[version_2.RuleStanding] | None) -> frozenset[Standing] | None:
        if names is None:
            return None
        found = frozenset(Standing(name) for name in names)
        return self._standings.setdefault(found, found)

    def _shared(self, window: TimeWindow | None) -> TimeWindow | None:
        return None if window is None else self._windows.setdefault(window, window)


def standing_rule_of(model: StandingRuleModel) -> StandingRule:
    """A rule of the section `standing.rules`."""
    return StandingRule(model.name, model.stations, model.refusals, model.within, Standing(model.set_), model.for_)


def case_of(model: version_2.CaseModel, timezone: str, line: int | None) -> ExampleCase:
    """A case of the section `tests`. Its time is in the file's time zone."""
    expect = model.expect
    expected = version_2.ExpectModel.model_construct() if isinstance(expect, str) else expect
    return ExampleCase(
        name=model.name,
        device=model.device,
        network=model.network,
        ssid=model.ssid,
        nas=model.nas,
        port_type=model.port_type,
        realm=model.realm,
        at=None if model.at is None else moment_of(model.at, timezone_of(timezone)),
        standing=Standing(model.standing),
        approved=model.approved,
        refused=isinstance(expect, str) or expect.refuse is not None,
        reason=expected.refuse,
        zone=expected.zone,
        rule=expected.rule,
        vlan=expected.vlan,
        line=line,
    )
