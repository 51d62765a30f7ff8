"""A corpus fuzzer: it damages the inputs of a corpus in a reproducible way, and gives them to a target.

A target takes octets and returns, or raises one of the exceptions that it declares. An input with any other outcome
is a finding. It is added to the corpus, so that each later run includes it.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
_INTERESTING = (
    b"\x00", b"\xff", b"\x7f", b"\x80", b"\x30", b"\xa3", b"\xc0\x0c", b"\x82", b".", b"*", b"_", b"xn--", b"\x30\x80",
    b"\x84\xff\xff\xff\xff", b"\n", b"{", b"[", b'"', b"&a ", b"*a", b"!!", b": ", b"- ",
)  # fmt: skip
_LONGEST = 8192


@dataclass(frozen=True)
class Target:
    """A function to fuzz. `run` may raise only `declared`. `share`: its part of all inputs."""

    name: str
    run: Callable[[bytes], object]
    declared: tuple[type[Exception], ...]
    share: float

    def corpus(self) -> list[bytes]:
        """The inputs of the corpus, in a stable order."""
        return [path.read_bytes() for path in sorted((CORPUS / self.name).iterdir())]


class Finding(AssertionError):
    """A target raised an exception that it does not declare."""


def mutations(corpus: list[bytes], seed: int) -> Iterator[bytes]:
    """The corpus, followed by damaged inputs without end. The same seed gives the same inputs."""
    yield from corpus
    chance = random.Random(seed)
    while True:
        yield _damage(bytearray(chance.choice(corpus)), corpus, chance)[:_LONGEST]


def _damage(octets: bytearray, corpus: list[bytes], chance: random.Random) -> bytes:
    for _ in range(1 + int(chance.random() ** 3 * 8)):
        at = chance.randrange(len(octets) + 1)
        kind = chance.randrange(8)
        if kind <= 1 and octets:
            octets[at % len(octets)] = chance.randrange(256)
        elif kind == 2 and octets:
            octets[at % len(octets)] ^= 1 << chance.randrange(8)
        elif kind == 3:
            octets[at:at] = chance.choice(_INTERESTING)
        elif kind == 4:
            del octets[at : at + 1 + int(chance.random() ** 4 * 64)]
        elif kind == 5:
            other = chance.choice(corpus)
            start = chance.randrange(len(other) + 1)
            octets[at : at + chance.randrange(32)] = other[start : start + chance.randrange(64)]
        elif kind == 6:
            octets[at:at] = octets[at : at + chance.randrange(1, 48)]
        elif octets:
            # Change a length or a count a little.
            octets[at % len(octets)] = (octets[at % len(octets)] + chance.randint(-4, 4)) % 256
    return bytes(octets)


def fuzz(
    target: Target,
    *,
    inputs: int,
    seed: int,
    seconds: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, int]:
    """Run `inputs` inputs, or as many as `seconds` allow, and count the outcomes. Raises Finding."""
    counts: dict[str, int] = {}
    began = time.monotonic()
    for number, octets in enumerate(mutations(target.corpus(), seed)):
        if number >= inputs or (seconds is not None and time.monotonic() - began > seconds):
            break
        if progress and number and number % 25_000 == 0:
            progress(f"{target.name}: {number} of {inputs}, {number / (time.monotonic() - began):.0f} a second")
        try:
            outcome = "accepted" if target.run(octets) is not None else "none"
        except target.declared as error:
            outcome = str(getattr(error, "code", type(error).__name__))
        except Exception as error:
            path = _keep(target, octets)
            raise Finding(
                f"{target.name}: {type(error).__name__}: {error}; seed {seed}, input {number}, {path}"
            ) from error
        counts[outcome] = counts.get(outcome, 0) + 1
    return counts


def _keep(target: Target, octets: bytes) -> Path:
    path = CORPUS / target.name / f"found-{hashlib.sha256(octets).hexdigest()[:16]}"
    path.write_bytes(octets)
    return path
