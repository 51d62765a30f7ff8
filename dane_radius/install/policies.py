"""The policies in `policy.d/dane`. Sites call them by name, so a site and its policies must fit together.

Files are replaced one after another. While a site of the previous version is in use, the policies that it calls must
exist too. Pure functions over the file's text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_POLICY = re.compile(r"^([A-Za-z_][\w.-]*)[ \t]*\{.*?^\}[ \t]*\n?", re.MULTILINE | re.DOTALL)


def policies_of(text: str) -> dict[str, str]:
    """The text of each policy, by its name."""
    return {match[1]: match[0] for match in _POLICY.finditer(text)}


def with_missing(text: str, other: str) -> str:
    """`text`, and the policies of `other` that it lacks."""
    have = policies_of(text)
    return _append(text, [policy for name, policy in policies_of(other).items() if name not in have])


def with_required(text: str, other: str, callers: Iterable[str]) -> str:
    """`text`, and the policies of `other` that it lacks and that one of the texts `callers` calls."""
    words = set().union(*(re.findall(r"^[ \t]*([A-Za-z_][\w-]*)\b", caller, re.MULTILINE) for caller in callers))
    have = policies_of(text)
    kept = {name: policy for name, policy in policies_of(other).items() if name not in have and name in words}
    return _append(text, kept.values())


def _append(text: str, policies: Iterable[str]) -> str:
    return "".join([text, *(f"\n{policy}" for policy in policies)])
