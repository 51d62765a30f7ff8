"""The policy of a running server: a broken file never takes the place of a good one."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from pathlib import Path

import pytest

from policy import Policy, PolicyError, PolicyStore, RequestFacts
from policy import store as store_module
from policy.pace import Pace, without_collector

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


# --- device lists ----------------------------------------------------------------------------------------------------

WITH_LIST = """\
version: 2
device_lists: {lost: lost.txt}
zones: {a: {vlan: 1}}
rules:
- {name: lost, devices: lost, refuse: true}
- {name: rest, identity: ["*.example.net"], zone: a}
"""


def deciding(policy: Policy, name: str) -> str | None:
    rule = policy.match(f"{name}.example.net", RequestFacts(), now=0).rule
    return rule and rule.name


def test_follows_the_lists_of_its_policy(tmp_path: Path) -> None:
    path, lost = tmp_path / "policy.yaml", tmp_path / "lost.txt"
    path.write_text(WITH_LIST)
    lost.write_text("a.example.net\n")
    seen: list[Policy | PolicyError] = []
    store = PolicyStore(path, seen.append)
    first = store.current
    assert [deciding(first, name) for name in "ab"] == ["lost", "rest"]
    assert store.refresh() is False
    replace(lost, "b.example.net\n")
    assert store.refresh() is True
    assert [deciding(store.current, name) for name in "ab"] == ["rest", "lost"]
    # The rules are the same objects. What was compiled before is not compiled again.
    assert store.current.rules is first.rules
    assert store.current.settings is not first.settings
    assert (store.current.digest != first.digest, store.current.file_digest) == (True, first.file_digest)
    # The old policy still means what it meant.
    assert [deciding(first, name) for name in "ab"] == ["lost", "rest"]


@pytest.mark.parametrize("broken", ["*.example.net\n", "x" * 2000, None])
def test_a_broken_list_leaves_the_last_good_one_in_force(tmp_path: Path, broken: str | None) -> None:
    path, lost = tmp_path / "policy.yaml", tmp_path / "lost.txt"
    path.write_text(WITH_LIST)
    lost.write_text("a.example.net\n")
    seen: list[Policy | PolicyError] = []
    store = PolicyStore(path, seen.append)
    if broken is None:
        lost.unlink()
    else:
        replace(lost, broken)
    assert store.refresh() is False
    assert deciding(store.current, "a") == "lost"
    assert store.last_error is not None
    assert store.last_error.details[0].key == "device_lists.lost"
    assert str(lost) in str(store.last_error)
    assert store.refresh() is False
    # A new policy file that names the broken list does not load either, and a valid list ends both errors.
    replace(path, WITH_LIST.replace("vlan: 1", "vlan: 2"))
    assert store.refresh() is False
    assert store.current.zones["a"].grant.vlan == 1
    replace(lost, "b.example.net\n")
    assert store.refresh() is True
    assert store.last_error is None
    assert (store.current.zones["a"].grant.vlan, deciding(store.current, "b")) == (2, "lost")
    assert [type(outcome).__name__ for outcome in seen][-1] == "Policy"


def test_a_list_with_its_old_content_again(tmp_path: Path) -> None:
    path, lost = tmp_path / "policy.yaml", tmp_path / "lost.txt"
    path.write_text(WITH_LIST)
    lost.write_text("a.example.net\n")
    seen: list[Policy | PolicyError] = []
    store = PolicyStore(path, seen.append)
    first = store.current
    replace(lost, "???\n")
    store.refresh()
    replace(lost, "a.example.net\n")
    assert store.refresh() is False
    assert (store.last_error, store.current is first) == (None, True)
    assert [type(outcome).__name__ for outcome in seen] == ["PolicyError", "Policy"]


def test_a_file_that_is_written_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, lost = tmp_path / "policy.yaml", tmp_path / "lost.txt"
    path.write_text(WITH_LIST)
    lost.write_text("a.example.net\n")
    store = PolicyStore(path)
    load_policy, load_list = store_module.load_policy, store_module.load_list

    def written_meanwhile(*arguments: object, **options: object) -> Policy:
        policy = load_policy(*arguments, **options)  # type: ignore[arg-type]
        replace(path, WITH_LIST.replace("vlan: 1", "vlan: 3"))
        return policy

    replace(path, WITH_LIST.replace("vlan: 1", "vlan: 2"))
    monkeypatch.setattr(store_module, "load_policy", written_meanwhile)
    assert store.refresh() is False
    monkeypatch.setattr(store_module, "load_policy", load_policy)
    assert store.current.zones["a"].grant.vlan == 1
    assert store.refresh() is True
    assert store.current.zones["a"].grant.vlan == 3

    def list_written_meanwhile(*arguments: object) -> object:
        found = load_list(*arguments)  # type: ignore[arg-type]
        replace(lost, "c.example.net\n")
        return found

    # Replaced while it was read: the version that was read counts, until the next look.
    replace(lost, "b.example.net\n")
    monkeypatch.setattr(store_module, "load_list", list_written_meanwhile)
    assert store.refresh() is True
    monkeypatch.setattr(store_module, "load_list", load_list)
    assert deciding(store.current, "b") == "lost"
    assert store.refresh() is True
    assert deciding(store.current, "c") == "lost"


def test_a_list_that_changes_in_place_while_it_is_read(tmp_path: Path) -> None:
    lost = tmp_path / "lost.txt"
    lost.write_text("a.example.net\n" * 100)
    table, problems, _ = store_module.load_list(lost, lambda: os.utime(lost))
    assert table is None
    assert "changed while it was read" in problems[0].message
    assert store_module.load_list(lost, lambda: None)[0] is not None


# --- large policies --------------------------------------------------------------------------------------------------


def large(vlan: int, count: int = 6000) -> str:
    rules = "\n".join(
        f"- {{name: r{number}, identity: ['*.k{number}.example.net', 'c{number}-*.cam.example.net'], zone: a}}"
        for number in range(count)
    )
    return f"version: 2\nzones: {{a: {{vlan: {vlan}}}}}\nrules:\n{rules}\n"


def test_a_large_policy_is_loaded_without_the_collector_and_freed_in_small_steps(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(large(1))
    assert path.stat().st_size > store_module.LARGE_OCTETS
    store = PolicyStore(path)
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    first, held = weakref.ref(store.current), store.current
    name = "x.k5999.example.net"
    for vlan in (2, 3):
        replace(path, large(vlan))
        assert store.refresh() is True
        grant = store.current.match(name, RequestFacts(), now=0).grant
        assert grant is not None
        assert grant.vlan == vlan
    # Somebody may still use an old policy, which then stays whole.
    assert held.match(name, RequestFacts(), now=0).rule is not None
    store.refresh()
    assert len(held.rules) == 6000
    del held
    store.refresh()
    assert first() is None
    assert store.current.match("c77-1.cam.example.net", RequestFacts(), now=0).rule is not None
    gc.unfreeze()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    try:
        with without_collector():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


def test_work_is_divided_into_short_pieces() -> None:
    now, slept = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append((now, seconds))
        now += seconds

    pace = Pace(lambda: now, sleep)
    for _ in range(100):
        now += 0.0001
        pace()
    assert len(slept) >= 25
    # Others have most of the time, also where one piece of work takes long.
    assert sum(seconds for _, seconds in slept) >= 0.009
    now += 0.02
    pace()
    assert slept[-1][1] >= 0.02
    now += 60
    pace()
    assert slept[-1][1] <= 0.2


def test_a_policy_may_be_used_while_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(large(1, 300))
    store = PolicyStore(path)
    failures: list[object] = []
    stop = threading.Event()

    def use() -> None:
        while not stop.is_set():
            grant = store.current.match("x.k299.example.net", RequestFacts(), now=0).grant
            if grant is None or grant.vlan not in range(1, 9):
                failures.append(grant)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for vlan in range(2, 9):
        replace(path, large(vlan, 300))
        assert store.refresh() is True
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
