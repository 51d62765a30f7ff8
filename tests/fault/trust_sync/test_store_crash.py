"""The anchor store when its process is killed at any system call of a change, and on a full disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dane_radius.core import AnchorSource
from dane_radius.local import AnchorDirectory
from tests.fault.trust_sync.trace import run_and_kill
from tests.harness.pki import Authority, authority, new_key
from tests.harness.process import run
from trust_sync.anchors import AnchorStore, StoreError, parse_certificate

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DOMAIN = "_device.example.net"
KEY = new_key()
MANY = 10_000
# The first two share name and key, like a renewed CA, and so the hash and the sequence of link numbers.
OLD, RENEWED, OTHER = authority("Vendor", key=KEY), authority("Vendor", key=KEY), authority("Other")


def put(path: Path, *cas: Authority) -> None:
    with AnchorStore(path) as store:
        for ca in cas:
            store.add(parse_certificate(ca.der), [DOMAIN], AnchorSource.REGISTRY, NOW)


def remove(path: Path, ca: Authority) -> None:
    with AnchorStore(path) as store:
        store.remove(ca.fingerprint)


def compact(path: Path) -> None:
    with AnchorStore(path) as store:
        store.journal.compact(store.held)


def replace(path: Path) -> None:
    """Replace an anchor by its renewal, with the store open once."""
    with AnchorStore(path) as store:
        store.add(parse_certificate(RENEWED.der), [DOMAIN], AnchorSource.REGISTRY, NOW)
        store.remove(OLD.fingerprint)


def as_the_module_sees_it(path: Path) -> frozenset[str]:
    reader = AnchorDirectory(path)
    reader.refresh()
    found = frozenset(anchor.record.fingerprint for anchor in reader.for_name(f"a1.{DOMAIN}"))
    assert reader.last_error is None
    return found


def openssl_finds(path: Path, leaf: Path) -> bool:
    done = subprocess.run(
        ["openssl", "verify", "-no-CAfile", "-no-CAstore", "-CApath", str(path / "ca"), str(leaf)],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


CHANGES: dict[str, tuple[list[Authority], Callable[[Path], None], list[set[str]]]] = {
    "the very first opening": ([], put, [set()]),
    "add": ([OLD], lambda path: put(path, OTHER), [{OLD.fingerprint}, {OLD.fingerprint, OTHER.fingerprint}]),
    "add one of equal name": (
        [OLD, OTHER],
        lambda path: put(path, RENEWED),
        [{OLD.fingerprint, OTHER.fingerprint}, {OLD.fingerprint, OTHER.fingerprint, RENEWED.fingerprint}],
    ),
    "remove one of equal name": (
        [OLD, RENEWED],
        lambda path: remove(path, OLD),
        [{OLD.fingerprint, RENEWED.fingerprint}, {RENEWED.fingerprint}],
    ),
    "remove": (
        [OLD, OTHER],
        lambda path: remove(path, OTHER),
        [{OLD.fingerprint, OTHER.fingerprint}, {OLD.fingerprint}],
    ),
    "replace": (
        [OLD],
        replace,
        [{OLD.fingerprint}, {OLD.fingerprint, RENEWED.fingerprint}, {RENEWED.fingerprint}],
    ),
    "compact": ([OLD, OTHER], compact, [{OLD.fingerprint, OTHER.fingerprint}]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_killed_at_every_system_call_it_holds_the_old_state_or_the_new(tmp_path: Path, change: str) -> None:
    before, action, allowed = CHANGES[change]
    origin = tmp_path / "origin"
    put(origin, *before)
    if change == "the very first opening":
        shutil.rmtree(origin)
        origin.mkdir()
    device = {ca.fingerprint: ca.issue("a1." + DOMAIN) for ca in (OLD, OTHER)}
    leaf = {fingerprint: issued.save(tmp_path, fingerprint)[0] for fingerprint, issued in device.items()}

    whole = tmp_path / "whole"
    shutil.copytree(origin, whole, symlinks=True)
    stops = run_and_kill(lambda: action(whole), None)
    assert stops > 20
    assert as_the_module_sees_it(whole) == frozenset(allowed[-1])

    outcomes: dict[frozenset[str], int] = {}
    for stop in range(stops + 1):
        path = tmp_path / "round"
        shutil.copytree(origin, path, symlinks=True)
        run_and_kill(lambda path=path: action(path), stop)  # type: ignore[misc]
        # What the module sees before any repair ...
        crashed = as_the_module_sees_it(path)
        assert crashed in [frozenset(state) for state in allowed], f"stop {stop}"
        outcomes[crashed] = outcomes.get(crashed, 0) + 1
        # ... what OpenSSL finds (checked at one stop in eight, as each check is a process) ...
        if stop % 8 == 0:
            for fingerprint in crashed & leaf.keys():
                assert openssl_finds(path, leaf[fingerprint]), f"stop {stop}"
        # ... and the store after a restart: the same state, no stray files, and the next change succeeds.
        with AnchorStore(path) as store:
            assert frozenset(store.held.records) == crashed
            assert not store.damaged
        links = [entry for entry in (path / "ca").iterdir() if entry.is_symlink()]
        assert len(links) == len(crashed)
        assert len(list((path / "ca").iterdir())) == 2 * len(crashed)
        action(path)
        assert as_the_module_sees_it(path) == frozenset(allowed[-1])
        shutil.rmtree(path)
    print(f"{change}: {stops + 1} rounds, outcomes {sorted(outcomes.values())}")
    assert set(outcomes) >= {frozenset(allowed[0]), frozenset(allowed[-1])}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", path])
    yield path
    run(["umount", path])


@pytest.mark.daemons
def test_a_full_disk_leaves_the_old_state_and_says_so(small_disk: Path) -> None:
    put(small_disk, OLD)
    refused = added = 0
    reasons = set()
    with AnchorStore(small_disk) as store:
        for number in range(60):
            ca = authority(f"CA {number}")
            before = frozenset(store.held.records)
            try:
                store.add(parse_certificate(ca.der), [DOMAIN], AnchorSource.REGISTRY, NOW)
                added += 1
            except StoreError as error:
                refused += 1
                reasons.add(str(error).rpartition(": ")[2])
                assert frozenset(store.held.records) == before  # the store, not the error
            assert as_the_module_sees_it(small_disk) == frozenset(store.held.records)
        assert added >= 1
        assert refused >= 10
        assert reasons == {"No space left on device"}
        # With free space, the next change succeeds in the same process.
        last = max(store.held.records, key=lambda f: f != OLD.fingerprint)
        assert store.remove(last)
    put(small_disk, OTHER)
    assert OTHER.fingerprint in as_the_module_sees_it(small_disk)
    assert OLD.fingerprint in as_the_module_sees_it(small_disk)


def test_the_journal_takes_a_line_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, OLD)
    before = (tmp_path / "index.jsonl").read_bytes()
    write = os.write

    def half(descriptor: int, octets: bytes) -> int:
        if bytes(octets[:5]) == b'{"op"':
            return write(descriptor, octets[: len(octets) // 2])
        return write(descriptor, octets)

    with AnchorStore(tmp_path) as store:
        monkeypatch.setattr("os.write", half)
        with pytest.raises(StoreError, match="No space left"):
            store.add(parse_certificate(OTHER.der), [DOMAIN], AnchorSource.REGISTRY, NOW)
        with pytest.raises(StoreError, match="not removed"):
            store.remove(OLD.fingerprint)
        monkeypatch.undo()
        assert (tmp_path / "index.jsonl").read_bytes() == before
        assert set(store.held.records) == {OLD.fingerprint}
        store.add(parse_certificate(OTHER.der), [DOMAIN], AnchorSource.REGISTRY, NOW)
    assert as_the_module_sees_it(tmp_path) == {OLD.fingerprint, OTHER.fingerprint}


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, so that only the store's own work is measured."""
    path = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


def test_a_change_takes_as_many_system_calls_among_many_anchors_as_among_few(memory: Path) -> None:
    keys = [new_key() for _ in range(3)]
    cas = [parse_certificate(authority(f"CA {n}", key=keys[n % 3]).der) for n in range(MANY)]
    newcomer, another = parse_certificate(OTHER.der), parse_certificate(OLD.der)
    counts: dict[int, tuple[int, int]] = {}
    for size in (4, MANY):
        with AnchorStore(memory / str(size)) as store:
            began = time.perf_counter()
            for ca in cas[:size]:
                store.add(ca, [DOMAIN], AnchorSource.REGISTRY, NOW)
            whole = time.perf_counter() - began
            began = time.perf_counter()
            store.add(another, [DOMAIN], AnchorSource.REGISTRY, NOW)
            store.remove(another.fingerprint)
            print(f"{size} anchors: all in {whole:.2f} s, one more and away {time.perf_counter() - began:.6f} s")
            added = run_and_kill(lambda: store.add(newcomer, [DOMAIN], AnchorSource.REGISTRY, NOW), None)
            # The child changed the files. The next store reads them anew.
        with AnchorStore(memory / str(size)) as store:
            removed = run_and_kill(lambda: store.remove(newcomer.fingerprint), None)
        counts[size] = added, removed
    print(f"stops of an addition and a removal: {counts}")
    assert counts[4] == counts[MANY]
