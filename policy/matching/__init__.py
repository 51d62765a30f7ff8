"""A policy ready for use, without I/O: patterns, networks, time windows, rules, and the index over them."""

from policy.facts import port_type_number
from policy.matching.globs import compile_glob
from policy.matching.names import IdentityPattern, identity_domain
from policy.matching.networks import Network
from policy.matching.policy import CuiMode, Policy
from policy.matching.rules import ExampleCase, Match, MatchRefusal, Rule, RuleKind, StandingRule
from policy.matching.verdict import StandingZones
from policy.matching.walk import Miss, Step, walk
from policy.matching.windows import Phase, TimeWindow

__all__ = [
    "CuiMode",
    "ExampleCase",
    "IdentityPattern",
    "Match",
    "MatchRefusal",
    "Miss",
    "Network",
    "Phase",
    "Policy",
    "Rule",
    "RuleKind",
    "StandingRule",
    "StandingZones",
    "Step",
    "TimeWindow",
    "compile_glob",
    "identity_domain",
    "port_type_number",
    "walk",
]
