"""The example cases of a policy file: what the operator expects a device at a place to get, and what it gets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from policy.analysis.document import Document
from policy.analysis.networks import request_from
from policy.facts import DeviceStanding, RequestFacts, Standing
from policy.matching.networks import parse_address
from policy.matching.policy import Policy
from policy.matching.rules import ExampleCase, Match, MatchRefusal

# The reason codes of the decision log that policy refuses with. docs/reasons.md describes them.
_REASON_CODES = {
    MatchRefusal.NO_RULE: "policy_no_rule",
    MatchRefusal.NETWORK: "policy_network",
    MatchRefusal.TIME: "policy_time",
    MatchRefusal.DENIED: "policy_denied",
    MatchRefusal.BLOCKED: "device_blocked",
    MatchRefusal.QUARANTINED: "device_quarantined",
    MatchRefusal.PENDING: "approval_pending",
    MatchRefusal.UNKNOWN_ZONE: "zone_unknown",
}
# Rules that are for other standings only refuse a device because of its own.
_CODES_OF_STANDING = {Standing.QUARANTINED: "device_quarantined", Standing.PENDING: "approval_pending"}


def reason_code(match: Match) -> str | None:
    """The reason code of a match without access; None for one with access."""
    if match.refusal is None:
        return None
    if match.refusal is MatchRefusal.STANDING:
        return _CODES_OF_STANDING.get(match.standing, "policy_denied")
    return _REASON_CODES[match.refusal]


class CaseResult(NamedTuple):
    """The result of one case. `problem`: what differs from the expectation; None: the case passes."""

    case: ExampleCase
    expected: str
    found: str
    problem: str | None

    @property
    def passed(self) -> bool:
        return self.problem is None


def run_cases(policy: Policy, document: Document, *, now: float) -> tuple[CaseResult, ...]:
    """The results of the file's cases, in its order. `now`: the time of cases that name none, in seconds since 1970.

    A case tests what policy gives to a device that the DNS vouches for.
    """
    return tuple(_run(policy, document, case, now) for case in policy.tests)


def _run(policy: Policy, document: Document, case: ExampleCase, now: float) -> CaseResult:
    request = request_of(case, policy, document)
    if request is None:
        problem = f"no request was found that comes from the network {case.network}"
        return CaseResult(case, describe_expectation(case), "-", problem)
    device = DeviceStanding(case.standing, case.approved)
    match = policy.match(case.device, request, device, now=now if case.at is None else case.at)
    wrong = list(_differences(case, match))
    return CaseResult(case, describe_expectation(case), describe_match(match), "; ".join(wrong) or None)


def request_of(case: ExampleCase, policy: Policy, document: Document) -> RequestFacts | None:
    """The request that a case is about; None if no request was found that comes from the case's network."""
    if case.network is not None:
        written = document.get("networks", case.network, default={})
        network = next((n for rule in policy.rules for n in rule.networks or () if n.name == case.network), None)
        return request_from(network, written)
    is_address = case.nas is not None and parse_address(case.nas) is not None
    return RequestFacts(
        ssid=case.ssid,
        nas_identifier=None if is_address else case.nas,
        nas_address=case.nas if is_address else None,
        nas_port_type=case.port_type,
        realm=None if case.realm is None else case.realm.lower(),
    )


def _differences(case: ExampleCase, match: Match) -> Iterable[str]:
    if case.refused != (match.grant is None):
        yield f"{describe_match(match)}, expected: {describe_expectation(case)}"
        return
    code = reason_code(match)
    if case.reason is not None and code != case.reason:
        yield f"refused with {code}, expected: {case.reason}"
    rule = match.rule.name if match.rule is not None else None
    if case.rule is not None and case.rule != rule:
        yield f"rule {rule or 'none'}, expected: {case.rule}"
    if case.zone is not None and case.zone != match.zone:
        yield f"zone {match.zone or 'none'}, expected: {case.zone}"
    if case.vlan is not None and match.grant is not None and str(case.vlan) != str(match.grant.vlan):
        yield f"VLAN {match.grant.vlan or 'none'}, expected: {case.vlan}"


def describe_expectation(case: ExampleCase) -> str:
    """What a case expects, in words."""
    if case.refused:
        words = ["refuse" if case.reason is None else f"refuse ({case.reason})"]
    else:
        words = [f"zone {case.zone}"] if case.zone is not None else []
        words += [f"VLAN {case.vlan}"] if case.vlan is not None else []
    words += [f"rule {case.rule}"] if case.rule is not None else []
    return ", ".join(words) or "access"


def describe_match(match: Match) -> str:
    """What a match gives, in words."""
    by = f"rule {match.rule.name}" if match.rule is not None else None
    if match.grant is None:
        return ", ".join(filter(None, (f"refused: {reason_code(match)}", by)))
    vlan = f"VLAN {match.grant.vlan}" if match.zone is None and match.grant.vlan is not None else None
    zone = f"zone {match.zone}" if match.zone is not None else None
    return ", ".join(filter(None, (zone, vlan, by))) or "access"
