"""What changed between two versions of a MUD file, in sentences on which a person can base an approval."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

from mud.acl import Action, DeviceAcl, Direction, Family, Rule, compile_acl, describe_rule
from mud.comparison.coverage import uncovered
from mud.document import MudContainer, MudFile, TlsProfile

_FAMILIES = (Family.IPV4, Family.IPV6, Family.ETHERNET)
# Rules about the same peers that are named beside a change.
_MAX_BEFORE = 6
_MEMBERS = {
    "mud_url": "The MUD URL",
    "is_supported": "Support by the maker",
    "systeminfo": "The description",
    "mfg_name": "The maker's name",
    "model_name": "The model's name",
    "firmware_rev": "The firmware revision",
    "software_rev": "The software revision",
    "documentation": "The documentation's URL",
    "mud_signature": "The signature's URL",
    "cache_validity": "The hours between two checks for a new version",
    "tls_profile_supported": "Support of TLS profiles",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `before`: what the other version says about the same peers, if anything."""

    text: str
    before: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.before:
            return self.text
        return f"{self.text} Before: {' '.join(self.before)}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference between two versions.

    `widened`: what the new version permits and the old one may not. `narrowed`: the reverse. `changed`: everything else
    that a person may want to know. `remarks`: what compiling the new version found, and did not find in the old one.
    `older`: the new version was made before the old one. That can be an attack with a version that had a weakness.
    """

    widened: tuple[Change, ...]
    narrowed: tuple[Change, ...]
    changed: tuple[str, ...]
    remarks: tuple[str, ...]
    older: bool

    @property
    def widens(self) -> bool:
        """Whether a packet could pass that could not pass before. False is certain."""
        return bool(self.widened)

    def lines(self) -> list[str]:
        """The whole comparison, one sentence a line, what matters most first."""
        made: list[str] = []
        if self.older:
            made.append("This version is older than the one in force.")
        for title, items in (
            ("New permissions", self.widened),
            ("Permissions that end", self.narrowed),
            ("Other changes", self.changed),
            ("Remarks on entries", self.remarks),
        ):
            if items:
                made += [f"{title}:", *(f"- {item}" for item in items)]
        return made or ["Nothing changed."]


def compare(old: MudFile | None, new: MudFile) -> Comparison:
    """Compare two versions. Without an old one, everything that the new one permits is new."""
    new_acl = compile_acl(new)
    old_acl = DeviceAcl(new.mud.mud_url) if old is None else compile_acl(old)
    known = {(finding.code, finding.text) for finding in old_acl.findings}
    return Comparison(
        widened=_changes(old_acl, new_acl),
        narrowed=_changes(new_acl, old_acl),
        changed=() if old is None else (*_container_changes(old.mud, new.mud), *_tls_changes(old_acl, new_acl)),
        remarks=tuple(finding.text for finding in new_acl.findings if (finding.code, finding.text) not in known),
        older=old is not None and new.mud.last_update < old.mud.last_update,
    )


def _changes(base: DeviceAcl, other: DeviceAcl) -> tuple[Change, ...]:
    """What `other` permits and `base` may not."""
    made: list[Change] = []
    for direction in Direction:
        accepted = [rule for rule in base.rules(direction) if rule.action is Action.ACCEPT]
        for rule, families in _by_family(uncovered(base, other, direction)):
            similar = (candidate for candidate in accepted if candidate.peers == rule.peers and rule.peers)
            grouped = _by_family(islice(similar, _MAX_BEFORE))
            before = tuple(describe_rule(candidate, found) for candidate, found in grouped)
            made.append(Change(describe_rule(rule, families), before))
    return tuple(made)


def _by_family(rules: Iterable[Rule]) -> list[tuple[Rule, tuple[Family, ...]]]:
    """Rules that differ in their family only, together."""
    groups: dict[Rule, list[Rule]] = {}
    for rule in rules:
        groups.setdefault(replace(rule, family=Family.IPV4), []).append(rule)
    return [
        (group[0], tuple(family for family in _FAMILIES if any(rule.family is family for rule in group)))
        for group in groups.values()
    ]


def _container_changes(old: MudContainer, new: MudContainer) -> list[str]:
    made = []
    for name, label in _MEMBERS.items():
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            made.append(f"{label}: before {_shown(before)}, now {_shown(after)}.")
    return made


def _shown(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "yes" if value else "no"
    return str(value)


def _tls_changes(old: DeviceAcl, new: DeviceAcl) -> list[str]:
    before, after = _profiles(old), _profiles(new)
    made = []
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name, set()), after.get(name, set())
        if was != now:
            made.append(f"TLS profile {name}: before {_described(was)}, now {_described(now)}.")
    return made


def _profiles(acl: DeviceAcl) -> dict[str, set[TlsProfile]]:
    made: dict[str, set[TlsProfile]] = {}
    for rule in (*acl.from_device, *acl.to_device):
        for profile in rule.tls_profiles:
            made.setdefault(profile.name, set()).add(profile)
    return made


def _described(profiles: set[TlsProfile]) -> str:
    return " or ".join(sorted("; ".join(profile.describe()) or "anything" for profile in profiles)) or "nothing"
