"""Read a policy file. Every error names the file, the line, the key, what was found and what is expected."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from policy.loading.builder import builder_for
from policy.loading.document import DocumentError, locate, read_document
from policy.loading.problems import PolicyError, Problem, found
from policy.matching.policy import Policy

MAX_POLICY_OCTETS = 64 * 1024 * 1024


def load_policy(path: str | Path, *, rest: Callable[[], None] = lambda: None) -> Policy:
    """The policy in a file. Raises PolicyError.

    `rest` is called often while a file is loaded, so that the caller can let other threads run.
    """
    source = str(path)
    try:
        with open(path, "rb") as file:
            octets = file.read(MAX_POLICY_OCTETS + 1)
    except OSError as error:
        raise PolicyError(source, [f"cannot be read: {error.strerror}"]) from error
    if len(octets) > MAX_POLICY_OCTETS:
        raise PolicyError(source, [f"more than {MAX_POLICY_OCTETS} octets"])
    return parse_policy(octets, source, Path(path).parent, rest=rest)


def parse_policy(
    octets: bytes,
    source: str = "policy",
    base: Path | None = None,
    *,
    rest: Callable[[], None] = lambda: None,
) -> Policy:
    """The policy in YAML text. Raises PolicyError with `source` as the file's name.

    base: the folder that device lists are relative to; None: the text may have none.
    """
    try:
        data = read_document(octets, rest)
    except DocumentError as error:
        raise PolicyError(source, error.problems) from error
    if not isinstance(data, dict):
        raise PolicyError(source, [f"{found(data)} found, a mapping with version and rules is expected"])
    builder = builder_for(data, base, rest)
    policy = builder.build(source, hashlib.sha256(octets).hexdigest())
    if policy is None:
        raise PolicyError(source, _with_lines(builder.problems, octets, rest), builder.list_files, builder.list_stamps)
    return policy


def _with_lines(problems: list[Problem], octets: bytes, rest: Callable[[], None]) -> list[Problem]:
    """The mistakes with their lines. Of a value that is missing, the line is that of what should contain it."""
    wanted = {problem.path[:length] for problem in problems for length in range(len(problem.path) + 1)}
    lines = locate(octets, wanted, rest)
    placed = []
    for problem in problems:
        path = problem.path
        while path and path not in lines:
            path = path[:-1]
        placed.append(problem._replace(line=lines.get(path) if path else None))
    return sorted(placed, key=lambda problem: problem.line or 0)
