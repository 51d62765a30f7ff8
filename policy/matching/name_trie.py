"""Patterns for device names, found by a name: a tree of labels from the right.

The labels of a pattern to the right of its last star are one key in a dictionary of suffixes, and the labels to the
left are nodes below it. A leaf is the `Entry` of a rule, or a `Slot` where several rules have the same pattern.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from policy.matching.glob_index import GlobIndex
from policy.matching.slots import Entry, Leaf, Slot, joined


class Node:
    """What follows to the left of some labels.

    end: names that end here. deep: names with at least one label more (`**`). Below: literals, star and globs, by what
    the next label is. is_parent: there are longer suffixes.
    """

    __slots__ = ("deep", "end", "globs", "is_parent", "literals", "star")

    def __init__(self) -> None:
        self.is_parent = False
        self.end: Leaf | None = None
        self.deep: Leaf | None = None
        self.literals: dict[str, Child] | None = None
        self.star: Child | None = None
        self.globs: GlobIndex[Child] | None = None


# A leaf in place of a node is the node's `end`, and saves the node where nothing is below it.
Child = Entry | Slot | Node
_ABSENT: Any = object()


class NameTrie:
    """Leaves by pattern. After the last `add`, call `freeze`."""

    __slots__ = ("_nodes_with_globs", "_suffixes")

    def __init__(self) -> None:
        # None: a suffix of a longer key, so that the search goes on.
        self._suffixes: dict[str, Child | None] = {}
        self._nodes_with_globs: list[GlobIndex[Child]] = []

    def add(self, pattern: str, entry: Entry, slots: list[Slot]) -> None:
        """Add a rule under a pattern. A slot that has to be made for it is appended to `slots`."""
        labels = pattern.split(".")
        fixed = len(labels)
        while fixed > 0 and "*" not in labels[fixed - 1]:
            fixed -= 1
        suffix = ".".join(labels[fixed:]) if fixed else pattern
        if suffix not in self._suffixes:
            self._add_parents(labels[fixed:])
        child = self._suffixes.get(suffix)
        if child is None and suffix in self._suffixes:
            # Until now, only a suffix of longer keys.
            child = Node()
            child.is_parent = True
        if fixed == 0:
            self._suffixes[suffix] = _ended(child, entry, slots)
            return
        node = self._suffixes[suffix] = _as_node(child)
        is_deep = labels[0] == "**"
        for label in reversed(labels[1:fixed]):
            node = self._next(node, label)
        if is_deep:
            node.deep = joined(node.deep, entry, slots)
        else:
            self._set_child(node, labels[0], _ended(self._child(node, labels[0]), entry, slots))

    def _add_parents(self, labels: list[str]) -> None:
        for start in range(1, len(labels)):
            suffix = ".".join(labels[start:])
            child = self._suffixes.get(suffix)
            if child is None:
                self._suffixes[suffix] = None
            else:
                node = self._suffixes[suffix] = _as_node(child)
                node.is_parent = True

    def _child(self, node: Node, label: str) -> Child | None:
        if label == "*":
            return node.star
        if "*" in label:
            return None if node.globs is None else node.globs.get(label)
        return None if node.literals is None else node.literals.get(label)

    def _set_child(self, node: Node, label: str, child: Child) -> None:
        if label == "*":
            node.star = child
        elif "*" in label:
            if node.globs is None:
                node.globs = GlobIndex()
                self._nodes_with_globs.append(node.globs)
            node.globs.put(label, child)
        else:
            if node.literals is None:
                node.literals = {}
            node.literals[label] = child

    def _next(self, node: Node, label: str) -> Node:
        child = _as_node(self._child(node, label))
        self._set_child(node, label, child)
        return child

    def containers(self) -> list[Any]:
        """What is large, for `dismantle`."""
        return [self._suffixes]

    def freeze(self, rest: Callable[[], None] = lambda: None) -> None:
        """Prepare for `find`. `rest` is called often."""
        for globs in self._nodes_with_globs:
            rest()
            globs.freeze(rest)
        self._nodes_with_globs = []

    def find(self, name: str, found: list[Leaf]) -> None:
        """Append the leaves of all patterns that match a name."""
        suffixes = self._suffixes
        dot = name.rfind(".")
        while True:
            child = suffixes.get(name[dot + 1 :], _ABSENT)
            if child is _ABSENT:
                return
            if dot < 0:
                if child is not None:
                    end = child.end if isinstance(child, Node) else child
                    if end is not None:
                        found.append(end)
                return
            if child is not None:
                if not isinstance(child, Node):
                    return
                labels = name[:dot].split(".")
                _descend(child, labels, len(labels) - 1, found)
                if not child.is_parent:
                    return
            dot = name.rfind(".", 0, dot)


def _descend(node: Node, labels: list[str], position: int, found: list[Leaf]) -> None:
    """Append the leaves below a node, for the labels up to `position`, of which there is at least one."""
    if node.deep is not None:
        found.append(node.deep)
    label = labels[position]
    children: list[Child] = []
    if node.star is not None:
        children.append(node.star)
    if node.literals is not None and (child := node.literals.get(label)) is not None:
        children.append(child)
    if node.globs is not None:
        node.globs.find(label, children)
    for child in children:
        if not isinstance(child, Node):
            if position == 0:
                found.append(child)
        elif position > 0:
            _descend(child, labels, position - 1, found)
        elif child.end is not None:
            found.append(child.end)


def _as_node(child: Child | None) -> Node:
    if isinstance(child, Node):
        return child
    node = Node()
    node.end = child
    return node


def _ended(child: Child | None, entry: Entry, slots: list[Slot]) -> Child:
    """A child with one rule more that ends there."""
    if isinstance(child, Node):
        child.end = joined(child.end, entry, slots)
        return child
    return joined(child, entry, slots)
