"""Entries without a value, as in `vlan:` or `vlan: null`: version 1 reads them as left out, version 2 refuses them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import yaml

from policy.analysis.source_text import Edit, apply_edits, comments_in, end_of, is_empty

_NULL = "tag:yaml.org,2002:null"


def without_nulls(text: str) -> str:
    """The same document without the entries of mappings that have no value. Comments are kept."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return apply_edits(text, _edits(text, root)) if root is not None else text


def _edits(text: str, node: yaml.Node) -> Iterator[Edit]:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _edits(text, item)
    if not isinstance(node, yaml.MappingNode):
        return
    empty = [(key, value) for key, value in node.value if value.tag == _NULL]
    if empty and len(empty) == len(node.value):
        start, end = node.start_mark.index, end_of(node)
        # A block would leave nothing of its mapping.
        comments = "".join(f"# {comment}\n" for comment in comments_in(text[start:end]))
        yield Edit(start, end, "{" + (f" {comments}}}" if comments else "}"))
        return
    if empty and node.flow_style:
        yield from _cut_from_flow(node)
    elif empty:
        for key, value in empty:
            yield _cut_from_block(text, key, value)
    for _, value in node.value:
        yield from _edits(text, value)


def _cut_from_flow(node: yaml.MappingNode) -> Iterator[Edit]:
    """Cut each entry with the comma after it; those at the end with the comma before."""
    entries = node.value
    last = max(index for index, (_, value) in enumerate(entries) if value.tag != _NULL)
    for (key, value), (following, _) in pairwise(entries[: last + 1]):
        if value.tag == _NULL:
            yield Edit(key.start_mark.index, following.start_mark.index, "")
    if last < len(entries) - 1:
        yield Edit(end_of(entries[last][1]), _end(*entries[-1]), "")


def _cut_from_block(text: str, key: yaml.Node, value: yaml.Node) -> Edit:
    start, end = key.start_mark.index, _end(key, value)
    line = text.rfind("\n", 0, start) + 1
    following = text.find("\n", end)
    if text[line:start].strip() == "" and following >= 0 and text[end:following].strip() == "":
        return Edit(line, following + 1, "")
    return Edit(start, end, "")


def _end(key: yaml.Node, value: yaml.Node) -> int:
    return int(key.end_mark.index) + 1 if is_empty(value) else int(value.end_mark.index)
