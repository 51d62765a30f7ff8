"""From the data of a policy file to a policy: validated and compiled section by section, and entry by entry.

A rule is compiled as soon as it is validated. The models of 100,000 rules at once would need a gigabyte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from policy.attributes import grant_octets
from policy.grants import Grant
from policy.loading.device_lists import MAX_LISTS, digest_with_lists, load_list
from policy.loading.document import Mapping as FileMapping
from policy.loading.parts import MAX_GRANT_OCTETS, grant_of_version_1, network_of, network_of_version_1, zone_of
from policy.loading.problems import Path, Problem, Stamp, problems_of
from policy.loading.references import References
from policy.loading.rules import RuleCompiler, case_of, standing_rule_of
from policy.matching.device_lists import NameTable
from policy.matching.index import RuleIndex
from policy.matching.names import IdentityPattern
from policy.matching.policy import CuiMode, Policy
from policy.matching.rules import ExampleCase, Rule
from policy.matching.verdict import StandingZones
from policy.model import version_1, version_2
from policy.model.fields import RULE_NAME, RULE_NAME_MEANING
from policy.model.zones import ZoneModel

_ModelT = TypeVar("_ModelT", bound=BaseModel)
# What grants of version 1 may have: whatever fits beside the rest of a reply.
_MAX_GRANT_OCTETS_VERSION_1 = 3_600


def builder_for(data: dict[str, Any], base: FilePath | None, rest: Callable[[], None]) -> _Builder:
    """The builder for a file of this version."""
    version = data.get("version")
    if version == 2 and version is not True:
        return _Version2(data, base, rest)
    return _Version1(data, base, rest)


class _Builder:
    """Builds the policy of one file. `problems` collects every mistake."""

    def __init__(self, data: dict[str, Any], base: FilePath | None, rest: Callable[[], None]) -> None:
        self._data, self._base, self._rest = data, base, rest
        self.problems: list[Problem] = []
        self.list_files: dict[str, str] = {}
        self.list_stamps: dict[str, Stamp | None] = {}

    def build(self, source: str, file_digest: str) -> Policy | None:
        """The policy, or None if there are problems."""
        raise NotImplementedError

    def _head(self, model: type[_ModelT], sections: tuple[str, ...]) -> _ModelT | None:
        """The file without the entries of its long sections, which are validated one by one."""
        data = {
            key: type(value)() if key in sections and isinstance(value, list | dict) else value
            for key, value in self._data.items()
        }
        try:
            return model.model_validate(data)
        except ValidationError as error:
            self.problems += problems_of(error, model, data)
        except RecursionError:
            self.problems.append(Problem((), "nested too deeply"))
        return None

    def _entries(self, section: str, model: type[_ModelT]) -> Iterator[tuple[Path, int | None, _ModelT]]:
        """The valid entries of a section: where each stands, its line, and its content."""
        found = self._data.get(section)
        entries: list[Any] = found if isinstance(found, list) else []
        for number, entry in enumerate(entries):
            self._rest()
            # What was compiled is released entry by entry. Releasing everything at once would take long.
            entries[number] = None
            path: Path = (section, number)
            try:
                valid = model.model_validate(entry)
            except ValidationError as error:
                self.problems += problems_of(error, model, entry, path)
            except RecursionError:
                self.problems.append(Problem(path, "nested too deeply"))
            else:
                yield path, entry.line if isinstance(entry, FileMapping) else None, valid

    def _index(self, rules: list[Rule], lists: Mapping[str, NameTable]) -> RuleIndex:
        ordinary = rules[:-1] if rules and rules[-1].is_default else rules
        return RuleIndex(ordinary, lists, self._rest)

    def _named(self, section: str, model: type[_ModelT]) -> Iterator[tuple[str, _ModelT]]:
        """The valid entries of a section whose entries have names."""
        found = self._data.get(section)
        for name, entry in found.items() if isinstance(found, dict) else ():
            self._rest()
            path: Path = (section, name)
            if not re.match(RULE_NAME, name):
                self.problems.append(Problem(path, f"name {name!r} found; {RULE_NAME_MEANING} are expected"))
            try:
                yield name, model.model_validate(entry)
            except ValidationError as error:
                self.problems += problems_of(error, model, entry, path)
            except RecursionError:
                self.problems.append(Problem(path, "nested too deeply"))

    def _names(self, section: str) -> Collection[str]:
        found = self._data.get(section)
        return found if isinstance(found, dict) else ()

    def _report(self, problems: Iterable[Problem]) -> bool:
        """Add problems, and say whether the file is still good."""
        self.problems += problems
        return not self.problems

    def _check_fits(self, path: Path, grant: Grant | None, limit: int) -> None:
        """Report a grant whose attributes do not fit a packet.

        FreeRADIUS silently omits what does not, and the device would have fewer filters than the policy says.
        """
        octets = 0 if grant is None else grant_octets(grant)
        if octets > limit:
            message = (
                f"reply attributes of {octets} octets in all, at most {limit} expected: "
                "FreeRADIUS omits what does not fit into the packet (RFC 2865 section 3)"
            )
            self.problems.append(Problem(path, message))


class _Version1(_Builder):
    def build(self, source: str, file_digest: str) -> Policy | None:
        head = self._head(version_1.PolicyModel, ("rules", "networks"))
        networks = {
            name: network_of_version_1(name, model) for name, model in self._named("networks", version_1.NetworkModel)
        }
        entries = self._entries("rules", version_1.RuleModel)
        if head is None:
            for _ in entries:
                pass
            return None
        quarantine = None if head.quarantine is None else grant_of_version_1(head.quarantine.grant)
        self._check_fits(("quarantine", "grant"), quarantine, _MAX_GRANT_OCTETS_VERSION_1)
        compiler, references = RuleCompiler(networks, {}, "UTC"), References(self._names("networks"))
        rules: list[Rule] = []
        for path, line, model in entries:
            if self._report(references.rule_of_version_1(path, model)):
                rule = compiler.of_version_1(model, line)
                self._check_fits((*path, "grant"), rule.grant, _MAX_GRANT_OCTETS_VERSION_1)
                rules.append(rule)
        if self.problems:
            return None
        return Policy(
            rules=rules,
            index=self._index(rules, {}),
            monitor=head.mode == "monitor",
            ttl_factor=head.session.ttl_factor,
            minimum_session=head.session.minimum,
            quarantine=tuple(map(IdentityPattern.compile, head.quarantine.identity)) if head.quarantine else (),
            standing_zones=StandingZones({}, quarantine_grant=quarantine),
            source=source,
            digest=file_digest,
            file_digest=file_digest,
        )


class _Version2(_Builder):
    def build(self, source: str, file_digest: str) -> Policy | None:
        head = self._head(version_2.PolicyModel, ("networks", "zones", "rules", "grants", "roaming", "tests"))
        networks = {name: network_of(name, model) for name, model in self._named("networks", version_2.NetworkModel)}
        zones = {name: zone_of(name, model) for name, model in self._named("zones", ZoneModel)}
        if head is None:
            self._validate_entries()
            return None
        for name, zone in zones.items():
            self._check_fits(("zones", name), zone.grant, MAX_GRANT_OCTETS)
        references = References(self._names("networks"), self._names("zones"), head.device_lists)
        self._report(references.standing(head.standing))
        rules = self._rules(references, RuleCompiler(networks, zones, head.timezone))
        cases = self._cases(references, head.timezone)
        references.release(self._rest)
        lists = self._lists(head.device_lists)
        if self.problems:
            return None
        standing = head.standing
        return Policy(
            rules=rules,
            monitor=head.mode == "monitor",
            ttl_factor=head.session.ttl_factor,
            minimum_session=head.session.minimum,
            source=source,
            digest=digest_with_lists(file_digest, lists),
            version=2,
            cui=CuiMode(head.cui),
            standing_zones=StandingZones(
                zones,
                quarantined=None if standing.quarantined is None else standing.quarantined.zone,
                pending=None if standing.pending is None else standing.pending.zone,
            ),
            device_lists=lists,
            file_digest=file_digest,
            list_files=self.list_files,
            list_stamps=self.list_stamps,
            index=self._index(rules, lists),
            standing_rules=tuple(map(standing_rule_of, standing.rules)),
            tests=tuple(cases),
        )

    def _validate_entries(self) -> None:
        """Validate the entries, only to report their mistakes."""
        for section, model in (
            ("rules", version_2.RuleModel),
            ("grants", version_2.GrantModel),
            ("roaming", version_2.RoamingModel),
            ("tests", version_2.CaseModel),
        ):
            for _ in self._entries(section, model):
                pass

    def _rules(self, references: References, compiler: RuleCompiler) -> list[Rule]:
        """The rules in the order of evaluation: as in the file, then grants, roaming and the default."""
        rules: list[Rule] = []
        count = len(self._data["rules"])
        for path, line, model in self._entries("rules", version_2.RuleModel):
            if self._report(references.rule(path, model, last=path[1] == count - 1)):
                rules.append(compiler.rule(model, line))
        default = [rules.pop()] if rules and rules[-1].is_default else []
        for path, line, grant in self._entries("grants", version_2.GrantModel):
            number = int(path[1]) + 1
            if self._report(references.grant(path, grant, grant.name or f"grant-{number}")):
                rules.append(compiler.grant(grant, number, line))
        for path, line, roaming in self._entries("roaming", version_2.RoamingModel):
            number = int(path[1]) + 1
            if self._report(references.grant(path, roaming, roaming.name or f"roaming-{number}")):
                rules.append(compiler.roaming(roaming, number, line))
        return rules + default

    def _cases(self, references: References, timezone: str) -> list[ExampleCase]:
        cases = []
        for path, line, case in self._entries("tests", version_2.CaseModel):
            self._report(references.case(path, case))
            cases.append(case_of(case, timezone, line))
        return cases

    def _lists(self, paths: Mapping[str, str]) -> dict[str, NameTable]:
        lists: dict[str, NameTable] = {}
        if len(paths) > MAX_LISTS:
            self._report([Problem(("device_lists",), f"{len(paths)} lists found, at most {MAX_LISTS} are expected")])
        for name, path in paths.items():
            key: Path = ("device_lists", name)
            if self._base is None:
                self._report([Problem(key, f"{path!r} found; only a policy file can have device lists")])
                continue
            self.list_files[name] = str(self._base / path)
            found, problems, self.list_stamps[name] = load_list(self._base / path, self._rest)
            self._report(problem._replace(path=key) for problem in problems)
            if found is not None:
                lists[name] = found
        return lists
