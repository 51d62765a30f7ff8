"""The policy of a running server: a broken file never takes the place of a good one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from policy import Policy, PolicyError, PolicyStore

ONE = "version: 1\nrules: [{name: one, identity: [a.example.net], grant: {vlan: 1}}]\n"
TWO = "version: 1\nrules: [{name: two, identity: [a.example.net], grant: {vlan: 2}}]\n"


def replace(path: Path, text: str) -> None:
    """As an operator's editor or configuration management does it."""
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    os.replace(fresh, path)


def test_a_server_does_not_start_without_a_policy(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        PolicyStore(tmp_path / "policy.yaml")
    (tmp_path / "policy.yaml").write_text("version: 1")
    with pytest.raises(PolicyError, match="rules"):
        PolicyStore(tmp_path / "policy.yaml")


def test_follows_its_file_and_keeps_the_last_good_one(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(ONE)
    seen: list[Policy | PolicyError] = []
    store = PolicyStore(path, seen.append)
    assert store.current.rules[0].name == "one"
    assert store.refresh() is False
    replace(path, TWO)
    assert store.refresh() is True
    assert store.current.rules[0].name == "two"
    for broken in ("version: 1\nrules: [", "", "version: 1\nrules: [{name: x}]"):
        replace(path, broken)
        assert store.refresh() is False
        assert store.current.rules[0].name == "two"
        assert store.last_error is not None
        # Reported once, not at every look.
        assert store.refresh() is False
    path.unlink()
    assert store.refresh() is False
    assert store.current.rules[0].name == "two"
    assert store.last_error is not None
    replace(path, ONE)
    assert store.refresh() is True
    assert store.last_error is None
    kinds = [type(outcome).__name__ for outcome in seen]
    assert kinds == ["Policy", "PolicyError", "PolicyError", "PolicyError", "PolicyError", "Policy"]


def test_a_mended_file_with_the_old_text_clears_the_error(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(ONE)
    seen: list[Policy | PolicyError] = []
    store = PolicyStore(path, seen.append)
    replace(path, "broken: [")
    store.refresh()
    assert store.last_error is not None
    replace(path, ONE)
    assert store.refresh() is False
    assert store.last_error is None
    assert store.current.rules[0].name == "one"
    # The listener learns of the mistake, and of its end.
    assert [type(outcome).__name__ for outcome in seen] == ["PolicyError", "Policy"]
    assert seen[-1] is store.current
