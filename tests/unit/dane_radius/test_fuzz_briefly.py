"""The fuzzer for two seconds: the corpus, and as many damaged inputs as time allows. `script/test fuzz` runs longer."""

from __future__ import annotations

import pytest

from tests.fuzz.engine import Finding, Target, fuzz
from tests.fuzz.targets import TARGETS

# cryptography warns about names with, for example, a country of three letters, but accepts them.
pytestmark = pytest.mark.filterwarnings("ignore:Attribute's length must be:UserWarning")


@pytest.mark.parametrize("name", TARGETS)
def test_only_declared_exceptions(name: str) -> None:
    target = TARGETS[name]
    counts = fuzz(target, inputs=100_000, seed=2, seconds=2.0 / len(TARGETS))
    assert counts.get("accepted", 0) > 0


def test_every_input_of_the_corpus_is_run() -> None:
    for target in TARGETS.values():
        corpus = target.corpus()
        assert corpus
        counts = fuzz(target, inputs=len(corpus), seed=1)
        assert sum(counts.values()) == len(corpus)


def test_a_finding_is_reported_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(octets: bytes) -> object:
        if b"*" in octets:
            raise KeyError("undeclared")
        raise ValueError("declared")

    kept: list[bytes] = []
    monkeypatch.setattr("tests.fuzz.engine._keep", lambda _target, octets: kept.append(octets))
    with pytest.raises(Finding, match="KeyError"):
        fuzz(Target("name", broken, (ValueError,), 1.0), inputs=100, seed=1)
    assert len(kept) == 1
    assert b"*" in kept[0]
