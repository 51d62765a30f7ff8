"""The policy language: which device names may join which network, and with what access.

`load_policy` reads and checks a file. `Policy` finds the rule for a name and a request, without I/O. `PolicyStore`
follows the file while a server runs.
"""

from policy.attributes import Attribute, grant_attributes
from policy.loader import PolicyError, load_policy, parse_policy
from policy.matching import Grant, Match, Policy, RequestFacts, Rule, Standing, Strength, ssid_of
from policy.store import PolicyStore

__all__ = [
    "Attribute",
    "Grant",
    "Match",
    "Policy",
    "PolicyError",
    "PolicyStore",
    "RequestFacts",
    "Rule",
    "Standing",
    "Strength",
    "grant_attributes",
    "load_policy",
    "parse_policy",
    "ssid_of",
]
