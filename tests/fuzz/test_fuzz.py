"""The long run of the fuzzer, with a million inputs in all: `script/test fuzz`.

FUZZ_INPUTS sets the number of inputs. FUZZ_SEED sets the seed (default: 1); a seed always gives the same inputs.
"""

from __future__ import annotations

import os

import pytest

from tests.fuzz.engine import fuzz
from tests.fuzz.targets import TARGETS

INPUTS = int(os.environ.get("FUZZ_INPUTS", "1000000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))


@pytest.mark.fuzz
@pytest.mark.timeout(1800)
# cryptography warns about names with, for example, a country of three letters, but accepts them.
@pytest.mark.filterwarnings("ignore:Attribute's length must be:UserWarning")
@pytest.mark.parametrize("name", TARGETS)
def test_only_declared_exceptions(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = TARGETS[name]
    inputs = round(INPUTS * target.share)

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", end="", flush=True)

    counts = fuzz(target, inputs=inputs, seed=SEED, progress=say)
    say(f"{name}: {sum(counts.values())} inputs, {counts}")
    assert sum(counts.values()) == inputs
    # If no input passed the first check, the run would not test the rest.
    assert counts.get("accepted", 0) > 0


def test_the_shares_are_the_whole() -> None:
    assert sum(target.share for target in TARGETS.values()) == pytest.approx(1.0)
