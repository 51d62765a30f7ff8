"""Taking an old policy apart in small steps. Python would free 100,000 rules in one go, during which no thread runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from policy.matching.glob_index import GlobIndex
from policy.matching.index import RuleIndex
from policy.matching.name_trie import NameTrie, Node
from policy.matching.policy import Policy
from policy.matching.slots import Slot

_ITEMS_PER_REST = 64


def dismantle(policy: Policy, rest: Callable[[], None]) -> None:
    """Free the rules of a policy, and its index. Nobody may use the policy any more."""
    stack: list[Any] = [policy.rules, policy.index]
    object.__setattr__(policy, "index", None)
    count = 0
    while stack:
        part = stack.pop()
        if isinstance(part, dict | list):
            while part:
                item = part.popitem()[1] if isinstance(part, dict) else part.pop()
                if isinstance(item, Slot | Node | GlobIndex | dict | list):
                    stack.append(item)
                    if len(stack) > _ITEMS_PER_REST:
                        # First what is inside; the rest of this one later.
                        stack.insert(0, part)
                        break
                del item
                count += 1
                if count % _ITEMS_PER_REST == 0:
                    rest()
        elif isinstance(part, Slot):
            stack += [part.by_network]
        elif isinstance(part, Node):
            stack += [child for child in (part.literals, part.star, part.globs, part.end, part.deep) if child]
        elif isinstance(part, GlobIndex | NameTrie | RuleIndex):
            stack += part.containers()
