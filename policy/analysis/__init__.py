"""Tools around the policy language, for people and not for the authentication path.

`examine` finds what a policy says but hardly means. `explain` says why it treats a device as it does. `run_cases` tests
the example cases of the file. `compare` says in words what changes between two policies. `upgrade` rewrites a file of
version 1. None of them needs the DNS or a server.
"""

from policy.analysis.cases import CaseResult, describe_expectation, describe_match, run_cases
from policy.analysis.dictionary import (
    DEFAULT_DICTIONARY,
    LOCAL_DICTIONARIES,
    Dictionary,
    DictionaryError,
    read_dictionary,
)
from policy.analysis.difference import AccessChange, Difference, compare, same_access
from policy.analysis.document import Document
from policy.analysis.examples import EXAMPLES, example_file
from policy.analysis.explanation import Explanation, Reason, describe_window, explain
from policy.analysis.finding import Finding, Level
from policy.analysis.lints import CODES, examine
from policy.analysis.samples import sample_names, sample_places
from policy.analysis.upgrading import UpgradeError, upgrade

__all__ = [
    "CODES",
    "DEFAULT_DICTIONARY",
    "EXAMPLES",
    "LOCAL_DICTIONARIES",
    "AccessChange",
    "CaseResult",
    "Dictionary",
    "DictionaryError",
    "Difference",
    "Document",
    "Explanation",
    "Finding",
    "Level",
    "Reason",
    "UpgradeError",
    "compare",
    "describe_expectation",
    "describe_match",
    "describe_window",
    "examine",
    "example_file",
    "explain",
    "read_dictionary",
    "run_cases",
    "same_access",
    "sample_names",
    "sample_places",
    "upgrade",
]
