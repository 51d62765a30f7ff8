"""Which device names two patterns have in common: whether one covers the other, and what both match.

A pattern is that of `identity`: `*` within a label, `**` as the leftmost label for one or more labels. A glob is the
text of one label, or of an SSID, in which `*` stands for any characters.
"""

from __future__ import annotations

from functools import lru_cache

# Two globs with many stars have a great many common forms. More are never needed in practice.
MAX_FORMS = 64


class TooManyForms(ValueError):
    """What two patterns have in common is no reasonable number of patterns."""


@lru_cache(maxsize=65536)
def glob_covers(outer: str, inner: str) -> bool:
    """Whether every text that `inner` matches is matched by `outer`, too.

    `outer` is matched against the text of `inner`, in which a star counts as a character that only a star matches.
    """
    if outer in ("*", inner):
        return True
    first, *rest = outer.split("*")
    if not rest:
        return False
    last = rest.pop()
    if not (inner.startswith(first) and inner.endswith(last)) or len(inner) < len(first) + len(last):
        return False
    position, end = len(first), len(inner) - len(last)
    for part in rest:
        found = inner.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


@lru_cache(maxsize=65536)
def covers(outer: str, inner: str) -> bool:
    """Whether every name that the pattern `inner` matches is matched by `outer`, too."""
    outer_deep, outer_labels = _parts(outer)
    inner_deep, inner_labels = _parts(inner)
    if not outer_deep:
        if inner_deep or len(outer_labels) != len(inner_labels):
            return False
        return all(glob_covers(o, i) for o, i in zip(outer_labels, inner_labels, strict=True))
    # `**` stands for at least one label, of either pattern.
    if len(inner_labels) + inner_deep < len(outer_labels) + 1:
        return False
    # With `**` in both, names of `inner` may be one label longer than its text without it.
    if len(inner_labels) < len(outer_labels):
        return False
    tail = inner_labels[len(inner_labels) - len(outer_labels) :]
    return all(glob_covers(o, i) for o, i in zip(outer_labels, tail, strict=True))


def overlaps(first: str, second: str) -> bool:
    """Whether a name exists that both patterns match."""
    return any(
        all(_globs_overlap(a, b) for a, b in zip(one, other, strict=True)) for one, other in _alignments(first, second)
    )


def intersection(first: str, second: str) -> tuple[str, ...]:
    """Patterns that together match exactly the names that both match. Raises TooManyForms."""
    found: dict[str, None] = {}
    deep = first.startswith("**.") and second.startswith("**.")
    for one, other in _alignments(first, second):
        forms = [""]
        for a, b in zip(one, other, strict=True):
            common = glob_intersection(a, b)
            forms = [f"{form}.{label}" if form else label for form in forms for label in common]
            if len(forms) > MAX_FORMS:
                raise TooManyForms(f"{first} and {second} have more than {MAX_FORMS} patterns in common")
        found.update(dict.fromkeys(f"**.{form}" if deep else form for form in forms))
    kept = [form for form in found if not any(form != other and covers(other, form) for other in found)]
    return tuple(kept)


def glob_intersection(first: str, second: str) -> tuple[str, ...]:
    """Globs that together match exactly the texts that both match. Raises TooManyForms."""
    known: dict[tuple[int, int], frozenset[str]] = {}

    def common(i: int, j: int) -> frozenset[str]:
        if (i, j) not in known:
            known[i, j] = forms = frozenset(_joined(i, j))
            if len(forms) > MAX_FORMS:
                raise TooManyForms(f"{first!r} and {second!r} have more than {MAX_FORMS} forms in common")
        return known[i, j]

    def _joined(i: int, j: int) -> set[str]:
        a, b = first[i : i + 1], second[j : j + 1]
        if not a and not b:
            return {""}
        if a == b == "*":
            return {_after_star(form) for form in common(i + 1, j) | common(i, j + 1)}
        if a == "*":
            return set(common(i + 1, j)) | ({b + form for form in common(i, j + 1)} if b else set())
        if b == "*":
            return set(common(i, j + 1)) | ({a + form for form in common(i + 1, j)} if a else set())
        return {a + form for form in common(i + 1, j + 1)} if a == b else set()

    forms = common(0, 0)
    return tuple(sorted(f for f in forms if not any(f != other and glob_covers(other, f) for other in forms)))


def _after_star(form: str) -> str:
    return form if form.startswith("*") else f"*{form}"


def _globs_overlap(first: str, second: str) -> bool:
    if "*" not in first:
        return glob_covers(second, first)
    if "*" not in second:
        return glob_covers(first, second)
    # Only the ends can contradict each other: between them, one text may follow the other.
    (start, end), (other_start, other_end) = _ends(first), _ends(second)
    return (start.startswith(other_start) or other_start.startswith(start)) and (
        end.endswith(other_end) or other_end.endswith(end)
    )


def _ends(glob: str) -> tuple[str, str]:
    return glob.partition("*")[0], glob.rpartition("*")[2]


def _parts(pattern: str) -> tuple[bool, list[str]]:
    labels = pattern.split(".")
    return (True, labels[1:]) if labels[0] == "**" else (False, labels)


def _alignments(first: str, second: str) -> list[tuple[list[str], list[str]]]:
    """The labels of both patterns side by side, if names exist with that number of labels; `**` is left out.

    If both begin with `**`, the result stands for the labels after a common `**`.
    """
    (deep, labels), (other_deep, other) = _parts(first), _parts(second)
    if deep and other_deep:
        size = max(len(labels), len(other))
        return [(_filled(labels, size), _filled(other, size))]
    if deep:
        return [(_filled(labels, len(other)), other)] if len(other) > len(labels) else []
    if other_deep:
        return [(labels, _filled(other, len(labels)))] if len(labels) > len(other) else []
    return [(labels, other)] if len(labels) == len(other) else []


def _filled(labels: list[str], size: int) -> list[str]:
    return ["*"] * (size - len(labels)) + labels
