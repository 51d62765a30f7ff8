"""Whether access depends on what accounting does not store: the NAS-Identifier, and the realm of the identity. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from policy import DeviceStanding, Miss, Policy, RequestFacts, Rule, Standing, walk


def depends_on_unknown(
    policy: Policy, name: str, facts: RequestFacts, standings: Iterable[DeviceStanding | None], now: float
) -> bool:
    """Whether a rule for one of these standings may apply in spite of the facts."""
    if not any(_names_unknown(rule) for rule in policy.rules):
        return False
    return any(
        step.miss is Miss.NETWORKS and _names_unknown(step.rule)
        for standing in standings
        for step in walk(policy, name, facts, standing, now)
    )


def _names_unknown(rule: Rule) -> bool:
    return any(network.nas_identifiers or network.realms is not None for network in rule.networks or ())


def may_matter(old: DeviceStanding | None, new: DeviceStanding | None, policy: Policy) -> bool:
    """Whether a device's access may depend on the difference."""
    old, new = old or DeviceStanding(), new or DeviceStanding()
    if any(rule.approval for rule in policy.rules) and old.approved != new.approved:
        return True
    if any(rule.standings is not None for rule in policy.rules) and old.standing is not new.standing:
        return True
    harmless = (Standing.NORMAL, Standing.WATCHED)
    if old.standing in harmless and new.standing in harmless:
        return old.zone != new.zone
    return (old.standing, old.zone) != (new.standing, new.zone)
