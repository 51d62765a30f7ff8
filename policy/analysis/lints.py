"""The examination of a valid policy file: what it says, but hardly means.

Every claim is true: where something cannot be decided, nothing is said about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sized
from datetime import UTC, datetime

from policy.analysis.coverage import Covered, unreachable
from policy.analysis.dictionary import Dictionary
from policy.analysis.document import Document
from policy.analysis.finding import Finding, Level, key_of
from policy.analysis.networks import never_matches
from policy.analysis.patterns import overlaps
from policy.analysis.reply_lints import reply_findings
from policy.facts import Standing, Strength
from policy.grants import Grant
from policy.matching.policy import Policy
from policy.matching.rules import Rule, RuleKind

# Why a text is no valid device name; None if it is one.
NameCheck = Callable[[str], str | None]

# Every code of a finding, with its level. `invalid` and `dictionary-missing` are those of `dane-radius policy check`.
CODES: dict[str, Level] = {
    "invalid": Level.ERROR,
    "attribute-conflict": Level.ERROR,
    "attribute-unknown": Level.ERROR,
    "attribute-value": Level.ERROR,
    "identity-never-valid": Level.WARNING,
    "list-unused": Level.WARNING,
    "network-never-matches": Level.WARNING,
    "network-unused": Level.WARNING,
    "packet-fragmented": Level.WARNING,
    "pkix-cd-without-effect": Level.WARNING,
    "quarantine-not-isolated": Level.WARNING,
    "quarantine-unreachable": Level.WARNING,
    "rule-ended": Level.WARNING,
    "unreachable-identity": Level.WARNING,
    "unreachable-rule": Level.WARNING,
    "zone-unused": Level.WARNING,
    "approval-without-zone": Level.NOTE,
    "dictionary-missing": Level.NOTE,
    "list-empty": Level.NOTE,
    "monitor-mode": Level.NOTE,
    "network-by-realm-only": Level.NOTE,
    "no-default": Level.NOTE,
    "not-examined": Level.NOTE,
    "quarantine-without-zone": Level.NOTE,
}

_SECTIONS = {RuleKind.GRANT: "grants", RuleKind.ROAMING: "roaming"}
_MAX_SHOWN = 3
_MAX_OVERLAP_TESTS = 1_000_000


def examine(
    policy: Policy, document: Document, *, now: float, name_problem: NameCheck, dictionary: Dictionary | None
) -> list[Finding]:
    """What is wrong, or probably wrong, in the order of the file.

    document: the file that `policy` was read from. now: seconds since 1970. dictionary: without one, the attributes of
    zones are not examined.
    """
    findings = [
        *_unreachable(policy, document),
        *_rules(policy, now, name_problem),
        *_networks(policy, document),
        *_zones(policy, document),
        *_lists(policy, document),
        *_standing(policy, document),
        *_quarantine(policy, document),
        *_default(policy),
        *reply_findings(policy, document, dictionary),
    ]
    return sorted(findings, key=lambda finding: (finding.line or 0, finding.code, finding.key))


def rule_key(rule: Rule) -> str:
    """How a finding names a rule."""
    return key_of(_SECTIONS.get(rule.kind, "rules"), rule.name)


def _unreachable(policy: Policy, document: Document) -> Iterator[Finding]:
    coverage = unreachable(policy, document)
    for covered in coverage.rules:
        yield _never_reached("unreachable-rule", covered, f"rule {covered.rule.name} is never reached")
    for covered in coverage.patterns:
        rule, pattern = covered.rule, covered.pattern
        yield _never_reached("unreachable-identity", covered, f"rule {rule.name} is never reached for {pattern}")
    if coverage.unexamined:
        yield Finding(
            "not-examined",
            Level.NOTE,
            None,
            "rules",
            f"the last {coverage.unexamined} rules were not compared with those above them: that would take minutes",
            "nothing",
        )


def _never_reached(code: str, covered: Covered, what: str) -> Finding:
    names = [rule.name for rule in covered.by]
    by = ", ".join(names[:_MAX_SHOWN]) + (f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else "")
    lines = ", ".join(str(rule.line) for rule in covered.by[:_MAX_SHOWN] if rule.line is not None)
    where = f" (line {lines})" if lines else ""
    return Finding(
        code,
        Level.WARNING,
        covered.rule.line,
        rule_key(covered.rule),
        f"{what}: {by}{where} covers everything that it is about",
        f"move it above {names[0]}, or remove it",
    )


def _rules(policy: Policy, now: float, name_problem: NameCheck) -> Iterator[Finding]:
    for rule in policy.rules:
        yield from _never_valid(rule, name_problem)
        if rule.window is not None and rule.window.until is not None and rule.window.until <= now:
            ended = datetime.fromtimestamp(rule.window.until, UTC)
            yield Finding(
                "rule-ended",
                Level.WARNING,
                rule.line,
                rule_key(rule),
                f"{rule.name} ended at {ended:%Y-%m-%d %H:%M} UTC, and never applies again",
                "remove it, or set a later `until`",
            )
        if rule.allow_pkix_cd and rule.require is not Strength.ANY:
            yield Finding(
                "pkix-cd-without-effect",
                Level.WARNING,
                rule.line,
                rule_key(rule),
                f"pkix_cd has no effect in {rule.name}, because require: {rule.require} excludes usage 4",
                "remove `pkix_cd`, or write `require: any`",
            )
        if rule.monitor:
            yield Finding(
                "monitor-mode",
                Level.NOTE,
                rule.line,
                rule_key(rule),
                f"{rule.name} admits devices that it would refuse otherwise (mode: monitor)",
                "remove `mode` when the rollout is over",
            )
    if policy.monitor:
        yield Finding(
            "monitor-mode",
            Level.NOTE,
            None,
            "mode",
            "the policy admits devices that it would refuse otherwise (mode: monitor)",
            "write `mode: enforce` when the rollout is over",
        )


def _never_valid(rule: Rule, name_problem: NameCheck) -> Iterator[Finding]:
    for pattern in rule.patterns:
        why = pattern_problem(pattern, name_problem)
        if why is not None:
            yield Finding(
                "identity-never-valid",
                Level.WARNING,
                rule.line,
                rule_key(rule),
                f"{pattern} in {rule.name} matches no valid device name: {why}",
                "correct the pattern",
            )


def pattern_problem(pattern: str, name_problem: NameCheck) -> str | None:
    """Why no valid device name matches a pattern; None if one does, or if that is not known."""
    labels = pattern.split(".")
    if any("*" in label and label.startswith("xn--") for label in labels):
        # Whether some text completes an A-label is not decided here.
        return None
    why = None
    # A star stands for no text or for a letter: one of the two is valid if anything is.
    for text in ("a", ""):
        name = ".".join("a" if label in ("*", "**") else label.replace("*", text) for label in labels)
        why = name_problem(name)
        if why is None:
            return None
    return why


def _networks(policy: Policy, document: Document) -> Iterator[Finding]:
    networks: Mapping[str, Mapping[str, object]] = document.get("networks", default={}) or {}
    used = {network.name for rule in policy.rules for network in rule.networks or ()}
    used |= {case.network for case in policy.tests if case.network is not None}
    for name, written in networks.items():
        line, key = document.line("networks", name), key_of("networks", name)
        if name not in used:
            yield Finding(
                "network-unused", Level.WARNING, line, key, f"no rule names the network {name}", "remove it, or use it"
            )
        if never_matches(written):
            yield Finding(
                "network-never-matches",
                Level.WARNING,
                line,
                key,
                f"no request comes from the network {name}: wired and port_types contradict each other",
                "remove `wired`, or correct `port_types`",
            )
        if written.get("realms") and len(written) == 1:
            yield Finding(
                "network-by-realm-only",
                Level.NOTE,
                line,
                key,
                f"the network {name} is chosen by the device: only the outer identity, which is not verified, names it",
                "add ssid, nas, wired or port_types if the network protects something",
            )


def _zones(policy: Policy, document: Document) -> Iterator[Finding]:
    used = {rule.zone for rule in policy.rules} | {policy.standing_zones.quarantined, policy.standing_zones.pending}
    for name in policy.zones:
        if name not in used:
            yield Finding(
                "zone-unused",
                Level.WARNING,
                document.line("zones", name),
                key_of("zones", name),
                f"neither a rule nor `standing` leads to the zone {name}",
                "remove it; keep it if operators assign devices to it by name",
            )


def _lists(policy: Policy, document: Document) -> Iterator[Finding]:
    used = {rule.devices for rule in policy.rules}
    for name, devices in policy.device_lists.items():
        line, key = document.line("device_lists", name), key_of("device_lists", name)
        if name not in used:
            yield Finding(
                "list-unused", Level.WARNING, line, key, f"no rule names the device list {name}", "remove it, or use it"
            )
        if isinstance(devices, Sized) and not len(devices):
            yield Finding(
                "list-empty",
                Level.NOTE,
                line,
                key,
                f"the device list {name} is empty, so its rules match nothing",
                "add names to the file, or remove the list",
            )


def _standing(policy: Policy, document: Document) -> Iterator[Finding]:
    zones = policy.standing_zones
    asking = next((rule for rule in policy.rules if rule.approval), None)
    if asking is not None and zones.pending is None:
        yield Finding(
            "approval-without-zone",
            Level.NOTE,
            asking.line,
            rule_key(asking),
            f"a device that waits for the approval of {asking.name} is refused, because `standing` has no zone for it",
            "add `standing: {pending: {zone: ...}}` if it should wait in the network",
        )
    listed = any(Standing.QUARANTINED in (rule.standings or ()) for rule in policy.rules)
    setting = next((rule for rule in policy.standing_rules if rule.standing is Standing.QUARANTINED), None)
    if setting is not None and zones.quarantined is None and not listed:
        yield Finding(
            "quarantine-without-zone",
            Level.NOTE,
            document.line("standing", "rules"),
            key_of("standing", "rules"),
            f"a device that {setting.name} quarantines is refused, because `standing` has no zone for it",
            "add `standing: {quarantined: {zone: ...}}` if it should be isolated in the network",
        )

    yield from _isolation(policy, document)


def _isolation(policy: Policy, document: Document) -> Iterator[Finding]:
    """A zone for quarantine that gives the same access as another one isolates nothing."""
    quarantine = policy.standing_zones.quarantined
    access = {name: _access(zone.grant) for name, zone in policy.zones.items()}
    for name in access:
        if quarantine in access and name != quarantine and access[name] == access[quarantine]:
            yield Finding(
                "quarantine-not-isolated",
                Level.WARNING,
                document.line("zones", quarantine),
                key_of("zones", quarantine),
                f"a device in quarantine has the same access as in the zone {name}",
                "give the zone its own vlan, filter_id or nas_filter_rules",
            )
            return


def _access(grant: Grant) -> tuple[object, ...]:
    return grant.vlan, grant.filter_id, grant.nas_filter_rules, grant.attributes


def _quarantine(policy: Policy, document: Document) -> Iterator[Finding]:
    """Version 1: names in quarantine that no rule admits anyway."""
    tests = 0
    granting = [text for rule in policy.rules if rule.grant is not None for text in rule.patterns]
    for position, pattern in enumerate(policy.quarantine):
        if "*" in pattern.text:
            tests += len(granting)
            if tests > _MAX_OVERLAP_TESTS or any(overlaps(pattern.text, text) for text in granting):
                continue
        elif policy.could_grant(pattern.text):
            continue
        yield Finding(
            "quarantine-unreachable",
            Level.WARNING,
            document.line("quarantine", "identity", position),
            key_of("quarantine", "identity", position),
            f"{pattern.text} is in quarantine, but no rule admits such a device",
            "remove it from the quarantine, or add a rule that admits it",
        )


def _default(policy: Policy) -> Iterator[Finding]:
    if policy.version >= 2 and not any(rule.is_default for rule in policy.rules):
        yield Finding(
            "no-default",
            Level.NOTE,
            None,
            "rules",
            "no rule has `default: true`; names that no rule covers are refused with policy_no_rule",
            "end `rules` with `{name: everything-else, default: true, refuse: true}` to say so",
        )
