"""A Dockerfile as stages and instructions: enough to check this project's own rules without a builder."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

_INSTRUCTIONS = frozenset(
    (
        *("FROM", "ARG", "RUN", "COPY", "ADD", "LABEL", "ENV", "USER", "WORKDIR"),
        *("EXPOSE", "HEALTHCHECK", "CMD", "ENTRYPOINT", "VOLUME", "STOPSIGNAL", "SHELL"),
    )
)


class DockerfileError(ValueError):
    """Not a Dockerfile; the message names the line."""


@dataclass(frozen=True)
class Instruction:
    """One instruction with its continuation lines joined. line: where it begins, from 1."""

    keyword: str
    value: str
    line: int

    @property
    def words(self) -> list[str]:
        """The exec form (a JSON array), without options before it. Raises DockerfileError for the shell form."""
        _, bracket, rest = self.value.partition("[")
        try:
            words = json.loads(bracket + rest)
        except ValueError:
            raise DockerfileError(f"line {self.line}: {self.keyword} {self.value}: the exec form is expected") from None
        return [str(word) for word in words]


@dataclass
class Stage:
    """One FROM and what follows. base: another stage or an image."""

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, keyword: str) -> list[Instruction]:
        """The instructions of one kind, in order."""
        return [item for item in self.instructions if item.keyword == keyword]


def parse(path: Path) -> dict[str, Stage]:
    """The stages by name. Raises DockerfileError."""
    stages: dict[str, Stage] = {}
    current: Stage | None = None
    for instruction in _instructions(path.read_text()):
        if instruction.keyword not in _INSTRUCTIONS:
            raise DockerfileError(f"{path.name}: line {instruction.line}: {instruction.keyword}: unknown instruction")
        if instruction.keyword == "FROM":
            match = re.fullmatch(r"(\S+) AS ([a-z-]+)", instruction.value)
            if match is None:
                raise DockerfileError(f"{path.name}: line {instruction.line}: FROM ... AS name expected")
            if match[2] in stages:
                raise DockerfileError(f"{path.name}: line {instruction.line}: a second stage {match[2]}")
            current = stages[match[2]] = Stage(match[2], match[1])
        elif current is not None:
            current.instructions.append(instruction)
        elif instruction.keyword != "ARG":
            raise DockerfileError(f"{path.name}: line {instruction.line}: {instruction.keyword} before FROM")
    return stages


def _instructions(text: str) -> list[Instruction]:
    found: list[Instruction] = []
    parts: list[str] = []
    begin = 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or (not line.strip() and not parts):
            continue
        if not parts:
            begin = number
        parts.append(line.rstrip("\\").strip())
        if not line.endswith("\\"):
            keyword, _, value = " ".join(parts).partition(" ")
            found.append(Instruction(keyword, value.strip(), begin))
            parts = []
    if parts:
        raise DockerfileError(f"line {begin}: the last line continues")
    return found


def lineage(stages: dict[str, Stage], name: str) -> list[Stage]:
    """A stage and the stages that it is built on, from the first one to itself."""
    stage = stages[name]
    return [*(lineage(stages, stage.base) if stage.base in stages else []), stage]


def installed_packages(stages: list[Stage]) -> set[str]:
    """The Debian packages that these stages install by name."""
    packages: set[str] = set()
    for stage in stages:
        for item in stage.all("RUN"):
            for command in re.split(r"&&|;", item.value):
                if "apt-get install" in command:
                    words = command.split("apt-get install")[1].split()
                    packages |= {word for word in words if not word.startswith("-")}
    return packages
