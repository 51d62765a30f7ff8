"""The policy language: which device names may join which network, and with what access.

`load_policy` reads and checks a file. `Policy` finds the rule for a name and a request, without I/O. `PolicyStore`
follows the file while a server runs.
"""

from policy.attributes import MAX_ATTRIBUTE_OCTETS, grant_attributes, grant_octets
from policy.facts import DeviceStanding, RequestFacts, Standing, Strength, ssid_of
from policy.grants import Attribute, Grant, Zone
from policy.loading.loader import load_policy, parse_policy
from policy.loading.problems import PolicyError, Problem
from policy.matching.policy import CuiMode, Policy, PolicySettings
from policy.matching.rules import ExampleCase, Match, MatchRefusal, Rule, RuleKind, StandingRule
from policy.matching.walk import Miss, Step, domains_of, walk
from policy.matching.windows import TimeWindow
from policy.model.schema import json_schema
from policy.store import PolicyStore

__all__ = [
    "MAX_ATTRIBUTE_OCTETS",
    "Attribute",
    "CuiMode",
    "DeviceStanding",
    "ExampleCase",
    "Grant",
    "Match",
    "MatchRefusal",
    "Miss",
    "Policy",
    "PolicyError",
    "PolicySettings",
    "PolicyStore",
    "Problem",
    "RequestFacts",
    "Rule",
    "RuleKind",
    "Standing",
    "StandingRule",
    "Step",
    "Strength",
    "TimeWindow",
    "Zone",
    "domains_of",
    "grant_attributes",
    "grant_octets",
    "json_schema",
    "load_policy",
    "parse_policy",
    "ssid_of",
    "walk",
]
