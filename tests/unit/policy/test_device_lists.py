"""Device lists: what a line may be, the limits, and a table that never claims a name that it does not have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy import PolicyError, RequestFacts, load_policy
from policy.loading import device_lists
from policy.loading.device_lists import load_list
from policy.matching.device_lists import NameTable

NAMES = st.text(alphabet="abc.-_0", min_size=1, max_size=12)


@given(st.sets(NAMES, max_size=40), st.sets(NAMES, max_size=40))
def test_a_table_has_the_names_that_were_added(names: set[str], others: set[str]) -> None:
    table = NameTable.of(sorted(names) * 2, b"key")
    assert len(table) == len(names)
    assert all(name in table for name in names)
    assert {name for name in others if name in table} == others & names
    assert not any(name in NameTable.of([]) for name in others)


def test_a_full_table_takes_no_more() -> None:
    table = NameTable(b"", 3)
    taken = 0
    for number in range(100):
        try:
            table.add(f"a{number}")
        except OverflowError:
            break
        taken += 1
    assert 3 <= taken < 8
    assert f"a{taken - 1}" in table
    assert f"a{taken}" not in table


def test_a_large_table() -> None:
    names = [f"d{number}.camera._device.example.net" for number in range(20_000)]
    table = NameTable.of(names, os.urandom(16))
    assert len(table) == len(names)
    assert all(name in table for name in names)
    assert not any(f"x{name}" in table for name in names)
    assert table.octets == 16 * 65536


def read(path: Path) -> tuple[NameTable | None, list[str]]:
    table, problems, _ = load_list(path, lambda: None)
    return table, [problem.message for problem in problems]


def test_the_lines_of_a_list(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(
        b"# a comment\n\n  a1._device.example.net\r\nB1._Device.Example.Net.\n\tc1.example.net # why\n"
        b"d1.example.net\nd1.example.net\n#\xc3\xa4\nlast.example.net"
    )
    table, problems = read(path)
    assert problems == []
    assert table is not None
    assert len(table) == 5
    for name in ("a1._device.example.net", "b1._device.example.net", "c1.example.net", "last.example.net"):
        assert name in table
    assert "" not in table
    assert "example.net" not in table


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"*.example.net", "line 2: '*.example.net' found; one exact name is expected"),
        (b"example", "line 2: 'example' found; at least two labels"),
        (b"a b.example.net", "line 2: 'a b.example.net' found; label 'a b'"),
        (b"a..example.net", "label ''"),
        (b"-a.example.net", "label '-a'"),
        (b"a" * 64 + b".example.net", "label 'aaa"),
        (b"a." * 126 + b"example.net", "at most 253 octets"),
        (b"a.example.net b.example.net", "label 'net b'"),
        (b"a.example.net, b.example.net", "label 'net, b'"),
        ("bücher.example.net".encode(), "A-labels (xn--)"),
        (b"\xff.example.net", "UTF-8 is expected"),
        (b"a.example.net\0", "label"),
        (b"a" * 5000, "line 2: more than 1024 octets"),
        (b"a" * 2000 + b"\n", "line 2: more than 1024 octets"),
    ],
)
def test_a_bad_line_is_named(line: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"good.example.net\n" + line + b"\nalso.example.net\n")
    table, problems = read(path)
    assert table is None
    assert len(problems) == 1
    assert problem in problems[0]
    assert str(path) in problems[0]


def test_every_bad_line_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("x\n" * 1000)
    assert len(read(path)[1]) == 20


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "list"
    path.write_text("".join(f"a{number}.example.net\n" for number in range(11)))
    monkeypatch.setattr(device_lists, "MAX_LISTED_NAMES", 11)
    assert read(path)[0] is not None
    monkeypatch.setattr(device_lists, "MAX_LISTED_NAMES", 10)
    assert "at most 10 lines" in read(path)[1][0]
    monkeypatch.setattr(device_lists, "MAX_LISTED_NAMES", 100)
    monkeypatch.setattr(device_lists, "MAX_LIST_OCTETS", 50)
    assert "50 octets are expected" in read(path)[1][0]


def test_files_that_are_none(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in read(tmp_path / "nothing")[1][0]
    assert "cannot be read: Is a directory" in read(tmp_path)[1][0]


POLICY = """\
version: 2
device_lists: {lost: lost.txt, mine: sub/mine.txt}
zones: {a: {vlan: 1}}
rules:
- {name: lost, devices: lost, refuse: true}
- {name: mine, devices: mine, identity: ["*._device.example.net"], zone: a}
"""


def test_a_policy_with_lists(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "policy.yaml").write_text(POLICY)
    with pytest.raises(PolicyError) as caught:
        load_policy(tmp_path / "policy.yaml")
    assert [problem.key for problem in caught.value.details] == ["device_lists.lost", "device_lists.mine"]
    assert [problem.line for problem in caught.value.details] == [2, 2]
    (tmp_path / "lost.txt").write_text("a._device.example.net\n")
    (tmp_path / "sub" / "mine.txt").write_text("a._device.example.net\nb._device.example.net\nc.example.org\n")
    policy = load_policy(tmp_path / "policy.yaml")

    def rule(name: str) -> str | None:
        found = policy.match(name, RequestFacts(), now=0)
        return found.rule and found.rule.name

    assert [rule(f"{name}._device.example.net") for name in "abx"] == ["lost", "mine", None]
    # On the list, but not of the pattern.
    assert rule("c.example.org") is None
    assert not policy.selects("c.example.org")
    assert not policy.could_grant("a._device.example.net")
    assert policy.could_grant("b._device.example.net")
