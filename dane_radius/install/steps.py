"""Steps of an installation, as values. A plan is a list of steps; its undo is the reverse of the list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dane_radius.install.nodes import Node


@dataclass(frozen=True)
class Change:
    """Replace what stands at `path`. `what` tells the operator."""

    path: Path
    before: Node
    after: Node
    what: str


@dataclass(frozen=True)
class Move:
    """Rename a link from `source` to `path`, where nothing stands. The server always sees one of the two."""

    source: Path
    path: Path
    node: Node
    what: str


Step = Change | Move


@dataclass(frozen=True)
class Edit:
    """A file that the operator has changed: its content, and the content that the installer would write."""

    path: Path
    current: bytes
    proposed: bytes


@dataclass
class Plan:
    """What an installation or its removal does, and what the operator must know.

    refusals: why it must not be done; if there are any, the steps are meaningless.
    """

    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)


def reverse(steps: Iterable[Step]) -> list[Step]:
    """The steps that undo `steps`."""

    def undo(step: Step) -> Step:
        if isinstance(step, Change):
            return Change(step.path, step.after, step.before, f"undo: {step.what}")
        return Move(step.path, step.source, step.node, f"undo: {step.what}")

    return [undo(step) for step in reversed(list(steps))]


def to_json(step: Step) -> dict[str, Any]:
    """A step for the journal and for reports, without the content of files."""
    if isinstance(step, Change):
        states = {"before": step.before.trace().to_json(), "after": step.after.trace().to_json()}
        return {"step": "change", "path": str(step.path), "what": step.what, **states}
    return {
        "step": "move",
        "path": str(step.path),
        "what": step.what,
        "source": str(step.source),
        "node": step.node.trace().to_json(),
    }
