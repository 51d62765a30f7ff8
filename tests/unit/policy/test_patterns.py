"""Relations of name patterns, compared with what the patterns match."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.analysis.patterns import (
    TooManyForms,
    covers,
    glob_covers,
    glob_intersection,
    intersection,
    overlaps,
)
from policy.matching.globs import compile_glob
from policy.matching.names import IdentityPattern

# A third letter, which no glob names, makes claims about all letters fail.
TEXTS = ["".join(letters) for size in range(6) for letters in product("abc", repeat=size)]
LABELS = ["".join(letters) for size in (1, 2, 3) for letters in product("abc", repeat=size)]
# Names of one to four labels below `o.e`, of short labels.
NAMES = [
    ".".join((*labels, "o", "e")) for size in range(4) for labels in product(("a", "b", "ab", "ba", "c"), repeat=size)
]

globs = st.text("ab*", min_size=1, max_size=4).filter(lambda text: "**" not in text)
patterns = st.builds(
    lambda deep, labels, suffix: ".".join((*["**"][: int(deep)], *labels, suffix)),
    st.booleans(),
    st.lists(globs, max_size=3),
    st.just("o.e"),
)


@cache
def texts_of(glob: str) -> frozenset[str]:
    compiled = compile_glob(glob)
    return frozenset(text for text in TEXTS if compiled.match(text))


@cache
def names_of(pattern: str) -> frozenset[str]:
    compiled = IdentityPattern.compile(pattern)
    return frozenset(name for name in NAMES if compiled.matches(name))


@given(globs, globs)
def test_a_glob_covers_another_exactly_when_it_matches_all_of_it(outer: str, inner: str) -> None:
    assert glob_covers(outer, inner) == (texts_of(inner) <= texts_of(outer))


@given(globs, globs)
def test_what_two_globs_have_in_common(first: str, second: str) -> None:
    forms = glob_intersection(first, second)
    assert frozenset().union(*(texts_of(form) for form in forms)) == texts_of(first) & texts_of(second)


@given(patterns, patterns)
def test_a_pattern_covers_no_more_than_it_matches(outer: str, inner: str) -> None:
    if covers(outer, inner):
        assert names_of(inner) <= names_of(outer)


@given(patterns, patterns)
def test_a_pattern_covers_another_if_it_matches_all_its_names(outer: str, inner: str) -> None:
    # A letter that no pattern names, and more labels than any pattern has, stand for all other texts.
    labels = [
        [inner_label.replace("*", text) or "c" for text in ("c", "")]
        for inner_label in inner.split(".")
        if inner_label != "**"
    ]
    deep = ["c", "c.c.c.c.c"] if inner.startswith("**.") else [""]
    witnesses = [f"{front}.{'.'.join(each)}".lstrip(".") for front in deep for each in product(*labels)]
    compiled = IdentityPattern.compile(outer)
    assert covers(outer, inner) == all(compiled.matches(name) for name in witnesses)


@given(patterns, patterns)
def test_what_two_patterns_have_in_common(first: str, second: str) -> None:
    forms = intersection(first, second)
    assert frozenset().union(*(names_of(form) for form in forms)) == names_of(first) & names_of(second)
    assert overlaps(first, second) == bool(forms)


@pytest.mark.parametrize(
    ("outer", "inner", "covered"),
    [
        ("**.example.net", "*.camera._device.example.net", True),
        ("**.example.net", "**._device.example.net", True),
        ("**._device.example.net", "**.example.net", False),
        ("**.example.net", "example.net", False),
        ("*.example.net", "**.example.net", False),
        ("*.example.net", "a.b.example.net", False),
        ("cam*.example.net", "camera-*.example.net", True),
        ("cam*a.example.net", "cam*.example.net", False),
        ("**.cam*.example.net", "a.b.camera.example.net", True),
        ("**.*.example.net", "**.example.net", False),
        ("**.example.net", "**.*.example.net", True),
    ],
)
def test_examples(outer: str, inner: str, covered: bool) -> None:
    assert covers(outer, inner) is covered


def test_too_many_forms_are_an_error_and_not_a_wait() -> None:
    with pytest.raises(TooManyForms):
        glob_intersection("*a*b*a*b*a*b*a*", "*b*a*b*a*b*a*b*")
    with pytest.raises(TooManyForms):
        intersection(".".join(["*a*b*"] * 8 + ["o.e"]), ".".join(["*b*a*"] * 8 + ["o.e"]))
